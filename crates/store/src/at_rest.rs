//! A database and its log as they are looked at from outside: by operators, and by whatever compares replicas.

use crate::applied;
use crate::apply::apply;
use crate::database::{open_at_rest, open_existing_read_only};
use crate::error::StoreError;
use crate::log_folder::log_folder;
use crate::reader::Reader;
use crate::records::decode_entries;
use crate::state::{DatabaseState, state};
use files::RealFiles;
use protocol::{Op, Position};
use replica_log::{LogError, LogReader, look};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How much of the records is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A database, seen from one point in time, and its log. Nothing of them is changed. A replica may run on them, but a log that
/// is written meanwhile may be found damaged where it is not: then it is to be opened again.
#[derive(Debug)]
pub struct AtRest {
    connection: Connection,
    path: PathBuf,
    state: DatabaseState,
    /// `None` where none was begun.
    log: Option<LogReader>,
    /// Where the database lies, if it is a copy.
    copy: Option<TempDir>,
}

impl AtRest {
    /// Opens the database at `path` and its log.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (connection, state) = begin(open_at_rest(path)?, path)?;
        let log = if state.log_begun {
            let folder = log_folder(path);
            let log = look(&RealFiles, &folder)?;
            if log.database() != state.database {
                return Err(LogError::OtherDatabase { folder, found: log.database() }.into());
            }
            Some(log.reader().clone())
        } else {
            None
        };
        Ok(Self { connection, path: path.to_owned(), state, log, copy: None })
    }

    /// For asking the database.
    pub fn reader(&self) -> Reader<'_> {
        Reader::on(&self.connection, &self.path)
    }

    /// Who the database is and how far its tables go.
    pub const fn identity(&self) -> DatabaseState {
        self.state
    }

    /// Where the log ends: what is behind `applied` need not be committed.
    pub fn end(&self) -> Position {
        self.log.as_ref().map_or(self.state.applied, LogReader::end)
    }

    /// The op of the first entry that the log holds.
    pub(crate) fn first_op(&self) -> Op {
        self.log.as_ref().map_or(self.state.applied, LogReader::base).op.next()
    }

    pub(crate) fn log(&self) -> Option<&LogReader> {
        self.log.as_ref()
    }

    /// A copy of the database, brought forward from the log up to a place that is committed; `None` if the log does not hold
    /// it. It lies where temporary files do, until it is dropped.
    pub fn brought_forward(&self, to: Position) -> Result<Option<Self>, StoreError> {
        let Some(log) = &self.log else { return Ok(None) };
        if to.op < self.state.applied.op || log.chain_at(to.op)? != Some(to.chain) {
            return Ok(None);
        }
        let fault = StoreError::file(&self.path);
        let copy = tempfile::Builder::new().prefix("trialogue-").tempdir().map_err(fault)?;
        let path = copy.path().join("chat.db");
        self.reader().snapshot_to(&path)?;
        bring_forward(&path, log, self.state.applied, to)?;
        let (connection, state) = begin(open_existing_read_only(&path)?, &path)?;
        Ok(Some(Self { connection, path, state, log: Some(log.clone()), copy: Some(copy) }))
    }

    /// Whether this is a copy that was brought forward.
    pub const fn is_copy(&self) -> bool {
        self.copy.is_some()
    }
}

/// Two databases at the same place, if the log of the one that is behind leads to where the other is: that one is a copy then.
/// As after a crash, where each had applied what it had come to.
pub fn level(one: AtRest, other: AtRest) -> Result<(AtRest, AtRest), StoreError> {
    let (at_one, at_other) = (one.state.applied, other.state.applied);
    Ok(match at_one.op.cmp(&at_other.op) {
        std::cmp::Ordering::Less => (one.brought_forward(at_other)?.unwrap_or(one), other),
        std::cmp::Ordering::Greater => {
            let forward = other.brought_forward(at_one)?;
            (one, forward.unwrap_or(other))
        }
        std::cmp::Ordering::Equal => (one, other),
    })
}

/// From here on the connection sees one point in time.
fn begin(connection: Connection, path: &Path) -> Result<(Connection, DatabaseState), StoreError> {
    connection.execute_batch("BEGIN").map_err(StoreError::sqlite(path))?;
    let state = state(&connection, path)?;
    Ok((connection, state))
}

/// Applies to the copy at `path` what the log has between the two places.
fn bring_forward(path: &Path, log: &LogReader, from: Position, to: Position) -> Result<(), StoreError> {
    let sql = StoreError::sqlite(path);
    let mut connection = Connection::open(path).map_err(&sql)?;
    let transaction = connection.transaction().map_err(&sql)?;
    let (mut end, mut last_at) = (from, None);
    while end.op < to.op {
        let piece = log.read_after(end.op, PIECE_BYTES)?;
        let not_next = || StoreError::NotNext { path: path.to_owned(), op: end.op };
        let wanted = piece.entries.into_iter().take_while(|entry| entry.op <= to.op).collect();
        let entries = decode_entries(path, wanted)?;
        let last = entries.last().ok_or_else(not_next)?;
        last_at = Some(last.record.at());
        end = end.extend(&entries).ok_or_else(not_next)?;
        apply(&transaction, &entries).map_err(&sql)?;
    }
    if let Some(last_at) = last_at {
        applied::set(&transaction, end, last_at).map_err(&sql)?;
    }
    transaction.commit().map_err(&sql)
}
