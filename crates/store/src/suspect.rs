//! A mark beside a database that damage was found in it while it was used: the next start moves it aside.
//!
//! What was found is believed, and not looked for again: the part of the log that showed it may be gone by then.

use crate::error::StoreError;
use crate::suffix::with_suffix;
use files::{Files, RealFiles};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The mark is in the file of this name, behind the database's, and says what was found.
const SUFFIX: &str = ".suspect";

/// Marks the database at `path`, durably. What was found first stays.
pub fn suspect_damage(path: &Path, what: &str) -> Result<(), StoreError> {
    let (mark, folder) = (mark_of(path), path.parent().unwrap_or(Path::new(".")));
    let made = match RealFiles.write_new(&mark, what.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => RealFiles.sync(&mark).and_then(|()| RealFiles.sync_folder(folder)),
    };
    made.map_err(StoreError::file(&mark))
}

/// What was found in the database at `path`, if anything was.
pub fn suspected(path: &Path) -> Result<Option<String>, StoreError> {
    let mark = mark_of(path);
    match RealFiles.read(&mark) {
        Ok(what) => Ok(Some(String::from_utf8_lossy(&what).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file(&mark)(error)),
    }
}

/// The database that was marked is not in its place any more, durably.
pub(crate) fn remove_mark(files: &dyn Files, path: &Path) -> Result<(), StoreError> {
    let (mark, folder) = (mark_of(path), path.parent().unwrap_or(Path::new(".")));
    if !files.exists(&mark) {
        return Ok(());
    }
    files.remove(&mark).and_then(|()| files.sync_folder(folder)).map_err(StoreError::file(&mark))
}

fn mark_of(path: &Path) -> PathBuf {
    with_suffix(path, SUFFIX)
}
