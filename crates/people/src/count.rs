//! What a ledger knows a message by, and what it counts.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What identifies a message besides its id: who sent it to whom, and a hash of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    pub(crate) from: usize,
    pub(crate) to: usize,
    text: u64,
}

impl Content {
    /// A text of one person, by number, to another.
    pub fn of(from: usize, to: usize, text: &str) -> Self {
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        Self { from, to, text: hash.finish() }
    }
}

/// What the ledger counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Messages that were heard, by each listener for itself.
    pub heard: usize,
    /// Acknowledged, and not heard by a listener of the recipient.
    pub lost: u64,
    /// Heard by a listener that had heard it already.
    pub twice: u64,
    /// Heard after a later one, or acknowledged with a lower id than an earlier one of the same sender.
    pub disordered: u64,
    /// Heard, and not what was sent.
    pub never_sent: u64,
    /// Shown by a read, and not heard.
    pub ghosts: u64,
}

impl Count {
    /// Whether all is as it must be.
    pub fn is_clean(&self) -> bool {
        (self.lost, self.twice, self.disordered, self.never_sent, self.ghosts) == (0, 0, 0, 0, 0)
    }
}
