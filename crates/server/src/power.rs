//! Whether the power has failed since a replica's database was last known to be whole.
//!
//! A file in the replica's folder says in which boot of the machine that was, or that its last process ended cleanly after
//! that. It is written before the process confirms anything. A process that finds another boot in it, and no clean end, leaves
//! it as it is until the protocol knows the database to be whole again ([`protocol::Effect::PowerFailureOver`]), however often
//! it is started before that.

use files::Files;
use rustix::fs::OFlags;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::warn;

/// Its name in a replica's folder.
const FILE: &str = "boot";
const DRAFT: &str = "boot.draft";
const CLEAN: &str = "ended cleanly\n";
/// A boot id is a UUID and a line break.
const BOOT_ID_BYTES_MAX: u64 = 256;

/// How the process before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Cleanly, or in this boot of the machine: whatever it had written is there.
    Alone,
    /// With the machine, as far as can be told, and not cleanly.
    WithTheMachine,
    /// There was none, or one of the versions that did not write it down.
    NotNoted,
}

impl Ended {
    /// Whether the power may have failed; a database without an entry has nothing to lose.
    pub(crate) fn is_power_failure(self, has_entries: bool) -> bool {
        match self {
            Self::Alone => false,
            Self::WithTheMachine => true,
            Self::NotNoted => has_entries,
        }
    }
}

/// What a replica's folder says of the machine's boots.
#[derive(Debug)]
pub(crate) struct BootRecord {
    files: Arc<dyn Files>,
    folder: PathBuf,
    /// What the file says in this boot, unless the process has ended.
    running: String,
    /// Whether the database is known to be whole; nothing is written before that.
    whole: Mutex<bool>,
}

impl BootRecord {
    /// Reads the record in this folder, and says how the last process ended. `boot` identifies the machine's boot, if that can be
    /// told.
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        boot: Option<&str>,
    ) -> io::Result<(Self, Ended)> {
        let running = match boot {
            Some(boot) => format!("runs in boot {boot}\n"),
            // Another one each time: what can't be told may have been a power failure.
            None => format!("runs in an unknown boot {}\n", uuid::Uuid::new_v4()),
        };
        let ended = match files.read(&folder.join(FILE)) {
            Ok(found) if found == CLEAN.as_bytes() || found == running.as_bytes() => Ended::Alone,
            Ok(_) => Ended::WithTheMachine,
            Err(error) if error.kind() == ErrorKind::NotFound => Ended::NotNoted,
            Err(error) => return Err(error),
        };
        Ok((Self { files, folder: folder.to_owned(), running, whole: Mutex::new(false) }, ended))
    }

    /// Writes that the database was whole in this boot.
    pub(crate) fn database_is_whole(&self) -> io::Result<()> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&self.running)?;
        *whole = true;
        Ok(())
    }

    /// Writes that the process has ended, and nothing is written to the database after that.
    pub(crate) fn ends_cleanly(&self) -> io::Result<()> {
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if *whole { self.write(CLEAN) } else { Ok(()) }
    }

    fn write(&self, content: &str) -> io::Result<()> {
        let (path, draft) = (self.folder.join(FILE), self.folder.join(DRAFT));
        self.files.remove(&draft)?;
        self.files.write_new(&draft, content.as_bytes())?;
        self.files.sync(&draft)?;
        self.files.rename(&draft, &path)?;
        self.files.sync_folder(&self.folder)
    }
}

/// What identifies the machine's present boot, read from this file; `None` where it can't be told.
pub(crate) fn boot_id(path: &Path) -> Option<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let read = || {
        let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
        let mut text = String::new();
        file.take(BOOT_ID_BYTES_MAX).read_to_string(&mut text)?;
        io::Result::Ok(text.trim().to_owned())
    };
    match read() {
        Ok(boot) if !boot.is_empty() => Some(boot),
        outcome => {
            let why = outcome.map_or_else(|error| error.to_string(), |_| "it is empty".into());
            warn!(
                "{}: {why}; the boots of this machine can't be told apart, so every end of a process that was not clean \
                 counts as a power failure",
                path.display()
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::ForgetfulFiles;

    const FOLDER: &str = "/replica-0";

    /// As a start does it.
    fn open(files: &ForgetfulFiles, boot: Option<&str>, has_entries: bool) -> (BootRecord, bool) {
        let (record, ended) = BootRecord::open(Arc::new(files.clone()), Path::new(FOLDER), boot).unwrap();
        let failed = ended.is_power_failure(has_entries);
        if !failed {
            record.database_is_whole().unwrap();
        }
        (record, failed)
    }

    #[test]
    fn a_power_failure_is_another_boot_without_a_clean_end() {
        let files = ForgetfulFiles::default();
        let start = |boot, expected, why: &str| {
            let (record, failed) = open(&files, Some(boot), true);
            assert_eq!(failed, expected, "{why}");
            record
        };
        start("a", true, "a database of the version before, of which nobody knows");
        start("a", true, "it was not known to be whole since then").database_is_whole().unwrap();
        start("a", false, "killed, in the same boot");
        start("b", true, "the power has failed");
        start("b", true, "and killed after that").ends_cleanly().unwrap();
        start("b", true, "a clean end does not make it whole").database_is_whole().unwrap();
        start("b", false, "it was brought level").ends_cleanly().unwrap();
        start("c", false, "the machine was started again after a clean end");
        start("d", true, "and again, without one");
    }

    #[test]
    fn a_new_database_has_nothing_to_lose() {
        let files = ForgetfulFiles::default();
        assert!(!open(&files, Some("a"), false).1);
        assert!(open(&files, Some("b"), true).1, "what it has confirmed since then");
    }

    #[test]
    fn boots_that_can_not_be_told_apart_count_as_power_failures() {
        let files = ForgetfulFiles::default();
        let (record, _) = open(&files, None, false);
        assert!(open(&files, None, true).1);
        record.ends_cleanly().unwrap();
        assert!(!open(&files, None, true).1);
    }

    #[test]
    fn whatever_the_power_leaves_of_the_record_a_failure_is_noticed() {
        for changes in 0..12 {
            let files = ForgetfulFiles::default();
            open(&files, Some("a"), false);
            files.fail_after(changes);
            let again = BootRecord::open(Arc::new(files.clone()), Path::new(FOLDER), Some("a"));
            let ended = again
                .and_then(|(record, _)| record.database_is_whole().and_then(|()| record.ends_cleanly()))
                .is_ok();
            for found in files.after_power_loss() {
                let clean =
                    found.read(&Path::new(FOLDER).join(FILE)).is_ok_and(|found| found == CLEAN.as_bytes());
                let (_, failed) = open(&found, Some("b"), true);
                assert_eq!(failed, !clean, "after {changes} changes");
                assert!(clean || !ended, "after {changes} changes: it was said to have ended cleanly");
            }
        }
    }

    #[test]
    fn the_boot_id_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot_id");
        assert_eq!(boot_id(&path), None);
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(boot_id(&path), None);
        std::fs::write(&path, "1b5c\n").unwrap();
        assert_eq!(boot_id(&path).as_deref(), Some("1b5c"));
    }
}
