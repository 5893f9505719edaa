//! Members: who is in which conversation, and how it stands for each of them.

use crate::columns::{place, unsigned};
use chat::{AccountId, ConversationId, MessageId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// How a conversation stands for one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) conversation: ConversationId,
    /// The other side; the member itself, where it writes to itself.
    pub(crate) with: AccountId,
    /// The newest message.
    pub(crate) newest: MessageId,
    /// Everything up to here was seen.
    pub(crate) seen_up_to: MessageId,
}

/// The newest messages of conversations, which are written once for many messages: of those that are sent together, most are in
/// few conversations.
#[derive(Debug, Default)]
pub(crate) struct Newest(BTreeMap<ConversationId, MessageId>);

impl Newest {
    /// A message was sent: it is the newest of its conversation, for each member.
    pub(crate) fn sent(&mut self, conversation: ConversationId, id: MessageId) {
        self.0.insert(conversation, id);
    }

    /// Writes what is not written yet.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        while let Some((conversation, id)) = self.0.pop_first() {
            let Some((one, other)) = conversation.parties() else { continue };
            let mut upsert = connection.prepare_cached(
                "INSERT INTO members (account, conversation, newest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (account, conversation) DO UPDATE SET newest = excluded.newest",
            )?;
            upsert.execute(params![one.0.cast_signed(), conversation.as_bytes(), id.0.cast_signed()])?;
            if other != one {
                upsert.execute(params![
                    other.0.cast_signed(),
                    conversation.as_bytes(),
                    id.0.cast_signed()
                ])?;
            }
        }
        Ok(())
    }
}

/// A member has seen a conversation up to a message, and lets the others know of that much.
pub(crate) fn seen(
    connection: &Connection,
    account: AccountId,
    conversation: ConversationId,
    up_to: MessageId,
    shown_up_to: MessageId,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE members SET seen_up_to = max(seen_up_to, ?3), shown_up_to = max(shown_up_to, ?4)
             WHERE account = ?1 AND conversation = ?2",
        )?
        .execute(params![
            account.0.cast_signed(),
            conversation.as_bytes(),
            up_to.0.cast_signed(),
            shown_up_to.0.cast_signed()
        ])?;
    Ok(())
}

/// What a member has seen of a conversation, and how much of that the others may know.
pub(crate) fn seen_up_to(
    connection: &Connection,
    account: AccountId,
    conversation: ConversationId,
) -> Result<(MessageId, MessageId), rusqlite::Error> {
    let found = connection
        .prepare_cached(
            "SELECT seen_up_to, shown_up_to FROM members WHERE account = ?1 AND conversation = ?2",
        )?
        .query_row(params![account.0.cast_signed(), conversation.as_bytes()], |row| {
            Ok((MessageId(unsigned(row, 0)?), MessageId(unsigned(row, 1)?)))
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

const MEMBERSHIP: &str = "SELECT conversation, newest, seen_up_to FROM members WHERE account = ?1";

/// The conversations of an account with a message after `after`, in the order of the other sides. It reads all of the
/// account's rows, which lie together.
pub(crate) fn with_news(
    connection: &Connection,
    account: AccountId,
    after: MessageId,
) -> Result<Vec<Membership>, rusqlite::Error> {
    connection
        .prepare_cached(&format!("{MEMBERSHIP} AND newest > ?2 ORDER BY conversation"))?
        .query_map([account.0, after.0].map(u64::cast_signed), |row| membership(row, account))?
        .collect()
}

/// The conversations of an account whose newest message is older than `before`, the newest first.
pub(crate) fn by_newest(
    connection: &Connection,
    account: AccountId,
    before: MessageId,
    limit: u32,
) -> Result<Vec<Membership>, rusqlite::Error> {
    connection
        .prepare_cached(&format!("{MEMBERSHIP} AND newest < ?2 ORDER BY newest DESC LIMIT ?3"))?
        .query_map(params![account.0.cast_signed(), place(before), limit], |row| membership(row, account))?
        .collect()
}

fn membership(row: &Row<'_>, account: AccountId) -> Result<Membership, rusqlite::Error> {
    let conversation = conversation(row, 0)?;
    Ok(Membership {
        conversation,
        with: other_than(conversation, account, 0)?,
        newest: MessageId(unsigned(row, 1)?),
        seen_up_to: MessageId(unsigned(row, 2)?),
    })
}

/// A column that holds a conversation.
pub(crate) fn conversation(row: &Row<'_>, column: usize) -> Result<ConversationId, rusqlite::Error> {
    ConversationId::from_bytes(row.get(column)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
}

/// The other side of a conversation that the account must be a side of.
pub(crate) fn other_than(
    conversation: ConversationId,
    account: AccountId,
    column: usize,
) -> Result<AccountId, rusqlite::Error> {
    conversation.other_than(account).ok_or_else(|| {
        let what = format!("account {account} is no member of conversation {conversation}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
    })
}
