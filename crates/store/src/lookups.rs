//! What the requests and the entries of one transaction look up again and again: who a session belongs to, who has a name,
//! what is forgotten. It is looked up once and remembered until an entry changes it, and no longer than the transaction.

use crate::columns::{millis, unsigned};
use crate::forgotten;
use crate::stop::Stop;
use chat::{AccountId, Fact, MessageId, Millis, Refusal, SessionId, TokenHash, UserName};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::rc::Rc;

/// The account and the session that a request comes from.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) acknowledged: MessageId,
}

/// An account that is not deleted.
pub(crate) type Living = (AccountId, String);

/// The connection of the open transaction, and what was looked up on it.
pub(crate) struct Lookups<'transaction> {
    pub(crate) connection: &'transaction Connection,
    callers: HashMap<TokenHash, Rc<Caller>>,
    owners: HashMap<SessionId, (AccountId, TokenHash)>,
    names: HashMap<String, Living>,
    forgotten: Option<Millis>,
}

impl<'transaction> Lookups<'transaction> {
    pub(crate) fn new(connection: &'transaction Connection) -> Self {
        Self {
            connection,
            callers: HashMap::new(),
            owners: HashMap::new(),
            names: HashMap::new(),
            forgotten: None,
        }
    }

    /// Takes note that a fact was applied. Only what is named here leaves something as it was looked up: whatever other fact
    /// there will be, it is all looked up anew.
    pub(crate) fn applied(&mut self, fact: &Fact) {
        match fact {
            Fact::MessageSent { .. } | Fact::ConversationRead { .. } | Fact::ReadMarksSet { .. } => {}
            Fact::MessagesAcknowledged { .. } => self.callers.clear(),
            _ => *self = Self::new(self.connection),
        }
    }

    /// Who a token belongs to, by a session that has not expired.
    pub(crate) fn caller(
        &mut self,
        token: Option<TokenHash>,
        now: Millis,
    ) -> Result<Rc<Caller>, Stop<rusqlite::Error>> {
        let token = token.ok_or(Refusal::NotSignedIn)?;
        if let Some(caller) = self.callers.get(&token) {
            return Ok(caller.clone());
        }
        let found = find_caller(self.connection, token, now)?.map(Rc::new);
        if let Some(caller) = &found {
            self.callers.insert(token, caller.clone());
        }
        Ok(found.ok_or(Refusal::SessionInvalid)?)
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

    /// The account that has a name.
    pub(crate) fn living(&mut self, name: &UserName) -> Result<Option<Living>, rusqlite::Error> {
        if let Some(living) = self.names.get(name.key()) {
            return Ok(Some(living.clone()));
        }
        let found = find_living(self.connection, name)?;
        self.names.extend(found.clone().map(|living| (name.key().to_owned(), living)));
        Ok(found)
    }

    /// The date before which ids are refused; `None` where no entry has set one yet.
    pub(crate) fn forgotten(&mut self) -> Result<Option<Millis>, rusqlite::Error> {
        if self.forgotten.is_none() {
            self.forgotten = forgotten::forgotten(self.connection)?;
        }
        Ok(self.forgotten)
    }
}

fn find_caller(
    connection: &Connection,
    token: TokenHash,
    now: Millis,
) -> Result<Option<Caller>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT sessions.id, accounts.id, accounts.name, accounts.acknowledged
             FROM sessions JOIN accounts ON accounts.id = sessions.account
             WHERE sessions.token = ?1 AND sessions.expires_at > ?2 AND accounts.deleted_at IS NULL",
        )?
        .query_row(params![token.0, millis(now)], |row| {
            Ok(Caller {
                session: SessionId(unsigned(row, 0)?),
                account: AccountId(unsigned(row, 1)?),
                name: row.get(2)?,
                acknowledged: MessageId(unsigned(row, 3)?),
            })
        })
        .optional()
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

fn find_living(connection: &Connection, name: &UserName) -> Result<Option<Living>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id, name FROM accounts WHERE key = ?1 AND deleted_at IS NULL")?
        .query_row([name.key()], |row| Ok((AccountId(unsigned(row, 0)?), row.get(1)?)))
        .optional()
}
