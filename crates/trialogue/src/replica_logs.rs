//! The logs of the replicas that a supervisor runs: each a file in its replica's folder, which the replica has as its
//! standard error. They are kept small while the replicas run: what is full is set aside, in the place of what was set aside
//! before.

use files::{Files, NO_FOLLOW, RealFiles};
use server::Settings;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

const LOG_FILE: &str = "replica.log";
/// Where a log goes that is full.
const ASIDE_FILE: &str = "replica.log.1";
/// A log larger than this is full, in bytes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opens the log of a replica, at its end.
pub(crate) fn open(settings: &Settings, index: usize) -> io::Result<File> {
    let folder = settings.replica_folder(index);
    RealFiles.make_folder(&folder)?;
    keep_small(&folder, LOG_BYTES_MAX)?;
    // Each line goes where the file ends then, also after it was cut.
    create().append(true).open(folder.join(LOG_FILE))
}

/// How a log is made: for its owner's eyes, and never through a link.
fn create() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.create(true).mode(0o600).custom_flags(NO_FOLLOW);
    options
}

/// What a replica has logged since its log was last set aside; nothing, if it can't be read.
pub(crate) fn text(settings: &Settings, index: usize) -> String {
    let bytes = std::fs::read(settings.replica_folder(index).join(LOG_FILE)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Keeps the logs of all replicas small, until it is aborted.
pub(crate) fn keep_all_small(settings: &Settings) -> JoinHandle<()> {
    let folders: Vec<PathBuf> =
        (0..settings.addresses.len()).map(|index| settings.replica_folder(index)).collect();
    tokio::spawn(async move {
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            for folder in &folders {
                // A log that can't be set aside grows on: it could be told only in that very log.
                let _ = keep_small(folder, LOG_BYTES_MAX);
            }
        }
    })
}

/// Sets a log aside that is full: its text is copied, and cut off from the file, which the replica has open. A line that comes
/// in between is lost.
fn keep_small(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let log = folder.join(LOG_FILE);
    if !std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > bytes_max) {
        return Ok(());
    }
    let mut from = File::options().read(true).write(true).custom_flags(NO_FOLLOW).open(&log)?;
    let aside = folder.join(ASIDE_FILE);
    let mut aside = create().write(true).truncate(true).open(&aside)?;
    let copied = io::copy(&mut from, &mut aside);
    // Where there is no room for the copy, the log itself must not take more of it.
    from.set_len(0)?;
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_log_is_set_aside_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOG_FILE);
        let mut log = create().append(true).open(&path).unwrap();
        log.write_all(b"first\n").unwrap();
        keep_small(folder.path(), 6).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n", "it is not full yet");
        log.write_all(b"second\n").unwrap();
        keep_small(folder.path(), 6).unwrap();
        log.write_all(b"third\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third\n");
        let aside = folder.path().join(ASIDE_FILE);
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), "first\nsecond\n");
        log.write_all(b"fourth\n").unwrap();
        keep_small(folder.path(), 6).unwrap();
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), "third\nfourth\n", "only one is kept");
    }
}
