//! The log: places without holes, tied together by a running hash.
//!
//! A position (op, chain) stands for a whole history: two replicas that show the same one have the same entries, as in
//! the (transaction id, checksum) pair of `LiteFS`. Whether one log is level with another, behind it, or a fork of it
//! is decided by [`relation`] and nowhere else.

use core::fmt;
use sha2::{Digest, Sha256};

/// The position of an entry in the replicated log: 1, 2, 3, … without holes. 0 is the place before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Op(pub u64);

impl Op {
    /// The op after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The running hash over a log up to some op: SHA-256 over the chain before, the op and the encoded record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The chain of the empty log.
    pub const GENESIS: Self = Self([0; 32]);

    fn next(self, op: Op, record: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(op.0.to_be_bytes());
        hash.update(record);
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All 64 hexadecimal digits, or the first `n` with `{:.n}`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(64);
        for nibble in self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(digits) {
            write!(f, "{nibble:x}")?;
        }
        Ok(())
    }
}

/// What an entry carries. The protocol knows nothing of a record but its bytes, which feed the chain.
pub trait Record: Clone + fmt::Debug {
    /// The one encoding of this record; equal on every replica.
    fn encoded(&self) -> &[u8];
}

/// Where a log ends, and by its chain, which log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The op of the last entry, 0 for an empty log.
    pub op: Op,
    /// The chain at that op.
    pub chain: Chain,
}

impl Position {
    /// The position of the empty log.
    pub const ORIGIN: Self = Self { op: Op(0), chain: Chain::GENESIS };

    /// The entry that carries `record` right after this position.
    pub fn follow<R: Record>(self, record: R) -> Entry<R> {
        let op = self.op.next();
        Entry { op, chain: self.chain.next(op, record.encoded()), record }
    }

    /// Where the log ends when `entries` follow this position; `None` if they do not (a hole, or another history).
    pub fn extend<R: Record>(self, entries: &[Entry<R>]) -> Option<Self> {
        entries.iter().try_fold(self, |end, entry| {
            let op = end.op.next();
            (entry.op == op && entry.chain == end.chain.next(op, entry.record.encoded()))
                .then_some(entry.position())
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op {} chain {:.8}", self.op, self.chain)
    }
}

/// A place in the log, with its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry<R> {
    /// The place.
    pub op: Op,
    /// The chain that includes this entry.
    pub chain: Chain,
    /// What happened.
    pub record: R,
}

impl<R> Entry<R> {
    /// The position of a log that ends with this entry.
    pub const fn position(&self) -> Position {
        Position { op: self.op, chain: self.chain }
    }
}

/// How another log stands to mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The same history to the same op.
    Level,
    /// A beginning of mine: the missing entries will do.
    Behind,
    /// It contains something that mine does not: only a snapshot helps.
    Fork,
    /// My log no longer reaches back to its end, so nothing can be proven: only a snapshot helps.
    BeforeMyLog,
}

/// Decides how a log that ends at `theirs` stands to mine, given the chain that my log has at their op
/// (`None` where my log does not hold that op).
///
/// Called once for each position that a peer shows, never with a batch of mine in flight: then a peer that is merely
/// quicker than my own commit would look like a fork.
pub fn relation(mine: Position, theirs: Position, my_chain_there: Option<Chain>) -> Relation {
    if theirs.op > mine.op {
        return Relation::Fork;
    }
    match my_chain_there {
        None => Relation::BeforeMyLog,
        Some(chain) if chain != theirs.chain => Relation::Fork,
        Some(_) if theirs.op == mine.op => Relation::Level,
        Some(_) => Relation::Behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[derive(Clone, Debug)]
    struct Word(&'static str);

    impl Record for Word {
        fn encoded(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    fn log(words: &[&'static str]) -> Vec<Entry<Word>> {
        let mut end = Position::ORIGIN;
        words
            .iter()
            .map(|word| {
                let entry = end.follow(Word(word));
                end = entry.position();
                entry
            })
            .collect()
    }

    #[test]
    fn entries_extend_a_position_only_without_holes_and_with_the_right_chain() {
        let entries = log(&["a", "b", "c"]);
        let end = entries[2].position();
        assert_eq!(Position::ORIGIN.extend(&entries), Some(end));
        assert_eq!(entries[0].position().extend(&entries[1..]), Some(end));
        assert_eq!(Position::ORIGIN.extend(&entries[1..]), None, "a hole");
        let other = log(&["x", "b", "c"]);
        assert_eq!(other[0].position().extend(&entries[1..]), None, "another history");
    }

    #[test]
    fn relation_tells_level_behind_fork_and_out_of_reach() {
        let entries = log(&["a", "b", "c"]);
        let other = log(&["a", "x", "c"]);
        let at = |entries: &[Entry<Word>], op: usize| entries[op - 1].position();
        let mine = at(&entries, 3);
        let cases = [
            ("same end", at(&entries, 3), Some(entries[2].chain), Relation::Level),
            ("a prefix", at(&entries, 1), Some(entries[0].chain), Relation::Behind),
            ("empty", Position::ORIGIN, Some(Chain::GENESIS), Relation::Behind),
            ("same op, other history", at(&other, 3), Some(entries[2].chain), Relation::Fork),
            ("shorter, other history", at(&other, 2), Some(entries[1].chain), Relation::Fork),
            ("before the log's first entry", at(&entries, 1), None, Relation::BeforeMyLog),
            ("longer than mine", Position { op: Op(4), chain: Chain([9; 32]) }, None, Relation::Fork),
        ];
        for (case, theirs, there, expected) in cases {
            assert_eq!(relation(mine, theirs, there), expected, "{case}");
        }
    }
}
