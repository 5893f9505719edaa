//! Folder locks: one process a folder, and proof of death for its neighbours.
//!
//! A lock is held by the open file, which the kernel closes when the process ends, however it ends, and which no child
//! inherits (close-on-exec). A replica writes into the file that it holds which file that is and who it is; what another one
//! that obtains the lock may conclude from that is decided in [`protocol::LockRecord`].

use files::{Files, NO_FOLLOW, RealFiles};
use protocol::{FileIdentity, Incarnation, LockRecord};
use rustix::fs::OFlags;
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};
use thiserror::Error;

/// A neighbour that proves a death holds the lock for microseconds; a new process waits it out.
const RETRY_FOR: Duration = Duration::from_millis(500);
/// A record with all its processes has far fewer bytes.
const RECORD_BYTES_MAX: u64 = 16 * 1024;

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
    file: File,
    path: PathBuf,
}

impl FolderLock {
    /// Makes the folder (0700) if there is none, and locks it by a file of that name in it.
    pub fn acquire(folder: &Path, name: &str) -> Result<Self, LockError> {
        RealFiles.make_folder(folder).map_err(fault(folder))?;
        let path = folder.join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(NO_FOLLOW)
            .open(&path)
            .map_err(fault(&path))?;
        let until = Instant::now() + RETRY_FOR;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file, path }),
                Err(TryLockError::Error(source)) => return Err(fault(&path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(LockError::InUse { folder: folder.to_owned() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Writes into the locked file that this process holds it, so that its death can be proven. To be called before
    /// the process promises anything to anyone.
    pub fn enter(&self, process: Incarnation) -> Result<LockRecord, LockError> {
        self.enter_in_file(process).map_err(fault(&self.path))
    }

    fn enter_in_file(&self, process: Incarnation) -> io::Result<LockRecord> {
        let record = LockRecord::next(read_record(&self.file)?, identity(&self.file)?, process);
        let text = encode(&record);
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        Ok(record)
    }
}

/// Whether the lock in that folder proves that this process is dead; false says nothing. Lets go of the lock at once, so that
/// a new process is not refused.
///
/// # Errors
/// If the file can't be opened, locked or read: then nothing can be proven for as long as that lasts.
pub(crate) fn proves_death(folder: &Path, name: &str, process: Incarnation) -> io::Result<bool> {
    // Not to wait for the other end of what is no file at all.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0) | NO_FOLLOW;
    let file = File::options().read(true).custom_flags(flags).open(folder.join(name))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let record = read_record(&file)?;
    Ok(record.is_some_and(|record| identity(&file).is_ok_and(|locked| record.proves_death(locked, process))))
}

fn identity(file: &File) -> io::Result<FileIdentity> {
    let metadata = file.metadata()?;
    // Not every file system tells when a file was made; then its device and number must do.
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
    Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino(), born })
}

fn encode(record: &LockRecord) -> String {
    let FileIdentity { device, inode, born } = record.file;
    let mut text = format!("file {device} {inode} {born}\n");
    for process in &record.holders {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "process {}", process.0);
    }
    text.push_str("end\n");
    text
}

