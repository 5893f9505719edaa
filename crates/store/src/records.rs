//! Records as bytes, which logs and other replicas bring.

use crate::error::StoreError;
use chat::{Record, RecordError};
use protocol::{Entry, Op};
use std::path::Path;

/// A record as it was written: not to be understood yet, only to be tied to its place.
#[derive(Clone, Debug)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl protocol::Record for Raw<'_> {
    fn encoded(&self) -> &[u8] {
        self.0
    }
}

/// Reads the records of entries that came from the log of the database at `path`.
///
/// # Errors
/// [`StoreError::NewerRecord`] if a newer version wrote one, [`StoreError::Corrupt`] if it is no record.
pub fn decode_entries(path: &Path, entries: Vec<Entry<Vec<u8>>>) -> Result<Vec<Entry<Record>>, StoreError> {
    entries.into_iter().map(|entry| decode_entry(path, &entry)).collect()
}

pub(crate) fn decode_entry(path: &Path, entry: &Entry<Vec<u8>>) -> Result<Entry<Record>, StoreError> {
    let record = decode_record(path, entry.op, &entry.record)?;
    Ok(Entry { op: entry.op, chain: entry.chain, record })
}

pub(crate) fn decode_record(path: &Path, op: Op, record: &[u8]) -> Result<Record, StoreError> {
    Record::decode(record).map_err(|error| match error {
        RecordError::Newer(_) => StoreError::NewerRecord { path: path.to_owned(), op, source: error },
        RecordError::Damaged(_) => {
            StoreError::Corrupt { path: path.to_owned(), what: format!("entry {op}: {error}") }
        }
    })
}
