//! What the entries of one transaction look up again and again: who a session belongs to. It is looked up once and remembered
//! until an entry changes it, and no longer than the transaction.

use crate::columns::unsigned;
use chat::{AccountId, Fact, SessionId, TokenHash};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// The connection of the open transaction, and what was looked up on it.
pub(crate) struct Lookups<'transaction> {
    pub(crate) connection: &'transaction Connection,
    owners: HashMap<SessionId, (AccountId, TokenHash)>,
}

impl<'transaction> Lookups<'transaction> {
    pub(crate) fn new(connection: &'transaction Connection) -> Self {
        Self { connection, owners: HashMap::new() }
    }

    /// Takes note that a fact was applied. Only what is named here leaves something as it was looked up: whatever other fact
    /// there will be, it is all looked up anew.
    pub(crate) fn applied(&mut self, fact: &Fact) {
        match fact {
            Fact::MessageSent { .. }
            | Fact::MessagesAcknowledged { .. }
            | Fact::ConversationSeen { .. }
            | Fact::SeenShown { .. } => {}
            _ => self.owners.clear(),
        }
    }

    /// The account of a session and its token, whether or not it has expired.
    pub(crate) fn owner(
        &mut self,
        session: SessionId,
    ) -> Result<Option<(AccountId, TokenHash)>, rusqlite::Error> {
        if let Some(owner) = self.owners.get(&session) {
            return Ok(Some(*owner));
        }
        let found = find_owner(self.connection, session)?;
        self.owners.extend(found.map(|owner| (session, owner)));
        Ok(found)
    }
}

fn find_owner(
    connection: &Connection,
    session: SessionId,
) -> Result<Option<(AccountId, TokenHash)>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT account, token FROM sessions WHERE id = ?1")?
        .query_row([session.0.cast_signed()], |row| {
            Ok((AccountId(unsigned(row, 0)?), TokenHash(row.get(1)?)))
        })
        .optional()
}
