//! A message, as rows of `messages` say it.

use crate::columns::{conversation, other_than, place, unsigned};
use chat::{AccountId, ConversationId, MessageId, Millis};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// In which conversation.
    pub conversation: ConversationId,
    /// Who sent it.
    pub sender: AccountId,
    /// The sender's name when it was sent.
    pub sender_name: String,
    /// Whom it is for: the other side of the conversation.
    pub recipient: AccountId,
    /// The recipient's name when it was sent.
    pub recipient_name: String,
    /// What it says; empty if it is undeliverable.
    pub text: String,
    /// When it was sent.
    pub sent_at: Millis,
    /// Its recipient was deleted before it was delivered.
    pub undeliverable: bool,
    /// Its recipient has acknowledged it.
    pub delivered: bool,
}

/// The message of that number.
pub(crate) fn message(connection: &Connection, id: MessageId) -> Result<Option<Message>, rusqlite::Error> {
    let found = connection
        .prepare_cached(
            "SELECT id, conversation, sender, sender_name, to_name, text, sent_at, undeliverable
             FROM messages WHERE id = ?1",
        )?
        .query_row([id.0.cast_signed()], read)
        .optional()?;
    let Some(mut message) = found else { return Ok(None) };
    message.delivered = acknowledged(connection, message.recipient)?.is_some_and(|up_to| id <= up_to);
    Ok(Some(message))
}

fn read(row: &Row<'_>) -> Result<Message, rusqlite::Error> {
    let (conversation, sender) = (conversation(row, 1)?, AccountId(unsigned(row, 2)?));
    Ok(Message {
        id: MessageId(unsigned(row, 0)?),
        conversation,
        sender,
        sender_name: row.get(3)?,
        recipient: other_than(conversation, sender, 1)?,
        recipient_name: row.get(4)?,
        text: row.get(5)?,
        sent_at: Millis(unsigned(row, 6)?),
        undeliverable: row.get(7)?,
        delivered: false,
    })
}

/// How far an account has received what was sent to it.
pub(crate) fn acknowledged(
    connection: &Connection,
    account: AccountId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT acknowledged FROM accounts WHERE id = ?1")?
        .query_row([account.0.cast_signed()], |row| unsigned(row, 0).map(MessageId))
        .optional()
}

/// The last message that an account sent in a conversation, up to a place. Index: `messages_conversation`.
pub(crate) fn last_sent(
    connection: &Connection,
    conversation: ConversationId,
    sender: AccountId,
    up_to: MessageId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    let query = "SELECT max(id) FROM messages WHERE conversation = ?1 AND sender = ?2 AND id <= ?3";
    sent(connection, query, conversation, sender, up_to)
}

/// The first message that an account sent in a conversation after a place. Index: `messages_conversation`.
pub(crate) fn first_sent(
    connection: &Connection,
    conversation: ConversationId,
    sender: AccountId,
    after: MessageId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    let query = "SELECT min(id) FROM messages WHERE conversation = ?1 AND sender = ?2 AND id > ?3";
    sent(connection, query, conversation, sender, after)
}

fn sent(
    connection: &Connection,
    query: &str,
    conversation: ConversationId,
    sender: AccountId,
    from: MessageId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    let found: Option<i64> = connection
        .prepare_cached(query)?
        .query_row(params![conversation.as_bytes(), sender.0.cast_signed(), place(from)], |row| row.get(0))?;
    Ok(found.map(|id| MessageId(id.cast_unsigned())))
}
