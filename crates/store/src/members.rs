//! Members: who is in which conversation, and how it stands for each of them.

use crate::columns::{conversation, other_than, unsigned};
use crate::message::last_sent;
use chat::{AccountId, ConversationId, MessageId};
use core::cmp::Reverse;
use rusqlite::{Connection, OptionalExtension, params};

/// How a conversation stands for one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) conversation: ConversationId,
    /// The other side; the member itself, where it writes to itself.
    pub(crate) with: AccountId,
    /// Everything up to here was seen.
    pub(crate) seen_up_to: MessageId,
}

/// A message was sent: where it is the first of its conversation, the conversation gets its members. Whether it is shows in the
/// index that the message has just gone into.
pub(crate) fn sent(
    connection: &Connection,
    conversation: ConversationId,
    id: MessageId,
) -> Result<(), rusqlite::Error> {
    let Some((one, other)) = conversation.parties() else { return Ok(()) };
    let is_first = !connection
        .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND id <> ?2 LIMIT 1")?
        .exists(params![conversation.as_bytes(), id.0.cast_signed()])?;
    if is_first {
        let mut join =
            connection.prepare_cached("INSERT INTO members (account, conversation) VALUES (?1, ?2)")?;
        join.execute(params![one.0.cast_signed(), conversation.as_bytes()])?;
        if other != one {
            join.execute(params![other.0.cast_signed(), conversation.as_bytes()])?;
        }
    }
    Ok(())
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

/// The conversations of an account, in the order of the other sides. It reads all of the account's rows, which lie together.
pub(crate) fn of(connection: &Connection, account: AccountId) -> Result<Vec<Membership>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT conversation, seen_up_to FROM members WHERE account = ?1 ORDER BY conversation",
        )?
        .query_map([account.0.cast_signed()], |row| {
            let conversation = conversation(row, 0)?;
            let with = other_than(conversation, account, 0)?;
            Ok(Membership { conversation, with, seen_up_to: MessageId(unsigned(row, 1)?) })
        })?
        .collect()
}

/// The conversations of an account whose newest message is older than `before`, the newest first, each with that message. It looks
/// at each of them.
pub(crate) fn by_newest(
    connection: &Connection,
    account: AccountId,
    before: MessageId,
    limit: usize,
) -> Result<Vec<(MessageId, Membership)>, rusqlite::Error> {
    let mut found = Vec::new();
    for member in of(connection, account)? {
        if let Some(newest) = newest(connection, &member, account)?.filter(|newest| *newest < before) {
            found.push((newest, member));
        }
    }
    found.sort_unstable_by_key(|(newest, _)| Reverse(*newest));
    found.truncate(limit);
    Ok(found)
}

/// The newest message of a conversation. Index: `messages_conversation`, which has the messages of each side.
fn newest(
    connection: &Connection,
    member: &Membership,
    account: AccountId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    let last = |sender| last_sent(connection, member.conversation, sender, MessageId(u64::MAX));
    let theirs = last(member.with)?;
    Ok(if member.with == account { theirs } else { theirs.max(last(account)?) })
}
