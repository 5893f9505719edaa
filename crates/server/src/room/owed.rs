//! What a disk owes: entries that were decided and that the tables do not show yet. The disk must have room for them there, too.

use chat::Record;
use protocol::{Entry, Op, Record as _};
use std::collections::VecDeque;

/// Such an entry is written twice more: to the write-ahead log, and from there to the database.
const WRITTEN_AGAIN: u64 = 2;

/// What was decided in one primacy and is not in the tables yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    primacy: u64,
    /// The batches: the last op of each, and the bytes of its records.
    batches: VecDeque<(Op, u64)>,
    /// Of all of them.
    bytes: u64,
}

impl Owed {
    /// How many bytes will be written for it.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes.saturating_mul(WRITTEN_AGAIN)
    }

    /// The tables show everything up to there.
    pub(super) fn applied(&mut self, applied: Op) {
        while let Some((_, bytes)) = self.batches.pop_front_if(|(last, _)| *last <= applied) {
            self.bytes -= bytes;
        }
    }

    /// A batch was decided. Before a primacy begins, the tables show all that there is.
    pub(super) fn decided(&mut self, primacy: u64, entries: &[Entry<Record>]) {
        if primacy != self.primacy {
            *self = Self { primacy, ..Self::default() };
        }
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(|entry| entry.record.encoded().len() as u64).sum();
        self.batches.push_back((last.op, bytes));
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Fact, HistoryId, Millis};
    use protocol::Chain;

    fn entries(ops: std::ops::RangeInclusive<u64>) -> (Vec<Entry<Record>>, u64) {
        let fact = Fact::HistoryBegan { history: HistoryId(uuid::Uuid::nil()), forgotten: None };
        let record = Record::new(Millis(1), None, fact);
        let bytes = record.encoded().len() as u64;
        let entries: Vec<_> =
            ops.map(|op| Entry { op: Op(op), chain: Chain([0; 32]), record: record.clone() }).collect();
        let all = bytes * entries.len() as u64;
        (entries, all)
    }

    #[test]
    fn what_was_decided_is_owed_until_the_tables_show_the_last_of_its_batch() {
        let mut owed = Owed::default();
        let ((one, ones), (two, twos)) = (entries(1..=3), entries(4..=5));
        owed.decided(1, &one);
        owed.decided(1, &[]);
        owed.decided(1, &two);
        for (applied, bytes) in [(0, ones + twos), (2, ones + twos), (3, twos), (4, twos), (5, 0)] {
            owed.applied(Op(applied));
            assert_eq!(owed.bytes(), 2 * bytes, "applied up to {applied}");
        }
        owed.decided(1, &two);
        owed.decided(2, &one);
        assert_eq!((owed.bytes(), owed.batches.len()), (2 * ones, 1), "of another primacy");
    }
}
