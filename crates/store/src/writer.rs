//! The writer: the one connection that changes the database.

use crate::applied;
use crate::apply::apply;
use crate::database::{self, Opened};
use crate::error::StoreError;
use crate::forgotten::forgotten;
use crate::log_folder::log_folder;
use crate::memory;
use crate::repair::{self, OpenedFiles};
use crate::retention::LogRetention;
use crate::soundness::{self, Check};
use crate::state::{self, DatabaseState};
use crate::suffix::with_suffix;
use crate::wal::{Checkpoint, Wal, checkpoint};
use chat::{Fact, HistoryId, Millis, Record};
use files::{Files, RealFiles};
use protocol::{DatabaseId, Entry, Memory, Op, Position};
use replica_log::{MemoryFile, remembered};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Applies entries, remembers views, and says who the database is.
///
/// What is applied need not be durable: after a power failure the tables may show an earlier place, and are brought forward
/// from the log. What is remembered, and who the database is, is durable when it was said to be.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    wal: Wal,
    path: PathBuf,
    state: DatabaseState,
    /// The tables are durable up to here.
    checkpointed: Option<Op>,
    /// How much of the log is kept: what is more can go only behind a checkpoint.
    retention: LogRetention,
    /// `None` while the database is closed.
    files: Option<OpenedFiles>,
    /// Something has failed since it was opened or repaired.
    distrusted: bool,
    /// What is remembered goes there first; `None` before there is a log.
    memory_file: Option<MemoryFile>,
}

