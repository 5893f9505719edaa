//! Members: who is in which conversation, and how it stands for each of them.
//!
//! A direct conversation begins with its first message. The higher number of its two sides has a row of `members` from then on. The
//! lower one, and an account that writes to itself, has one once it has seen something: its conversations are found in the index of the
//! messages, where the lower number comes first. So a conversation that begins changes two pages at random places, and not three.

use crate::columns::{conversation, other_than, unsigned};
use crate::message::last_sent;
use chat::{AccountId, ConversationId, MessageId};
use core::cmp::Reverse;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// How a conversation stands for one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) conversation: ConversationId,
    /// The other side; the member itself, where it writes to itself.
    pub(crate) with: AccountId,
    /// Everything up to here was seen.
    pub(crate) seen_up_to: MessageId,
    /// The last entry of the conversation in the index: of its sides that have sent something the one with the higher number, and
    /// that side's newest message. `None` where the conversation was found by its row.
    last_in_index: Option<(AccountId, MessageId)>,
}

impl Membership {
    /// Whether that side may have sent something after a place, as far as that is known without looking.
    pub(crate) fn may_have_sent(&self, sender: AccountId, after: MessageId) -> bool {
        self.last_in_index.is_none_or(|(side, newest)| sender < side || (sender == side && newest > after))
    }

    /// The newest message of that side. Index: `messages_conversation`.
    fn newest_of(
        &self,
        connection: &Connection,
        sender: AccountId,
    ) -> Result<Option<MessageId>, rusqlite::Error> {
        match self.last_in_index {
            Some((side, newest)) if sender == side => Ok(Some(newest)),
            Some((side, _)) if sender > side => Ok(None),
            _ => last_sent(connection, self.conversation, sender, MessageId(u64::MAX)),
        }
    }
}

/// A message was sent: where it is the first of its conversation, the higher of the two sides becomes its member. Whether it is
/// shows in the index that the message has just gone into.
pub(crate) fn sent(
    connection: &Connection,
    conversation: ConversationId,
    id: MessageId,
) -> Result<(), rusqlite::Error> {
    let Some((lower, higher)) = conversation.parties().filter(|(lower, higher)| lower != higher) else {
        return Ok(());
    };
    debug_assert!(lower < higher, "the sides of a conversation are in order");
    let is_first = !connection
        .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND id <> ?2 LIMIT 1")?
        .exists(params![conversation.as_bytes(), id.0.cast_signed()])?;
    if is_first {
        connection
            .prepare_cached("INSERT INTO members (account, conversation) VALUES (?1, ?2)")?
            .execute(params![higher.0.cast_signed(), conversation.as_bytes()])?;
    }
    Ok(())
}

/// A member has seen a conversation up to a message, and lets the others know of that much. A conversation that has not begun has
/// no members.
pub(crate) fn seen(
    connection: &Connection,
    account: AccountId,
    conversation: ConversationId,
    up_to: MessageId,
    shown_up_to: MessageId,
) -> Result<(), rusqlite::Error> {
    if conversation.other_than(account).is_none() || up_to.max(shown_up_to) == MessageId(0) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO members (account, conversation, seen_up_to, shown_up_to)
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM messages WHERE conversation = ?2)
             ON CONFLICT DO UPDATE SET seen_up_to = max(seen_up_to, excluded.seen_up_to),
                                       shown_up_to = max(shown_up_to, excluded.shown_up_to)",
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

/// The conversations of an account, in the order of the other sides. It reads all of the account's rows, which lie together, and
/// looks once in the index of the messages for each conversation of which the account is the lower side.
pub(crate) fn of(connection: &Connection, account: AccountId) -> Result<Vec<Membership>, rusqlite::Error> {
    // Behind the one with itself come those with higher numbers.
    let first = ConversationId::direct(account, account);
    let mut find = connection.prepare_cached(
        "SELECT conversation, seen_up_to FROM members WHERE account = ?1 ORDER BY conversation",
    )?;
    let mut rows = find.query([account.0.cast_signed()])?;
    let (mut all, mut seen) = (Vec::new(), BTreeMap::new());
    while let Some(row) = rows.next()? {
        let (conversation, seen_up_to) = (conversation(row, 0)?, MessageId(unsigned(row, 1)?));
        let with = other_than(conversation, account, 0)?;
        if conversation < first {
            all.push(Membership { conversation, with, seen_up_to, last_in_index: None });
        } else {
            seen.insert(conversation, seen_up_to);
        }
    }
    let with_lower = all.len();
    // From the highest number down: each step seeks the last entry before the conversation that was found last, so that it costs the
    // same however many messages there are.
    let mut find = connection.prepare_cached(
        "SELECT conversation, sender, id FROM messages WHERE conversation < ?1 AND conversation >= ?2
         ORDER BY conversation DESC, sender DESC, id DESC LIMIT 1",
    )?;
    let mut before = ConversationId::direct(account, AccountId(u64::MAX));
    loop {
        let step = |row: &Row<'_>| {
            let conversation = conversation(row, 0)?;
            let with = other_than(conversation, account, 0)?;
            let last_in_index = Some((AccountId(unsigned(row, 1)?), MessageId(unsigned(row, 2)?)));
            let seen_up_to = seen.get(&conversation).copied().unwrap_or_default();
            Ok(Membership { conversation, with, seen_up_to, last_in_index })
        };
        let found = find.query_row(params![before.as_bytes(), first.as_bytes()], step).optional()?;
        let Some(member) = found else { break };
        before = member.conversation;
        all.push(member);
    }
    all[with_lower..].reverse();
    Ok(all)
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

/// The newest message of a conversation.
fn newest(
    connection: &Connection,
    member: &Membership,
    account: AccountId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    let theirs = member.newest_of(connection, member.with)?;
    Ok(if member.with == account { theirs } else { theirs.max(member.newest_of(connection, account)?) })
}
