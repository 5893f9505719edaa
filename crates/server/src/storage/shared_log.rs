//! The log of the database that this replica has just now: another one once a snapshot has taken its place.

use super::recent::Recent;
use replica_log::{Log, LogReader};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// The log, for the thread that writes it; for the tables' thread while nothing else is under way; and for those that read it.
#[derive(Debug)]
pub(crate) struct SharedLog {
    log: Mutex<Option<Log>>,
    reader: RwLock<LogReader>,
    recent: Mutex<Recent>,
}

impl SharedLog {
    pub(crate) fn new(log: Log) -> Self {
        let reader = RwLock::new(log.reader());
        Self { log: Mutex::new(Some(log)), reader, recent: Mutex::default() }
    }

    /// For reading the log as it is now.
    pub(crate) fn reader(&self) -> LogReader {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log; `None` while the files of another one are taking its place.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was logged last and is not applied.
    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes of records were logged a moment ago and are not applied; 16 MiB at most, however many there are.
    pub(super) fn bytes_not_applied(&self) -> u64 {
        self.recent().bytes() as u64
    }

    /// Another log is in its place.
    pub(crate) fn replace(&self, log: Log) {
        self.recent().forget();
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = log.reader();
        *self.lock() = Some(log);
    }
}
