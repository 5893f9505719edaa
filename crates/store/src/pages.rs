//! Pages of messages: bounded in number and in bytes, and read in order without sorting what is not on them.

use crate::message::{MESSAGE, Message, message};
use chat::{AccountId, MessageId};
use core::cmp::{Ordering, Reverse};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BinaryHeap;
use std::iter::Peekable;

type Row = Result<Message, rusqlite::Error>;

/// A page of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At least one, if there is one.
    pub messages: Vec<Message>,
    /// Whether there are more behind them.
    pub more: bool,
}

impl Page {
    /// Reads rows until there are `limit` messages, or until their texts have `bytes_max`.
    pub(crate) fn gather(
        rows: impl Iterator<Item = Row>,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Self, rusqlite::Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page = Self::default();
        let mut bytes = 0;
        for row in rows {
            let message = row?;
            bytes += size_of::<Message>() + message.text.len();
            if page.messages.len() == limit || (bytes > bytes_max && !page.messages.is_empty()) {
                page.more = true;
                break;
            }
            page.messages.push(message);
        }
        Ok(page)
    }
}

/// Two sequences of messages, each in the order of their numbers, as one; a message that is in both comes once.
pub(crate) struct Merged<A: Iterator<Item = Row>, B: Iterator<Item = Row>> {
    one: Peekable<A>,
    other: Peekable<B>,
}

impl<A: Iterator<Item = Row>, B: Iterator<Item = Row>> Merged<A, B> {
    pub(crate) fn of(one: A, other: B) -> Self {
        Self { one: one.peekable(), other: other.peekable() }
    }
}

impl<A: Iterator<Item = Row>, B: Iterator<Item = Row>> Iterator for Merged<A, B> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let first = match (self.one.peek(), self.other.peek()) {
            (Some(Ok(one)), Some(Ok(other))) => one.id.cmp(&other.id),
            (None | Some(Err(_)), Some(_)) => Ordering::Greater,
            _ => Ordering::Less,
        };
        match first {
            Ordering::Less => self.one.next(),
            Ordering::Greater => self.other.next(),
            Ordering::Equal => {
                self.other.next();
                self.one.next()
            }
        }
    }
}

/// What an account has sent after a message, in the order of their numbers. No index has that order: the one of conversations
/// has it for each recipient, and these take turns.
pub(crate) struct Sent<'a> {
    connection: &'a Connection,
    sender: AccountId,
    /// The next message to each recipient, by number.
    next: BinaryHeap<Reverse<(i64, i64)>>,
}

impl<'a> Sent<'a> {
    pub(crate) fn after(
        connection: &'a Connection,
        sender: AccountId,
        after: MessageId,
    ) -> Result<Self, rusqlite::Error> {
        let mut recipients = connection.prepare_cached(
            "WITH RECURSIVE recipients (id) AS (
                 SELECT min(recipient) FROM messages WHERE sender = ?1
                 UNION ALL
                 SELECT (SELECT min(recipient) FROM messages WHERE sender = ?1 AND recipient > recipients.id)
                 FROM recipients WHERE recipients.id IS NOT NULL
             ) SELECT id FROM recipients WHERE id IS NOT NULL",
        )?;
        let recipients = recipients.query_map([sender.0.cast_signed()], |row| row.get(0))?;
        let recipients = recipients.collect::<Result<Vec<i64>, _>>()?;
        let mut sent = Self { connection, sender, next: BinaryHeap::new() };
        for recipient in recipients {
            sent.expect(recipient, after.0.cast_signed())?;
        }
        Ok(sent)
    }

    /// Puts the next message to a recipient into its place. Index: `messages_conversation`.
    fn expect(&mut self, recipient: i64, after: i64) -> Result<(), rusqlite::Error> {
        let mut next = self.connection.prepare_cached(
            "SELECT min(id) FROM messages WHERE sender = ?1 AND recipient = ?2 AND id > ?3",
        )?;
        let found: Option<i64> =
            next.query_row(params![self.sender.0.cast_signed(), recipient, after], |row| row.get(0))?;
        self.next.extend(found.map(|id| Reverse((id, recipient))));
        Ok(())
    }

    /// The message, unless it is undeliverable: then no other account has it, and its text is gone.
    fn look_up(&mut self, id: i64, recipient: i64) -> Result<Option<Message>, rusqlite::Error> {
        self.expect(recipient, id)?;
        let mut find = self.connection.prepare_cached(&format!(
            "SELECT {MESSAGE} FROM messages WHERE messages.id = ?1 AND undeliverable = 0"
        ))?;
        find.query_row([id], message).optional()
    }
}

impl Iterator for Sent<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let Reverse((id, recipient)) = self.next.pop()?;
            match self.look_up(id, recipient) {
                Ok(None) => {}
                found => return found.transpose(),
            }
        }
    }
}
