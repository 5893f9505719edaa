//! The writer: the one connection that changes the database.

use crate::apply::apply;
use crate::database;
use crate::error::StoreError;
use crate::execute::{Context, Executed, execute};
use crate::forgotten::forgotten;
use crate::log_table::{self, DatabaseState};
use crate::lookups::Lookups;
use crate::memory;
use crate::repair::{self, OpenedFiles};
use crate::retention::LogRetention;
use crate::soundness;
use chat::{Fact, HistoryId, Millis, Record, Request};
use protocol::{Entry, Forgetting, Memory, Position};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Executes, commits, rolls back, persists.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    identity: DatabaseState,
    retention: LogRetention,
    /// `None` while the database is closed.
    files: Option<OpenedFiles>,
    /// Something has failed since it was opened or repaired.
    distrusted: bool,
    /// Where the log ends once the open transaction is committed.
    open: Option<DatabaseState>,
    /// How far the present primacy may forget requests, and which primacy that is.
    forgetting: Option<(u64, Forgetting)>,
}

impl Writer {
    /// Opens the database, creating it if there is none.
    pub fn open(path: &Path, retention: LogRetention) -> Result<Self, StoreError> {
        let (connection, identity) = database::open(path)?;
        let files = Some(OpenedFiles::of(path)?);
        Ok(Self {
            connection,
            path: path.to_owned(),
            identity,
            retention,
            files,
            distrusted: false,
            open: None,
            forgetting: None,
        })
    }

    /// Who the database is and where its durable log ends.
    pub const fn identity(&self) -> DatabaseState {
        self.identity
    }

    /// What the database remembers of views.
    pub fn memory(&self) -> Result<Option<Memory>, StoreError> {
        memory::read(&self.connection).map_err(StoreError::sqlite(&self.path))
    }

    /// Remembers this from now on, durably; while a transaction is open, from its commit on.
    pub fn remember(&mut self, memory: &Memory) -> Result<(), StoreError> {
        memory::write(&self.connection, memory).map_err(StoreError::sqlite(&self.path))
    }

    /// Executes requests and leaves the transaction open.
    ///
    /// # Panics
    /// If a transaction is open already: the core emits one store effect at a time.
    pub fn execute(&mut self, requests: &[Request], context: &Context) -> Result<Executed, StoreError> {
        self.begin()?;
        let DatabaseState { position, last_at, database } = self.identity;
        let executed = execute(
            &self.connection,
            &self.path,
            requests,
            &self.identity,
            context,
            &self.retention,
            &mut self.forgetting,
        )?;
        let last = executed.entries.last();
        self.open = Some(DatabaseState {
            database,
            position: last.map_or(position, Entry::position),
            last_at: last.map_or(last_at, |entry| entry.record.at()),
        });
        Ok(executed)
    }

    /// Makes the open transaction durable and visible.
    ///
    /// # Panics
    /// If none is open.
    pub fn commit(&mut self) -> Result<Position, StoreError> {
        let after = self.open.take().expect("a commit needs an open transaction");
        self.connection
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map_err(StoreError::sqlite(&self.path))?;
        self.identity = after;
        Ok(after.position)
    }

    /// Takes the open transaction back.
    pub fn roll_back(&mut self) -> Result<(), StoreError> {
        self.open = None;
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").map_err(StoreError::sqlite(&self.path))
    }

    /// Appends entries that were decided elsewhere and applies them, durably.
    pub fn persist(&mut self, entries: &[Entry<Record>]) -> Result<Position, StoreError> {
        let DatabaseState { position, last_at, database } = self.identity;
        let Some(end) = position.extend(entries) else {
            return Err(StoreError::NotNext { path: self.path.clone(), op: position.op });
        };
        self.begin()?;
        let mut lookups = Lookups::new(&self.connection);
        for entry in entries {
            apply(&mut lookups, entry, &self.retention).map_err(StoreError::sqlite(&self.path))?;
        }
        let last_at = entries.last().map_or(last_at, |entry| entry.record.at());
        self.open = Some(DatabaseState { database, position: end, last_at });
        self.commit()
    }

