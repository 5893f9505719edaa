//! Folder locks: one process a folder, and proof of death for its neighbours.
//!
//! A lock is held by the open file, which the kernel closes when the process ends, however it ends, and which no child
//! inherits (close-on-exec). So whoever obtains a replica's lock knows that at that moment no process of it lived.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// A neighbour that proves a death holds the lock for microseconds; a new process waits it out.
const RETRY_FOR: Duration = Duration::from_millis(500);

/// Why a folder was not locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("{folder} is in use by another process; stop that one, or choose another folder")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// It can't be made or opened.
    #[error("{path}: {source}; choose a folder that you can write to")]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held for as long as a process uses a folder.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder (0700) if there is none, and locks it by a file of that name in it.
    pub fn acquire(folder: &Path, name: &str) -> Result<Self, LockError> {
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::File { path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault(folder))?;
        let path = folder.join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(fault(&path))?;
        let until = Instant::now() + RETRY_FOR;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(fault(&path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(LockError::InUse { folder: folder.to_owned() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Whether no process holds the lock of that folder now. Lets go of it at once, so that a new process is not refused.
pub(crate) fn nobody_holds(folder: &Path, name: &str) -> bool {
    // A folder that does not exist proves nothing: it may be on a disk that is not there.
    File::options().write(true).open(folder.join(name)).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_its_end_can_be_proven() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("replica-0");
        assert!(!nobody_holds(&folder, "lock"), "a folder that does not exist proves nothing");
        let lock = FolderLock::acquire(&folder, "lock").unwrap();
        assert!(!nobody_holds(&folder, "lock"));
        assert!(matches!(FolderLock::acquire(&folder, "lock"), Err(LockError::InUse { .. })));
        drop(lock);
        assert!(nobody_holds(&folder, "lock"));
        FolderLock::acquire(&folder, "lock").unwrap();
    }
}
