//! The entries that were logged last, kept until they are applied: most are applied a moment later, and need not be read back
//! from the log and decoded for that.

use chat::Record;
use protocol::{Entry, Op, Position, Record as _};
use std::collections::VecDeque;

/// Of what is not applied yet, records with no more bytes than this are kept; the log has the rest.
const BYTES_MAX: usize = 16 << 20;

/// Entries that follow each other, the last of the log at their end.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry<Record>>,
    bytes: usize,
}

impl Recent {
    /// The bytes of their records.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// These were logged, behind the others.
    pub(super) fn logged(&mut self, entries: Vec<Entry<Record>>) {
        for entry in entries {
            self.bytes += entry.record.encoded().len();
            self.entries.push_back(entry);
        }
        while self.bytes > BYTES_MAX {
            self.forget_first();
        }
    }

    /// The log ends here now.
    pub(super) fn cut(&mut self, to: Op) {
        while let Some(cut) = self.entries.pop_back_if(|entry| entry.op > to) {
            self.bytes -= cut.record.encoded().len();
        }
    }

    /// Everything up to here is applied.
    pub(super) fn applied(&mut self, up_to: Op) {
        while self.entries.front().is_some_and(|entry| entry.op <= up_to) {
            self.forget_first();
        }
    }

    /// The entries after a position up to an op, as many as have these bytes, and one at least; none if the first of them is not
    /// kept.
    pub(super) fn after(&self, from: Position, up_to: Op, bytes: usize) -> Vec<Entry<Record>> {
        let mut found = Vec::new();
        let mut size = 0;
        for entry in self.entries.iter().skip_while(|entry| entry.op <= from.op) {
            let is_next = found.last().map_or(from.op, |last: &Entry<Record>| last.op).next() == entry.op;
            if !is_next || entry.op > up_to || size >= bytes {
                break;
            }
            size += entry.record.encoded().len();
            found.push(entry.clone());
        }
        found
    }

    /// Another log is in the place of the one that had these entries, or its files are not certain.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= first.record.encoded().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Fact, Millis};

    fn entries(from: Position, count: u64) -> Vec<Entry<Record>> {
        let mut end = from;
        let next = |number| {
            let entry = end.follow(Record::new(
                Millis(number),
                None,
                Fact::RequestsForgotten { before: Millis(number) },
            ));
            end = entry.position();
            entry
        };
        (1..=count).map(next).collect()
    }

    fn ops(found: &[Entry<Record>]) -> Vec<u64> {
        found.iter().map(|entry| entry.op.0).collect()
    }

    #[test]
    fn what_was_logged_is_there_until_it_is_applied_cut_or_forgotten() {
        let logged = entries(Position::ORIGIN, 6);
        let mut recent = Recent::default();
        recent.logged(logged[..4].to_vec());
        recent.logged(logged[4..].to_vec());
        let after = |recent: &Recent, op: usize, up_to| {
            let from = op.checked_sub(1).map_or(Position::ORIGIN, |index| logged[index].position());
            ops(&recent.after(from, Op(up_to), usize::MAX))
        };
        assert_eq!(after(&recent, 0, 6), [1, 2, 3, 4, 5, 6]);
        assert_eq!(after(&recent, 2, 4), [3, 4], "up to what is committed");
        assert_eq!(ops(&recent.after(Position::ORIGIN, Op(6), 1)), [1], "one at least");
        recent.applied(Op(2));
        assert_eq!(after(&recent, 2, 6), [3, 4, 5, 6]);
        assert!(after(&recent, 1, 6).is_empty(), "what came before is not there: the log has it");
        recent.cut(Op(4));
        assert_eq!(after(&recent, 2, 6), [3, 4]);
        recent.logged(entries(logged[3].position(), 1));
        assert_eq!(after(&recent, 2, 6), [3, 4, 5]);
        recent.forget();
        assert!(after(&recent, 2, 6).is_empty());
        assert_eq!(recent.bytes, 0);
    }

    #[test]
    fn more_than_its_bytes_is_not_kept() {
        let mut recent = Recent::default();
        let text = "x".repeat(1 << 20);
        let mut end = Position::ORIGIN;
        for _ in 0..20 {
            let name = Fact::AccountCreated {
                name: text.clone(),
                key: String::new(),
                password: chat::PasswordHash(String::new()),
            };
            let entry = end.follow(Record::new(Millis(1), None, name));
            end = entry.position();
            recent.logged(vec![entry]);
        }
        assert!(recent.bytes <= BYTES_MAX);
        assert_eq!(recent.entries.back().map(Entry::position), Some(end));
        assert!(recent.entries.len() >= 14);
    }
}