    /// Something has failed: what this connection wrote last, and what it reads, is not certain any more. It does no work
    /// until [`Writer::repair`] has succeeded; and if it is closed before that, it leaves the files as they are.
    pub fn distrust(&mut self) {
        self.open = None;
        self.distrusted = true;
        // It fails where the transaction is gone already, or the disk: the repair begins with another connection.
        let _ = self.connection.execute_batch("ROLLBACK");
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Makes certain what is on the disk, opens the database anew, looks at all of it, and reads where its log ends. After
    /// a failed commit nothing else can tell whether it took effect. No reader may have the database open.
    pub fn repair(&mut self) -> Result<DatabaseState, StoreError> {
        if let Err(lost) = self.check_files() {
            self.save_log(lost)?;
        }
        self.distrust();
        self.close()?;
        repair::rewrite(&self.path)?;
        let connection = database::connect_writer(&self.path).map_err(StoreError::sqlite(&self.path))?;
        soundness::check(&connection, &self.path)?;
        self.identity = log_table::identity(&connection, &self.path)?;
        self.connection = connection;
        self.files = Some(OpenedFiles::of(&self.path)?);
        self.distrusted = false;
        Ok(self.identity)
    }

    /// Where the database itself is in its place and only its write-ahead log or the index of that is lost, what the log
    /// holds is worked into the database while this connection still has it. All else stays open as it is: it may be all
    /// that is left.
    fn save_log(&self, lost: StoreError) -> Result<(), StoreError> {
        let in_place = self.files.as_ref().is_some_and(OpenedFiles::database_is_in_place);
        if !in_place || self.distrusted {
            return Err(lost);
        }
        let unfinished: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(StoreError::sqlite(&self.path))?;
        if unfinished {
            return Err(StoreError::OpenElsewhere { path: self.path.clone() });
        }
        // Whatever is there under their names by now is not this database's.
        repair::remove_companions(&self.path)
    }

    /// Works the write-ahead log into the database and gives its room back, unless a reader is at work just now or a
    /// transaction is open. It takes as long as a checkpoint: for when there is nothing else to do.
    pub fn truncate_log(&self) -> Result<(), StoreError> {
        if self.distrusted || self.open.is_some() {
            return Ok(());
        }
        let truncate = || {
            self.connection.busy_timeout(Duration::ZERO)?;
            let truncated = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.connection.busy_timeout(database::BUSY_FOR)?;
            truncated
        };
        truncate().map_err(StoreError::sqlite(&self.path))
    }

    /// How large the write-ahead log is, in bytes.
    pub fn log_bytes(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(log).map_or(0, |file| file.len())
    }

    /// Whether the path of the database still leads to the files that are open.
    pub fn check_files(&self) -> Result<(), StoreError> {
        self.files.as_ref().map_or(Ok(()), OpenedFiles::check)
    }

    /// Closes the file, so that it can be replaced. A connection in memory takes its place until the next `open`.
    pub fn close(&mut self) -> Result<(), StoreError> {
        self.open = None;
        self.files = None;
        self.connection = Connection::open_in_memory().map_err(StoreError::sqlite(&self.path))?;
        Ok(())
    }

    /// Begins a new history on top of this log, and ends all sessions: for an operator who has accepted that entries may
    /// be lost, and for a folder that was put back or copied.
    pub fn begin_new_history(&mut self, history: HistoryId, now: Millis) -> Result<Position, StoreError> {
        let at = now.max(self.identity.last_at);
        let entry = self.identity.position.follow(Record::new(
            at,
            None,
            Fact::HistoryBegan { history, forgotten: None, ends_sessions: true },
        ));
        self.persist(&[entry])
    }

    /// Begins a new history whose time starts at `now`, however far ahead the times of its entries and of what is forgotten
    /// had run: the way out after a clock was wrong long enough to be believed. Requests from before `now` that are
    /// not remembered are refused, so that none of them can take effect twice.
    pub fn set_time_back(&mut self, history: HistoryId, now: Millis) -> Result<Position, StoreError> {
        let known = forgotten(&self.connection).map_err(StoreError::sqlite(&self.path))?;
        let forgotten = Some(known.unwrap_or(now).min(now));
        let fact = Fact::HistoryBegan { history, forgotten, ends_sessions: true };
        let entry = self.identity.position.follow(Record::new(now, None, fact));
        self.persist(&[entry])
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        assert!(self.open.is_none(), "a transaction is open while another begins");
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .map(drop)
            .map_err(StoreError::sqlite(&self.path))
    }
}
