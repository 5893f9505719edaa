//! Snapshots: a whole database out (`SQLite`'s online backup, while writes go on) and in (checked, then swapped in
//! atomically).

use crate::error::StoreError;
use crate::file::{self, Identity, with_suffix};
use crate::files::Files;
use crate::memory;
use crate::reader::Reader;
use protocol::Memory;
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
/// then ready for [`swap_in`]. It remembers `memory` of views, and nothing of what the database remembers that it is a copy of.
pub fn check_snapshot(incoming: &Path, memory: Option<&Memory>) -> Result<Identity, StoreError> {
    let (connection, _) = file::open(incoming)?;
    let sql = StoreError::sqlite(incoming);
    let full: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&sql)?;
    if full != "ok" {
        return Err(StoreError::Corrupt { path: incoming.to_owned(), what: full });
    }
    // The copy is another database: a replica is its database, and the view names it by this identity.
    connection.execute("UPDATE database SET id = ?1", [uuid::Uuid::new_v4().as_bytes()]).map_err(&sql)?;
    connection.execute_batch("DELETE FROM remembered; DELETE FROM remembered_members").map_err(&sql)?;
    if let Some(memory) = memory {
        memory::write(&connection, memory).map_err(&sql)?;
    }
    let identity = file::identity(&connection, incoming)?;
    // One self-contained file, without companions, so that one rename swaps in all of it.
    connection.pragma_update(None, "journal_mode", "DELETE").map_err(&sql)?;
    drop(connection);
    File::open(incoming).and_then(|file| file.sync_all()).map_err(StoreError::file(incoming))?;
    Ok(identity)
}

/// A snapshot that has arrived and was checked stands beside the database under its name and this.
pub const INCOMING_SUFFIX: &str = ".incoming";
/// The database that a snapshot replaces, until it has.
const REPLACED_SUFFIX: &str = ".replaced";

/// Puts a checked snapshot in the place of the database at `path`. Nobody may have that database open.
///
/// The old database leaves first, then its companions, then the snapshot comes: at no moment does a database stand beside
/// a write-ahead log that is not its own, or without the one that is. Wherever the power fails in between,
/// [`finish_swap`] goes on from there.
pub fn swap_in(files: &dyn Files, path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let replaced = with_suffix(path, REPLACED_SUFFIX);
    if files.exists(path) {
        files.rename(path, &replaced).map_err(StoreError::file(path))?;
    }
    files.sync_folder(folder).map_err(StoreError::file(folder))?;
    for suffix in ["-wal", "-shm"] {
        let companion = with_suffix(path, suffix);
        files.remove(&companion).map_err(StoreError::file(&companion))?;
    }
    files.sync_folder(folder).map_err(StoreError::file(folder))?;
    let incoming = with_suffix(path, INCOMING_SUFFIX);
    files.rename(&incoming, path).map_err(StoreError::file(&incoming))?;
    files.sync_folder(folder).map_err(StoreError::file(folder))?;
    files.remove(&replaced).map_err(StoreError::file(&replaced))
}

/// Goes on with a swap that a crash or a power failure has interrupted, before the database is opened.
pub fn finish_swap(files: &dyn Files, path: &Path) -> Result<(), StoreError> {
    let replaced = with_suffix(path, REPLACED_SUFFIX);
    if !files.exists(&replaced) {
        return Ok(());
    }
    if !files.exists(path) && files.exists(&with_suffix(path, INCOMING_SUFFIX)) {
        return swap_in(files, path);
    }
    if files.exists(path) {
        return files.remove(&replaced).map_err(StoreError::file(&replaced));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ForgetfulFiles;

    /// The old database with its log, or the new one alone: nothing else may ever be opened.
    fn assert_whole(files: &ForgetfulFiles, path: &Path, what: &str) {
        let content = |suffix| files.read(&with_suffix(path, suffix)).ok();
        let (database, log) = (content(""), content("-wal"));
        let old = database.as_deref() == Some(b"old") && log.as_deref() == Some(b"old log");
        let new = database.as_deref() == Some(b"new") && log.is_none();
        assert!(old || new, "{what}: {database:?} beside {log:?}");
    }

    #[test]
    fn wherever_the_power_fails_a_swap_leaves_the_old_database_or_the_new_one() {
        let path = Path::new("/d/chat.db");
        for changes in 0..12 {
            let files = ForgetfulFiles::default();
            for (suffix, content) in [("", "old"), ("-wal", "old log"), (INCOMING_SUFFIX, "new")] {
                files.write_new(&with_suffix(path, suffix), content.as_bytes()).unwrap();
                files.sync(&with_suffix(path, suffix)).unwrap();
            }
            files.sync_folder(Path::new("/d")).unwrap();
            files.fail_after(changes);
            let swapped = swap_in(&files, path).is_ok();
            for (number, found) in files.after_power_loss().into_iter().enumerate() {
                let what = format!("after {changes} changes, disk {number}");
                // The power may fail again while the swap is finished.
                for again in 0..12 {
                    let found = found.after_power_loss().remove(0);
                    found.fail_after(again);
                    drop(finish_swap(&found, path));
                    for at_last in found.after_power_loss() {
                        finish_swap(&at_last, path).unwrap();
                        assert_whole(&at_last, path, &what);
                        assert!(!swapped || at_last.read(path).unwrap() == b"new", "{what}");
                    }
                }
            }
        }
    }
}
