//! A log that no process writes, as operators look at it.

use crate::error::LogError;
use crate::reader::LogReader;
use crate::shared::Shared;
use crate::survey::Listing;
use files::Files;
use protocol::{DatabaseId, Entry, Op, Position};
use std::path::Path;
use std::sync::Arc;

/// How much of the records is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A log at rest. Its end is what reads well now: a start has to make it durable first.
#[derive(Debug)]
pub struct LogAtRest {
    reader: LogReader,
    database: DatabaseId,
    committed: Position,
}

/// Looks at the log in a folder and changes nothing, so that the folder may be one that can't be written to.
pub fn look(files: &dyn Files, folder: &Path) -> Result<LogAtRest, LogError> {
    let listing = Listing::read(files, folder, true)?;
    let database = listing.database();
    let survey = listing.survey()?;
    let database = database.expect("a log that was surveyed has a segment");
    let reader = LogReader(Arc::new(Shared::new(survey.parts)));
    Ok(LogAtRest { reader, database, committed: survey.committed })
}

impl LogAtRest {
    /// Whose log it is.
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// The position after which the log begins.
    pub fn base(&self) -> Position {
        self.reader.base()
    }

    /// Where it ends, without a torn end.
    pub fn end(&self) -> Position {
        self.reader.end()
    }

    /// The commit point in its last sound group.
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// For reading single places.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The entries after an op in their order, up to the first that can't be read. Whether their chains are right is for the
    /// caller to compute.
    pub fn entries_after(&self, op: Op) -> impl Iterator<Item = Result<Entry<Vec<u8>>, LogError>> + '_ {
        let mut read = op;
        let mut failed = false;
        let pieces = std::iter::from_fn(move || {
            if failed {
                return None;
            }
            match self.reader.read_after(read, PIECE_BYTES) {
                Ok(piece) => {
                    read = piece.entries.last()?.op;
                    Some(piece.entries.into_iter().map(Ok).collect())
                }
                Err(error) => {
                    failed = true;
                    Some(vec![Err(error)])
                }
            }
        });
        pieces.flatten()
    }
}
