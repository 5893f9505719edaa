//! Faults of a store, each a situation with its remedy.

use chat::RecordError;
use protocol::Op;
use replica_log::LogError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the store could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it can't be created, opened or replaced.
    #[error("{path}: {source}; check that the folder exists, has room and belongs to you")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// `SQLite` failed: a full disk, an I/O error, a locked file.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// The database fails its integrity check.
    #[error("{path} is damaged ({what}); it is not used any more")]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What the check found first.
        what: String,
    },
    /// Another program has the database open, so that it can't be repaired.
    #[error(
        "{path} is open in another program; close that one, so that this replica can make sure of what is on its disk"
    )]
    OpenElsewhere {
        /// The database.
        path: PathBuf,
    },
    /// No path leads to a file that is open any more.
    #[error(
        "{path} was removed or replaced while this replica had it open; no message is counted as kept here until the file is back or the replica was brought level anew"
    )]
    FilesLost {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer version of the program.
    #[error("{path} has schema version {found}, and this program knows {known}; use the newer program")]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// The database was written by an older version of the program, and no replica was started on it since.
    #[error(
        "{path} has schema version {found}, and this program reads {known}; start the replica once with this program, which brings its database to that"
    )]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The one that this program reads.
        known: i64,
    },
    /// An entry was written by a newer version of the program.
    #[error("{path}: entry {op} can't be read ({source}); use the newer program")]
    NewerRecord {
        /// The database.
        path: PathBuf,
        /// Which entry.
        op: Op,
        /// What is newer.
        source: RecordError,
    },
    /// Entries that do not follow what is applied.
    #[error("{path}: entries that do not follow op {op} were to be applied")]
    NotNext {
        /// The database.
        path: PathBuf,
        /// The last op that is applied.
        op: Op,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl StoreError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match &source {
            rusqlite::Error::SqliteFailure(error, _)
                if matches!(
                    error.code,
                    rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase
                ) =>
            {
                Self::Corrupt { path: path.clone(), what: source.to_string() }
            }
            _ => Self::Sqlite { path: path.clone(), source },
        }
    }
}
