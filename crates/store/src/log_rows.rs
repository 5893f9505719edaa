//! The entries of the log as rows of a table, in the order of their ops: those that are applied.

use crate::error::StoreError;
use crate::row_key::{RowKey, Slice, hex};
use protocol::{Entry, Op};
use replica_log::LogReader;
use std::vec::IntoIter;

/// How much of the records is read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The rows of a slice of the log, one at a time.
#[derive(Debug)]
pub(crate) struct LogRows<'a> {
    log: &'a LogReader,
    piece: IntoIter<Entry<Vec<u8>>>,
    /// What was read so far.
    read: Op,
    /// The last one that is wanted.
    last: Op,
    rows_left: usize,
    /// The log does not hold what comes next, and may have let go of it.
    pub(crate) gone: bool,
}

impl<'a> LogRows<'a> {
    /// Those of a slice that are applied.
    pub(crate) fn new(log: &'a LogReader, slice: &Slice, applied: Op) -> Self {
        let op = |key: &RowKey| key.op().unwrap_or_default();
        let before = Op(u64::try_from(slice.first_op - 1).unwrap_or(0));
        Self {
            log,
            piece: Vec::new().into_iter(),
            read: slice.after.as_ref().map_or(before, |after| op(after).max(before)),
            last: slice.up_to.as_ref().map_or(applied, |up_to| op(up_to).min(applied)),
            rows_left: slice.rows_max,
            gone: false,
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(RowKey, String)>, StoreError> {
        if self.read >= self.last || self.rows_left == 0 || self.gone {
            return Ok(None);
        }
        if self.piece.as_slice().is_empty() {
            let piece = self.log.read_after(self.read, PIECE_BYTES)?;
            self.gone = piece.chain.is_none();
            self.piece = piece.entries.into_iter();
        }
        let Some(entry) = self.piece.next() else { return Ok(None) };
        self.read = entry.op;
        self.rows_left -= 1;
        let row = format!("op={} chain={} record={}", entry.op, hex(&entry.chain.0), hex(&entry.record));
        Ok(Some((RowKey::of_op(entry.op), row)))
    }
}
