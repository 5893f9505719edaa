//! Pages of messages: bounded in number and in bytes, and read in order without sorting what is not on them.

use crate::message::{Message, first_sent, last_sent, message};
use chat::{AccountId, ConversationId, MessageId};
use core::cmp::Reverse;
use rusqlite::Connection;
use std::collections::BinaryHeap;

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

/// In which order messages are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// What several accounts have sent in several conversations, in the order of the messages' numbers. No index has that order:
/// the one of conversations has it for each sender, and these take turns.
pub(crate) struct Merged<'a> {
    connection: &'a Connection,
    order: Order,
    /// The next message of each sender in each conversation, by its rank in the order.
    next: BinaryHeap<Reverse<(u64, ConversationId, AccountId)>>,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(connection: &'a Connection, order: Order) -> Self {
        Self { connection, order, next: BinaryHeap::new() }
    }

    /// Also what this account has sent in that conversation, from behind that place in the order.
    pub(crate) fn add(
        &mut self,
        conversation: ConversationId,
        sender: AccountId,
        behind: MessageId,
    ) -> Result<(), rusqlite::Error> {
        let found = match self.order {
            Order::OldestFirst => first_sent(self.connection, conversation, sender, behind)?,
            Order::NewestFirst => {
                last_sent(self.connection, conversation, sender, MessageId(behind.0.saturating_sub(1)))?
            }
        };
        self.next.extend(found.map(|id| Reverse((self.rank(id.0), conversation, sender))));
        Ok(())
    }

    /// The rank of a message, or the message of a rank.
    const fn rank(&self, number: u64) -> u64 {
        match self.order {
            Order::OldestFirst => number,
            Order::NewestFirst => u64::MAX - number,
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let Reverse((rank, conversation, sender)) = self.next.pop()?;
        let id = MessageId(self.rank(rank));
        let found = self.add(conversation, sender, id).and_then(|()| message(self.connection, id));
        found.transpose()
    }
}
