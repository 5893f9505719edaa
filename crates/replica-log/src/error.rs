//! Faults of a log, each a situation with its remedy.

use protocol::{DatabaseId, Op, Position};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the log could not do its work.
#[derive(Debug, Error)]
pub enum LogError {
    /// The folder or a file in it can't be made, read, written or synced.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no room left on the disk, or for this user.
    #[error("{path}: {source}; make room")]
    Full {
        /// What was written or made.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was synced can't be read any more. Nothing was changed; the folder is to be moved aside, never cut.
    #[error("{path} is damaged at op {op}: {what}; the log is not used any more")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first op that can't be read; for a file whose header can't, the one in its name.
        op: Op,
        /// What is wrong there.
        what: &'static str,
    },
    /// The log was written by a newer version of the program. Nothing was changed.
    #[error("{path} has log format {found}, and this program knows {known}; use the newer program")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// The log belongs to another database: for this one there is none. Nothing was changed.
    #[error("the log in {folder} belongs to another database")]
    OtherDatabase {
        /// Where it is.
        folder: PathBuf,
        /// Whose it is.
        found: DatabaseId,
    },
    /// No path leads to a file that is open any more.
    #[error(
        "{path} was removed or replaced while this replica had it open; no message is counted as kept here until the file is back or the replica was brought level anew"
    )]
    FilesLost {
        /// The file.
        path: PathBuf,
    },
    /// There is no log.
    #[error("there is no log in {folder}")]
    Missing {
        /// Where it should be.
        folder: PathBuf,
    },
    /// An earlier write or sync failed, and the log was not repaired since.
    #[error("the log in {folder} was not repaired after a write that failed")]
    Closed {
        /// Where it is.
        folder: PathBuf,
    },
    /// The log does not hold the position that it was to be cut back to.
    #[error("the log does not hold {to}")]
    NotHeld {
        /// Which.
        to: Position,
    },
}

impl LogError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::File { path, source },
        }
    }

    pub(crate) fn damaged(path: &Path, op: Op, what: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), op, what }
    }
}
