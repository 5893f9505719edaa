//! What survives a crash: a database with its identity and its log, and nothing of an open transaction.

use protocol::{Chain, DatabaseId, Entry, Fact, Op, Position};
use std::sync::Arc;

/// A fact of the tests: a word that a client wrote once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub Arc<str>);

impl Fact for Word {
    fn encoded(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub database: DatabaseId,
    /// Where the log begins: entries up to here were pruned.
    pub pruned: Position,
    pub log: Vec<Entry<Word>>,
    /// Executed and neither committed nor rolled back; gone with a crash.
    pub open: Option<Vec<Entry<Word>>>,
    /// Every write fails.
    pub full: bool,
    /// Writes take for ever.
    pub stuck: bool,
}

impl Disk {
    pub fn new(number: u64) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            database: DatabaseId(id),
            pruned: Position::ORIGIN,
            log: Vec::new(),
            open: None,
            full: false,
            stuck: false,
        }
    }

    pub fn position(&self) -> Position {
        self.log.last().map_or(self.pruned, Entry::position)
    }

    pub fn chain_at(&self, op: Op) -> Option<Chain> {
        if op == self.pruned.op {
            return Some(self.pruned.chain);
        }
        let place = usize::try_from(op.0.checked_sub(self.pruned.op.0 + 1)?).ok()?;
        self.log.get(place).map(|entry| entry.chain)
    }

    pub fn after(&self, op: Op, limit: usize) -> Vec<Entry<Word>> {
        self.log.iter().filter(|entry| entry.op > op).take(limit).cloned().collect()
    }

    pub fn contains(&self, word: &str) -> bool {
        self.log.iter().any(|entry| &*entry.fact.0 == word)
    }

    pub fn append(&mut self, entries: Vec<Entry<Word>>) {
        assert!(
            self.position().extend(&entries).is_some(),
            "an append that does not follow the log reached the disk"
        );
        self.log.extend(entries);
    }

    pub fn prune(&mut self, keep: usize) {
        let drop = self.log.len().saturating_sub(keep);
        if let Some(last) = self.log.drain(..drop).next_back() {
            self.pruned = last.position();
        }
    }
}