/// What stands in a lock file; `None` where that is no record, or only a part of one.
fn read_record(file: &File) -> io::Result<Option<LockRecord>> {
    let mut text = String::new();
    let mut start = file;
    io::Seek::seek(&mut start, io::SeekFrom::Start(0))?;
    match start.take(RECORD_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(decode(&text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(text: &str) -> Option<LockRecord> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    let numbers = lines.next()?.strip_prefix("file ")?.split(' ').map(|number| number.parse().ok());
    let [device, inode, born] = numbers.collect::<Option<Vec<u64>>>()?.try_into().ok()?;
    let holders = lines.map(|line| line.strip_prefix("process ")?.parse().ok().map(Incarnation));
    Some(LockRecord { file: FileIdentity { device, inode, born }, holders: holders.collect::<Option<_>>()? })
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> LockError + use<> {
    let path = path.to_owned();
    move |source| LockError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FIRST: Incarnation = Incarnation(u64::MAX);
    const SECOND: Incarnation = Incarnation(2);

    fn replica_folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let replica = folder.path().join("replica-0");
        (folder, replica)
    }

    fn starts(folder: &Path, process: Incarnation) -> FolderLock {
        let lock = FolderLock::acquire(folder, "lock").unwrap();
        lock.enter(process).unwrap();
        lock
    }

    fn proven(folder: &Path, process: Incarnation) -> bool {
        proves_death(folder, "lock", process).unwrap()
    }

    #[test]
    fn a_folder_has_one_owner_and_its_end_can_be_proven() {
        let (_all, folder) = replica_folder();
        assert!(proves_death(&folder, "lock", FIRST).is_err(), "a folder that does not exist proves nothing");
        let lock = starts(&folder, FIRST);
        assert!(!proven(&folder, FIRST));
        assert!(matches!(FolderLock::acquire(&folder, "lock"), Err(LockError::InUse { .. })));
        drop(lock);
        assert!(proven(&folder, FIRST));
        assert!(!proven(&folder, SECOND), "of a process that was never here it says nothing");
        let lock = starts(&folder, SECOND);
        assert!(!proven(&folder, FIRST), "as long as the lock is held, nobody can tell");
        drop(lock);
        assert!(proven(&folder, FIRST) && proven(&folder, SECOND));
    }

    #[test]
    fn a_folder_that_was_replaced_beside_a_living_process_proves_nothing_of_it() {
        type Replace = fn(&Path, &Path);
        let cases: [(&str, Replace); 4] = [
            ("removed and made again", |folder, _| {
                std::fs::remove_dir_all(folder).unwrap();
                std::fs::create_dir(folder).unwrap();
                std::fs::write(folder.join("lock"), "").unwrap();
            }),
            ("renamed, and a copy put in its place", |folder, aside| {
                std::fs::rename(folder, aside).unwrap();
                std::fs::create_dir(folder).unwrap();
                std::fs::copy(aside.join("lock"), folder.join("lock")).unwrap();
            }),
            ("removed, and another process was there", |folder, _| {
                std::fs::remove_dir_all(folder).unwrap();
                drop(starts(folder, SECOND));
                assert!(proven(folder, SECOND));
            }),
            ("replaced by a copy, and another process was there", |folder, aside| {
                std::fs::rename(folder, aside).unwrap();
                std::fs::create_dir(folder).unwrap();
                std::fs::copy(aside.join("lock"), folder.join("lock")).unwrap();
                drop(starts(folder, SECOND));
                assert!(proven(folder, SECOND));
            }),
        ];
        for (case, replace) in cases {
            let (all, folder) = replica_folder();
            let lock = starts(&folder, FIRST);
            replace(&folder, &all.path().join("aside"));
            assert!(!proven(&folder, FIRST), "{case}: it lives");
            drop(lock);
            assert!(!proven(&folder, FIRST), "{case}: that lock is not the one it held");
        }
    }

    #[test]
    fn a_folder_that_was_moved_or_linked_still_proves_a_death() {
        let (all, folder) = replica_folder();
        let lock = starts(&folder, FIRST);
        let moved = all.path().join("moved");
        std::fs::rename(&folder, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &folder).unwrap();
        assert!(!proven(&folder, FIRST) && !proven(&moved, FIRST));
        drop(lock);
        assert!(proven(&folder, FIRST) && proven(&moved, FIRST));
    }

    #[test]
    fn what_is_no_record_or_can_not_be_read_proves_nothing() {
        let (_all, folder) = replica_folder();
        drop(starts(&folder, FIRST));
        let path = folder.join("lock");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(!proven(&folder, FIRST), "cut at {length}");
        }
        for other in [&b"\xff\xfe"[..], b"file 1 2\nend\n", b"file 1 2 3 4\nend\n", b"end\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(!proven(&folder, FIRST), "{other:?}");
            drop(starts(&folder, SECOND));
            assert!(proven(&folder, SECOND), "a new process writes it anew: {other:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(proves_death(&folder, "lock", FIRST).is_err(), "no file at all");
        std::fs::remove_dir(&path).unwrap();
        drop(starts(&folder, FIRST));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert!(
                proves_death(&folder, "lock", FIRST).is_err(),
                "no permission is an error that can be told"
            );
        }
    }
}
