//! Repair: makes certain what is on the disk, after something has failed or a process has ended in the middle of its work.
//!
//! After a sync has failed, the system counts the pages that it could not write as clean: they read well from memory, the
//! next sync has nothing to do and succeeds, and a power failure shows what was there before. So nothing of a database is
//! certain that was written since its last sound sync. Three steps make it so, and each may fail or be cut short at any
//! moment without harm:
//!
//! 1. **The write-ahead log is written anew**, byte for byte at the same places, and synced. Where a page of it was lost from
//!    memory too, the disk's older page is read, and the checksums that `SQLite` gives each frame end it before that.
//! 2. **Every page in it is written into the database anew**, and synced: a checkpoint by a connection that has the file to
//!    itself (`locking_mode=EXCLUSIVE`). Such a connection keeps its index of it in its own memory and makes it from the
//!    first frame on, so that nothing counts as checkpointed already. That covers the database file: all that was
//!    written to it since its last sound sync came from frames that are in it, because `SQLite` begins it anew only after
//!    the sync of a whole checkpoint has succeeded.
//! 3. **The empty write-ahead log goes**, and the folder is synced.
//!
//! A power failure before the end of step 1 shows the database as it was and some beginning of the write-ahead log; in step 2 the
//! whole is on the disk and overrides whatever was written of the database; after it that log says nothing that the database
//! does not say.
//!
//! No other connection to the database may be open for this: `SQLite` refuses the exclusive connection otherwise.

use crate::error::StoreError;
use crate::suffix::with_suffix;
use files::{Files, RealFiles};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another program that reads the database is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const CHUNK_BYTES: usize = 1 << 20;

/// Writes anew and syncs whatever of the database at `path` may not be durable. This process must have no connection to it.
pub(crate) fn rewrite(path: &Path) -> Result<(), StoreError> {
    let wal = with_suffix(path, "-wal");
    match write_anew(&wal) {
        // Without one, everything in the database was synced before it went.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(StoreError::file(&wal))?,
    }
    checkpoint(path)?;
    RealFiles.sync(path).map_err(StoreError::file(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    RealFiles.sync_folder(folder).map_err(StoreError::file(folder))
}

/// Writes every byte of a file to its place again, and syncs it.
fn write_anew(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 {
            return file.sync_all();
        }
        file.write_all_at(&bytes[..read], at)?;
        at += read as u64;
    }
}

fn checkpoint(path: &Path) -> Result<(), StoreError> {
    let sql = |source| match &source {
        rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::DatabaseBusy => {
            StoreError::OpenElsewhere { path: path.to_owned() }
        }
        _ => StoreError::sqlite(path)(source),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(PATIENCE).map_err(sql)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(sql)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    let unfinished: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(sql)?;
    if unfinished {
        return Err(StoreError::OpenElsewhere { path: path.to_owned() });
    }
    connection.close().map_err(|(_, source)| sql(source))
}

/// Which files the path of a database led to when they were opened. For as long as they are open, no other file can have
/// their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenedFiles {
    path: PathBuf,
    files: [Option<(u64, u64)>; 3],
}

impl OpenedFiles {
    const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

    /// The files of the database at `path`, which is open.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let mut files = [None; 3];
        for (file, suffix) in files.iter_mut().zip(Self::SUFFIXES) {
            let path = with_suffix(path, suffix);
            *file = numbers(&path).map_err(StoreError::file(&path))?;
        }
        Ok(Self { path: path.to_owned(), files })
    }

    /// Whether the path leads to the database that is open, whatever became of its companions.
    pub(crate) fn database_is_in_place(&self) -> bool {
        numbers(&self.path).is_ok_and(|now| now.is_some() && now == self.files[0])
    }

    /// Whether the path still leads to them.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (file, suffix) in self.files.iter().zip(Self::SUFFIXES) {
            let path = with_suffix(&self.path, suffix);
            // What can't be looked at now says nothing; that it can't be written either will show.
            let Ok(now) = numbers(&path) else { continue };
            if file.is_some() && now != *file {
                return Err(StoreError::FilesLost { path });
            }
        }
        Ok(())
    }
}

/// Removes what lies beside a database that needs no write-ahead log.
pub(crate) fn remove_companions(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        let companion = with_suffix(path, suffix);
        RealFiles.remove(&companion).map_err(StoreError::file(&companion))?;
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    RealFiles.sync_folder(folder).map_err(StoreError::file(folder))
}

/// The numbers of the device and of the file that a path leads to.
fn numbers(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
