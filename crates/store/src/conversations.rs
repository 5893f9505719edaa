//! Conversations: which an account is a member of, and what each side of them has seen.
//!
//! What is kept of a conversation for each member is what it has seen; all else is found in the messages by an index that has them
//! by conversation and sender, so that a conversation of a million messages costs no more than one of two.

use crate::error::StoreError;
use crate::members::{self, Membership};
use crate::message::{Message, last_sent, message};
use crate::reader::{Account, Reader};
use chat::{AccountId, ConversationId, MessageId};
use rusqlite::{Connection, params};

/// More unread messages than this in one conversation are not counted.
pub const UNREAD_MAX: u32 = 1000;

/// A conversation, as one of its two sides sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Which.
    pub id: ConversationId,
    /// With whom.
    pub with: AccountId,
    /// That account's name.
    pub with_name: String,
    /// That account was deleted.
    pub with_deleted: bool,
    /// The newest message.
    pub last: Message,
    /// How many of its messages were not seen yet, up to [`UNREAD_MAX`].
    pub unread: u32,
    /// Everything of it up to here was seen.
    pub read_up_to: MessageId,
    /// It has received everything up to here.
    pub delivered_up_to: MessageId,
    /// It has seen everything up to here, as far as it lets this account know.
    pub seen_up_to: MessageId,
}

impl Reader<'_> {
    /// An account's conversations whose newest message is older than `before`, the newest first. It finds them all as
    /// `members::of` does, looks for the newest message of each, and reads those that are told. Index: `messages_conversation`.
    pub fn conversations(
        &self,
        account: AccountId,
        before: MessageId,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        let Some(me) = self.account(account)? else { return Ok(Vec::new()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = self.sql(members::by_newest(self.connection(), account, before, limit))?;
        let mut conversations = Vec::with_capacity(page.len());
        for (newest, membership) in page {
            let Some(other) = self.account(membership.with)? else { continue };
            conversations.extend(self.sql(look(self.connection(), &me, newest, membership, other))?);
        }
        Ok(conversations)
    }

    /// What an account has sent and its recipients have not acknowledged: of each conversation with a living account the newest
    /// messages, at most `each_max`, oldest first. Index: `messages_conversation`.
    pub fn unacknowledged(
        &self,
        account: AccountId,
        each_max: usize,
    ) -> Result<Vec<(ConversationId, Vec<MessageId>)>, StoreError> {
        let mut all = Vec::new();
        for member in self.sql(members::of(self.connection(), account))? {
            let recipient = self.account(member.with)?;
            let Some(recipient) = recipient.filter(|recipient| recipient.deleted_at.is_none()) else {
                continue;
            };
            let waiting = waiting(self.connection(), &member, account, recipient.acknowledged, each_max);
            let waiting = self.sql(waiting)?;
            if !waiting.is_empty() {
                all.push((member.conversation, waiting));
            }
        }
        Ok(all)
    }
}

/// How a conversation stands with this as its newest message.
fn look(
    connection: &Connection,
    me: &Account,
    newest: MessageId,
    membership: Membership,
    other: Account,
) -> Result<Option<Conversation>, rusqlite::Error> {
    let Membership { conversation, with, seen_up_to: read_up_to, .. } = membership;
    let Some(last) = message(connection, newest)? else { return Ok(None) };
    // How far the account's own messages got: what lies between them is others', and not told.
    let last_of_mine =
        |up_to| last_sent(connection, conversation, me.id, up_to).map(Option::unwrap_or_default);
    let shown =
        if me.shows_reads { members::seen_up_to(connection, with, conversation)?.1 } else { MessageId(0) };
    Ok(Some(Conversation {
        id: conversation,
        with,
        with_name: other.name,
        with_deleted: other.deleted_at.is_some(),
        last,
        unread: if with == me.id { 0 } else { unread(connection, conversation, with, read_up_to)? },
        read_up_to,
        delivered_up_to: last_of_mine(other.acknowledged)?,
        seen_up_to: last_of_mine(shown)?,
    }))
}

/// How many messages of that sender come after one, up to [`UNREAD_MAX`].
fn unread(
    connection: &Connection,
    conversation: ConversationId,
    sender: AccountId,
    after: MessageId,
) -> Result<u32, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM messages
             WHERE conversation = ?1 AND sender = ?2 AND id > ?3 AND undeliverable = 0 LIMIT ?4)",
        )?
        .query_row(
            params![conversation.as_bytes(), sender.0.cast_signed(), after.0.cast_signed(), UNREAD_MAX],
            |row| row.get(0),
        )
}

/// The newest messages of the account that come after what was acknowledged, oldest first.
fn waiting(
    connection: &Connection,
    member: &Membership,
    account: AccountId,
    acknowledged: MessageId,
    each_max: usize,
) -> Result<Vec<MessageId>, rusqlite::Error> {
    let each_max = i64::try_from(each_max).unwrap_or(i64::MAX);
    let (sender, acknowledged) = (account.0.cast_signed(), acknowledged.0.cast_signed());
    let mut ids = connection
        .prepare_cached(
            "SELECT id FROM messages WHERE conversation = ?1 AND sender = ?2 AND id > ?3 ORDER BY id DESC LIMIT ?4",
        )?
        .query_map(params![member.conversation.as_bytes(), sender, acknowledged, each_max], |row| {
            row.get::<_, i64>(0).map(|id| MessageId(id.cast_unsigned()))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    ids.reverse();
    Ok(ids)
}

#[cfg(test)]
mod tests;
