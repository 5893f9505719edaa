//! Snapshots: a whole database out (`SQLite`'s online backup, while writes go on) and in (checked, then swapped in
//! atomically).

use crate::error::StoreError;
use crate::file::{self, Identity, sync_folder, with_suffix};
use crate::reader::Reader;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::fs::File;
use std::path::Path;

impl Reader<'_> {
    /// Copies the committed state to a new file at `target`.
    pub fn snapshot_to(&self, target: &Path) -> Result<(), StoreError> {
        let sql = StoreError::sqlite(target);
        let mut copy = Connection::open(target).map_err(&sql)?;
        let backup = Backup::new(self.connection(), &mut copy).map_err(&sql)?;
        // All in one step: a reader in WAL mode holds up nobody.
        loop {
            match backup.step(-1).map_err(&sql)? {
                StepResult::Done => return Ok(()),
                _ => std::thread::yield_now(),
            }
        }
    }
}

/// Checks a snapshot that has arrived at `incoming` completely, draws it a new identity, and makes it durable. It is
/// then ready for [`swap_in`].
pub fn check_snapshot(incoming: &Path) -> Result<Identity, StoreError> {
    let (connection, _) = file::open(incoming)?;
    let sql = StoreError::sqlite(incoming);
    let full: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&sql)?;
    if full != "ok" {
        return Err(StoreError::Corrupt { path: incoming.to_owned(), what: full });
    }
    // The copy is another database: a replica is its database, and the view names it by this identity.
    connection.execute("UPDATE database SET id = ?1", [uuid::Uuid::new_v4().as_bytes()]).map_err(&sql)?;
    let identity = file::identity(&connection, incoming)?;
    // One self-contained file, without companions, so that one rename swaps in all of it.
    connection.pragma_update(None, "journal_mode", "DELETE").map_err(&sql)?;
    drop(connection);
    File::open(incoming).and_then(|file| file.sync_all()).map_err(StoreError::file(incoming))?;
    Ok(identity)
}

/// Puts a checked snapshot in the place of the database at `path`. Nobody may have that database open.
pub fn swap_in(incoming: &Path, path: &Path) -> Result<(), StoreError> {
    // First the old companions go: a new database beside an old write-ahead log would be damaged by it.
    for suffix in ["-wal", "-shm"] {
        let companion = with_suffix(path, suffix);
        match std::fs::remove_file(&companion) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::file(&companion)(error));
            }
            _ => {}
        }
    }
    sync_folder(path)?;
    std::fs::rename(incoming, path).map_err(StoreError::file(path))?;
    sync_folder(path)
}
