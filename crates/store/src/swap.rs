//! Databases that change places: a snapshot comes in for the one that was there, a damaged one is moved aside.

use crate::error::StoreError;
use crate::suffix::with_suffix;
use crate::suspect::remove_mark;
use chat::Millis;
use files::Files;
use std::path::{Path, PathBuf};

/// A snapshot that has arrived and was checked stands beside the database under its name and this.
pub const INCOMING_SUFFIX: &str = ".incoming";
/// The database that a snapshot replaces, until it has.
const REPLACED_SUFFIX: &str = ".replaced";

/// Puts a checked snapshot in the place of the database at `path`. No connection to that database may be open.
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
    remove_mark(files, path)?;
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
        remove_mark(files, path)?;
        return files.remove(&replaced).map_err(StoreError::file(&replaced));
    }
    Ok(())
}

/// Moves a database and its companions aside, durably, so that nothing of it is lost and nothing of it is used. Returns the new
/// name.
pub(crate) fn move_aside(
    files: &dyn Files,
    path: &Path,
    why: &str,
    at: Millis,
) -> Result<PathBuf, StoreError> {
    let aside = path.with_file_name(format!(
        "{}.{why}-{}",
        path.file_name().map_or_else(|| "chat.db".into(), |name| name.to_string_lossy().into_owned()),
        at.0
    ));
    // The database first: without its write-ahead log, even a damaged one must not be taken for a whole one.
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(path, suffix);
        if files.exists(&from) {
            let to = with_suffix(&aside, suffix);
            files.rename(&from, &to).map_err(StoreError::file(&from))?;
        }
    }
    sync_folder_of(files, path)?;
    Ok(aside)
}

/// Moves a folder aside, durably. Returns its new name, if there was one.
pub(crate) fn move_folder_aside(
    files: &dyn Files,
    folder: &Path,
    why: &str,
    at: Millis,
) -> Result<Option<PathBuf>, StoreError> {
    if !files.exists(folder) {
        return Ok(None);
    }
    let aside = with_suffix(folder, &format!(".{why}-{}", at.0));
    files.rename(folder, &aside).map_err(StoreError::file(folder))?;
    sync_folder_of(files, folder)?;
    Ok(Some(aside))
}

fn sync_folder_of(files: &dyn Files, path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    files.sync_folder(folder).map_err(StoreError::file(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::ForgetfulFiles;

    /// The old database with its write-ahead log, or the new one alone: nothing else may ever be opened.
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