impl Writer {
    /// Opens the database, creating it if there is none. It does not look at its log: see [`crate::Storage`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_after(path, Check::Whole)
    }

    /// The same after this much of it was looked at.
    pub(crate) fn open_after(path: &Path, how: Check) -> Result<Self, StoreError> {
        let Opened { connection, wal, state } = database::open(path, how)?;
        let writer = Self {
            connection,
            wal,
            path: path.to_owned(),
            state,
            checkpointed: None,
            retention: LogRetention::keep(u64::MAX),
            files: Some(OpenedFiles::of(path)?),
            distrusted: false,
            memory_file: None,
        };
        writer.sync_commits(false).map_err(StoreError::sqlite(path))?;
        Ok(writer)
    }

    /// The same, for a log of which this much is kept.
    pub(crate) fn keeping(self, retention: LogRetention) -> Self {
        Self { retention, ..self }
    }

    /// Who the database is and how far its tables go.
    pub const fn state(&self) -> DatabaseState {
        self.state
    }

    /// What the database remembers of views.
    pub fn memory(&self) -> Result<Option<Memory>, StoreError> {
        memory::read(&self.connection).map_err(StoreError::sqlite(&self.path))
    }

    /// Remembers this from now on, durably. A newer view of the same register is durable once it is in a file beside the log: a
    /// commit that is synced would make the whole write-ahead log durable, and a new primary waits for this.
    pub fn remember(&mut self, memory: &Memory) -> Result<(), StoreError> {
        let before = self.memory()?;
        // What lies at the path by now may be another folder, put back from a copy: it is not to get what this one remembers.
        self.check_files()?;
        match &mut self.memory_file {
            Some(file) if before.is_some_and(|before| memory::goes_on(&before, memory)) => {
                file.remember(memory)?;
                self.change(|connection| memory::write(connection, memory))
            }
            _ => self.durably(|connection| memory::write(connection, memory)),
        }
    }

    /// Opens the file that a newer view is remembered in; the folder of the log is there.
    pub(crate) fn open_memory_file(&mut self) -> Result<(), StoreError> {
        let file = MemoryFile::open(Arc::new(RealFiles), &log_folder(&self.path), self.state.database)?;
        self.memory_file = Some(file);
        Ok(())
    }

    /// Remembers what only the file beside the log has: the power has failed since, or this database was repaired.
    pub(crate) fn take_up_memory(&mut self) -> Result<(), StoreError> {
        let newest = remembered(&RealFiles, &log_folder(&self.path), self.state.database)?;
        match (self.memory()?, newest) {
            (Some(before), Some(newest)) if memory::goes_on(&before, &newest) => {
                self.durably(|connection| memory::write(connection, &newest))
            }
            // A database that remembers nothing, or another register, has begun anew since.
            _ => Ok(()),
        }
    }

    /// A log of this database is on the disk from now on, durably.
    pub fn begin_log(&mut self) -> Result<(), StoreError> {
        self.durably(|connection| connection.execute("UPDATE database SET log_begun = 1", []))?;
        self.state.log_begun = true;
        Ok(())
    }

    /// Makes this another database, which is in sync with nothing and has no log yet, durably.
    pub fn draw_identity(&mut self) -> Result<DatabaseId, StoreError> {
        let database = self.durably(state::draw_identity)?;
        (self.state.database, self.state.log_begun, self.memory_file) = (database, false, None);
        Ok(database)
    }

    /// Applies entries that follow what is applied, in one transaction. After an error it is unknown what of them is applied,
    /// until the database was repaired.
    pub fn apply(&mut self, entries: &[Entry<Record>]) -> Result<Position, StoreError> {
        let DatabaseState { applied: before, .. } = self.state;
        let Some(end) = before.extend(entries) else {
            return Err(StoreError::NotNext { path: self.path.clone(), op: before.op });
        };
        let Some(last) = entries.last() else { return Ok(before) };
        let last_at = last.record.at();
        self.change(|connection| {
            apply(connection, entries)?;
            applied::set(connection, end, last_at)
        })?;
        (self.state.applied, self.state.last_at) = (end, last_at);
        if self.wal.begin_sync() {
            self.sync_wal()?;
        }
        if self.wal.is_long() || self.retention.checkpoint_is_due(end.op, self.checkpointed) {
            self.checkpoint(Checkpoint::Passive)?;
        }
        Ok(end)
    }

    /// The op up to which the tables are durable, whatever becomes of what was written since: by a checkpoint of this run that
    /// left nothing out. `None` until there was one.
    pub const fn checkpointed(&self) -> Option<Op> {
        self.checkpointed
    }

    /// Something has failed: what this connection wrote last, and what it reads, is not certain any more. It does no work
    /// until [`Writer::repair`] has succeeded; and if it is closed before that, it leaves the files as they are.
    pub fn distrust(&mut self) {
        self.distrusted = true;
        // It fails where no transaction is left, or the disk is gone: the repair begins with another connection.
        let _ = self.connection.execute_batch("ROLLBACK");
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Makes certain what is on the disk, opens the database anew, looks at the tables, and reads how far they go: perhaps less
    /// far than before. After a failed commit nothing else can tell whether it took effect. No reader may have the database
    /// open.
    pub fn repair(&mut self) -> Result<DatabaseState, StoreError> {
        if let Err(lost) = self.check_files() {
            self.save_wal(lost)?;
        }
        self.distrust();
        self.close()?;
        repair::rewrite(&self.path)?;
        let sql = StoreError::sqlite(&self.path);
        let (connection, wal) = database::connect_writer(&self.path).map_err(&sql)?;
        let state = state::state(&connection, &self.path)?;
        soundness::check(&connection, &self.path, state.applied.op, Check::Whole)?;
        (self.connection, self.wal, self.state) = (connection, wal, state);
        self.sync_commits(false).map_err(&sql)?;
        self.files = Some(OpenedFiles::of(&self.path)?);
        if self.state.log_begun {
            let taken_up = self.take_up_memory().and_then(|()| self.open_memory_file());
            taken_up.inspect_err(|_| self.distrust())?;
        }
        self.distrusted = false;
        Ok(state)
    }

    /// Where the database itself is in its place and only its write-ahead log or the index of that is lost, what that log
    /// holds is worked into the database while this connection still has it. All else stays open as it is: it may be all
    /// that is left.
    fn save_wal(&self, lost: StoreError) -> Result<(), StoreError> {
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

    /// Works the write-ahead log into the database and gives its room back, unless a reader is at work just now. It takes as
    /// long as a checkpoint: for when there is nothing else to do.
    pub fn truncate_wal(&mut self) -> Result<(), StoreError> {
        if self.distrusted || self.files.is_none() {
            return Ok(());
        }
        let sql = StoreError::sqlite(&self.path);
        self.connection.busy_timeout(Duration::ZERO).map_err(&sql)?;
        let truncated = self.checkpoint(Checkpoint::Truncate);
        self.connection.busy_timeout(database::BUSY_FOR).map_err(&sql)?;
        truncated
    }

    /// How large the write-ahead log is, in bytes.
    pub fn wal_bytes(&self) -> u64 {
        std::fs::metadata(with_suffix(&self.path, "-wal")).map_or(0, |file| file.len())
    }

    /// Whether the path of the database still leads to the files that are open.
    pub fn check_files(&self) -> Result<(), StoreError> {
        self.files.as_ref().map_or(Ok(()), OpenedFiles::check)
    }

    /// Closes the file, so that it can be replaced. A connection in memory takes its place until the next `open`.
    pub fn close(&mut self) -> Result<(), StoreError> {
        (self.files, self.checkpointed, self.memory_file) = (None, None, None);
        self.connection = Connection::open_in_memory().map_err(StoreError::sqlite(&self.path))?;
        self.wal.ends();
        Ok(())
    }

    /// The entry that begins a new history behind what is applied, and ends all sessions: for an operator who has accepted that
    /// entries may be lost, and for a folder that was put back or copied. It is to be logged, and then applied.
    pub fn begin_new_history(&self, history: HistoryId, now: Millis) -> Entry<Record> {
        let at = now.max(self.state.last_at);
        let fact = Fact::HistoryBegan { history, forgotten: None };
        self.state.applied.follow(Record::new(at, None, fact))
    }

    /// The entry that begins a new history whose time starts at `now`, however far ahead the times of its entries and of what is
    /// forgotten had run: the way out after a clock was wrong long enough to be believed. Requests from before `now` that are
    /// not remembered are refused, so that none of them can take effect twice. It is to be logged, and then applied.
    pub fn set_time_back(&self, history: HistoryId, now: Millis) -> Result<Entry<Record>, StoreError> {
        let known = forgotten(&self.connection).map_err(StoreError::sqlite(&self.path))?;
        let forgotten = Some(known.unwrap_or(now).min(now));
        let fact = Fact::HistoryBegan { history, forgotten };
        Ok(self.state.applied.follow(Record::new(now, None, fact)))
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoint(&mut self, how: Checkpoint) -> Result<(), StoreError> {
        let applied = self.state.applied.op;
        if checkpoint(&self.connection, how).map_err(StoreError::sqlite(&self.path))? {
            self.checkpointed = Some(applied);
        }
        Ok(())
    }

    /// Makes durable what is in the write-ahead log. After an error it can't be told what is.
    fn sync_wal(&self) -> Result<(), StoreError> {
        let wal = with_suffix(&self.path, "-wal");
        // Whether it can be opened, and is the one that is in use, is asked elsewhere: the next checkpoint syncs it in any case.
        let Ok(file) = RealFiles.open_to_read(&wal) else { return Ok(()) };
        file.sync().map_err(StoreError::file(&wal))
    }

    /// Changes something in one transaction.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let changed = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = change(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        };
        changed().map_err(StoreError::sqlite(&self.path))
    }

    /// Changes something in one transaction that is durable when this returns, with all that was committed before it.
    fn durably<T>(
        &mut self,
        change: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.sync_commits(true).map_err(StoreError::sqlite(&self.path))?;
        let changed = self.change(change);
        self.sync_commits(false).map_err(StoreError::sqlite(&self.path))?;
        changed
    }

    /// Whether each commit is synced; a checkpoint always is.
    fn sync_commits(&self, sync: bool) -> Result<(), rusqlite::Error> {
        self.connection.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(connection: &Connection) -> Result<i64, rusqlite::Error> {
        connection.pragma_query_value(None, "synchronous", |row| row.get(0))
    }

    /// That a commit was synced can't be seen from here; that it was asked for can.
    #[test]
    fn what_must_be_durable_is_synced_and_what_is_applied_is_not() {
        const NORMAL: i64 = 1;
        const FULL: i64 = 2;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let mut writer = Writer::open(&path).unwrap();
        assert_eq!(writer.change(mode).unwrap(), NORMAL);
        assert_eq!(writer.durably(mode).unwrap(), FULL);
        assert_eq!(writer.change(mode).unwrap(), NORMAL);
        writer.durably(|connection| connection.execute("nonsense", [])).unwrap_err();
        assert_eq!(writer.change(mode).unwrap(), NORMAL);
        writer.repair().unwrap();
        assert_eq!(writer.change(mode).unwrap(), NORMAL);
        let opened = database::open(&folder.path().join("other.db"), Check::Whole).unwrap().connection;
        assert_eq!(mode(&opened).unwrap(), FULL, "whatever a start changes is durable");
    }
}
