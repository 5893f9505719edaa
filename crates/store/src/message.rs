//! A message, as rows of `messages` say it.

use crate::columns::unsigned;
use chat::{AccountId, MessageId, Millis};
use rusqlite::Row;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Who sent it.
    pub sender: AccountId,
    /// The sender's name when it was sent.
    pub sender_name: String,
    /// Whom it is for.
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

/// What [`message`] reads.
pub(crate) const MESSAGE: &str =
    "messages.id, sender, sender_name, recipient, recipient_name, text, sent_at, undeliverable,
     messages.id <= (SELECT acknowledged FROM accounts WHERE accounts.id = recipient)";

pub(crate) fn message(row: &Row<'_>) -> Result<Message, rusqlite::Error> {
    Ok(Message {
        id: MessageId(unsigned(row, 0)?),
        sender: AccountId(unsigned(row, 1)?),
        sender_name: row.get(2)?,
        recipient: AccountId(unsigned(row, 3)?),
        recipient_name: row.get(4)?,
        text: row.get(5)?,
        sent_at: Millis(unsigned(row, 6)?),
        undeliverable: row.get(7)?,
        delivered: row.get::<_, Option<bool>>(8)?.unwrap_or(false),
    })
}
