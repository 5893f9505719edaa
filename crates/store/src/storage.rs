//! A replica's database with its log: what a start does with the two.
//!
//! The log is a folder beside the database, and what is in it counts. The tables show it up to a place, `applied`, which the
//! log must hold, or begin or end at.
//!
//! | what a start finds | what it does |
//! | --- | --- |
//! | no log was begun: the database is new, a snapshot, or of a version before | begins an empty one behind `applied` |
//! | a log of this database that holds `applied` and agrees with the tables | goes on with it |
//! | no log, another database's, one that can't be read, or without `applied` | moves the log aside; the tables stay, as another database, which is in sync with nothing, and a new log begins |
//! | tables that are damaged, or are not what the log made them | moves both aside; a new empty database begins |
//! | a mark that damage was found in the database while it was used (`suspect.rs`) | moves both aside; a new empty database begins |
//! | what a newer version wrote | an error, and nothing is touched |
//!
//! Tables that can be read first take up what was remembered of views in the file beside the log, and not in them.
//!
//! Each step is durable before the next, and after each of them the next start goes on: the database leaves before its log, so that
//! tables which can't be believed are never found without it, and taken for ones that have only lost it; a log leaves before its
//! database becomes another one; and that a log was begun is written down after it is there.

use crate::error::StoreError;
use crate::inspection::Inspection;
use crate::log_folder::log_folder;
use crate::records::decode_entries;
use crate::retention::LogRetention;
use crate::soundness::{Check, Unsound, check_log};
use crate::state::DatabaseState;
use crate::suspect::{remove_mark, suspected};
use crate::swap::{finish_swap, move_aside, move_folder_aside};
use crate::writer::Writer;
use chat::{Millis, Record};
use files::{Files, RealFiles};
use protocol::{Entry, Op, Position};
use replica_log::{Limits, Log, LogError, look};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// About how much of a segment an entry takes, in bytes.
const ENTRY_BYTES: u64 = 64;
/// A segment has a header of 4 KiB: a shorter one would hold a single group.
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// How much of the records is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A replica's database and its log, each for the thread that writes it.
#[derive(Debug)]
pub struct Storage {
    /// The database.
    pub writer: Writer,
    /// Its log.
    pub log: Log,
    /// What of them was not looked at, and is to be while they are used.
    pub inspection: Option<Inspection>,
}

impl Storage {
    /// Opens the database at `path` and its log after looking at so much of them, creating what there is not: see above for what
    /// becomes of damage. No other process may have the replica's folder.
    pub fn open(
        path: &Path,
        retention: LogRetention,
        limits: Limits,
        how: Check,
    ) -> Result<Self, StoreError> {
        finish_swap(&RealFiles, path)?;
        if let Some(what) = suspected(path)? {
            begin_anew(path, &what)?;
            remove_mark(&RealFiles, path)?;
        }
        let opened = match Self::open_undamaged_or(path, limits, how) {
            // Whatever became of the log may have become of the tables.
            Err(Fault::Log(..)) if how.of(path) == Check::Ends => {
                return Self::open(path, retention, limits, Check::Whole);
            }
            Err(Fault::Tables(what)) => {
                begin_anew(path, &what)?;
                Self::open_undamaged_or(path, limits, how)
            }
            Err(Fault::Log(what, mut writer)) => {
                move_log_aside(&RealFiles, &log_folder(path), &what)?;
                writer.draw_identity()?;
                Self::begin(*writer, limits, Check::Whole).map_err(Fault::Other)
            }
            opened => opened,
        };
        let Self { writer, log, inspection } = opened.map_err(|fault| fault.into_error(path))?;
        Ok(Self { writer: writer.keeping(retention), log, inspection })
    }

    /// The same for an operator, who decides by what the two hold: damage is [`StoreError::Corrupt`], and left as it is.
    pub fn open_undamaged(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        Self::open_undamaged_or(path, limits, Check::Whole).map_err(|fault| fault.into_error(path))
    }

    fn open_undamaged_or(path: &Path, limits: Limits, how: Check) -> Result<Self, Fault> {
        let how = how.of(path);
        let of_tables = |error| match error {
            StoreError::Corrupt { what, .. } => Fault::Tables(what),
            other => Fault::Other(other),
        };
        let mut writer = Writer::open_after(path, how).map_err(of_tables)?;
        // Before the log may leave, and the file with it.
        writer.take_up_memory().map_err(of_tables)?;
        if !writer.state().log_begun {
            return Self::begin(writer, limits, how).map_err(Fault::Other);
        }
        let folder = log_folder(path);
        match check(&writer, &folder, how) {
            Ok(inspection) => {
                let log = Log::open(Arc::new(RealFiles), &folder, writer.state().database, limits);
                let log = log.map_err(|error| Fault::Other(error.into()))?;
                writer.open_memory_file().map_err(Fault::Other)?;
                Ok(Self { writer, log, inspection })
            }
            Err(Unsound::Tables(what)) => Err(Fault::Tables(what)),
            Err(Unsound::Log(what)) => Err(Fault::Log(what, Box::new(writer))),
            Err(Unsound::Unknown(error)) => Err(Fault::Other(error)),
        }
    }

    /// Begins the log of a database that has none, again if that was interrupted. So much of the tables was looked at.
    fn begin(mut writer: Writer, limits: Limits, how: Check) -> Result<Self, StoreError> {
        let folder = log_folder(writer.path());
        let DatabaseState { database, applied, .. } = writer.state();
        match look(&RealFiles, &folder) {
            // It can't be written over.
            Err(error @ LogError::Damaged { .. }) => {
                move_log_aside(&RealFiles, &folder, &error.to_string())?;
            }
            // Its database left just before it, and may be the last of what it was.
            Ok(found)
                if applied == Position::ORIGIN
                    && found.database() != database
                    && found.end() != Position::ORIGIN =>
            {
                move_log_aside(&RealFiles, &folder, "its database is not there any more")?;
            }
            _ => {}
        }
        let log = Log::create(Arc::new(RealFiles), &folder, database, applied, limits)?;
        writer.begin_log()?;
        writer.open_memory_file()?;
        let inspection = (how == Check::Ends).then(|| Inspection::of(database, Op(0)));
        Ok(Self { writer, log, inspection })
    }

    /// Applies all that is logged, whether or not it is known to be committed: for an operator who has decided that it counts.
    pub fn apply_all(&mut self) -> Result<Position, StoreError> {
        let reader = self.log.reader();
        loop {
            let piece = reader.read_after(self.writer.state().applied.op, PIECE_BYTES)?;
            if piece.entries.is_empty() {
                return Ok(self.writer.state().applied);
            }
            self.writer.apply(&decode_entries(self.writer.path(), piece.entries)?)?;
        }
    }

    /// Appends an entry to the log that is committed, and applies it.
    pub fn add_committed(&mut self, entry: Entry<Record>) -> Result<Position, StoreError> {
        let position = entry.position();
        let entry = [entry];
        self.log.append(&entry, position)?;
        self.writer.apply(&entry)
    }

    /// Up to where the log is known to be committed.
    pub fn committed(&self) -> Position {
        let (applied, told) = (self.writer.state().applied, self.log.committed());
        if told.op > applied.op { told } else { applied }
    }

    /// The limits of a log of which this many entries are kept, on a disk of this size: segments that are about a quarter of what is
    /// kept, since only whole ones are let go of, and no more than a 64th of the disk.
    pub fn limits(retention_entries: u64, disk_bytes: u64) -> Limits {
        let kept = retention_entries.saturating_mul(ENTRY_BYTES);
        let wanted = (kept / 4).min(disk_bytes / 64).clamp(SEGMENT_BYTES_MIN, replica_log::SEGMENT_BYTES);
        Limits { segment_bytes: 1 << wanted.ilog2() }
    }
}

/// Why a database and its log are not opened as they are.
#[derive(Debug)]
enum Fault {
    /// The tables can't be believed.
    Tables(String),
    /// The log can't be gone on with. The database is open.
    Log(String, Box<Writer>),
    Other(StoreError),
}

impl Fault {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Tables(what) => StoreError::Corrupt { path: path.to_owned(), what },
            Self::Log(what, _) => StoreError::Corrupt { path: log_folder(path), what },
            Self::Other(error) => error,
        }
    }
}

/// Looks at a database that has begun a log, and at that log, and changes nothing. Returns what is left to be looked at.
fn check(writer: &Writer, folder: &Path, how: Check) -> Result<Option<Inspection>, Unsound> {
    let (connection, path) = (writer.connection(), writer.path());
    if how == Check::Whole {
        Inspection::whole_tables(connection, path).map_err(|error| match error {
            StoreError::Corrupt { what, .. } => Unsound::Tables(what),
            other => Unsound::Unknown(other),
        })?;
    }
    let log = look(&RealFiles, folder).map_err(Unsound::of)?;
    let from = check_log(connection, path, &log, &writer.state(), how)?;
    Ok((how == Check::Ends).then(|| Inspection::of(writer.state().database, from.op)))
}

/// Moves a database aside that can't be believed, with its log, and says so.
fn begin_anew(path: &Path, what: &str) -> Result<(), StoreError> {
    let aside = move_both_aside(&RealFiles, path, now())?;
    tracing::warn!("{} was damaged ({what}); it was moved to {}", path.display(), aside.display());
    Ok(())
}

/// Moves a log aside that is not used any more, and says so.
fn move_log_aside(files: &dyn Files, folder: &Path, what: &str) -> Result<(), StoreError> {
    let aside = move_folder_aside(files, folder, "damaged", now())?;
    let became = aside.map_or("it is gone".into(), |aside| format!("it was moved to {}", aside.display()));
    tracing::warn!(
        "the log {} was damaged ({what}); {became}, and the database is in sync with none until it is brought level",
        folder.display()
    );
    Ok(())
}

/// Moves a database and its log aside, the database first. Returns the database's new name.
fn move_both_aside(files: &dyn Files, path: &Path, at: Millis) -> Result<PathBuf, StoreError> {
    let aside = move_aside(files, path, "damaged", at)?;
    move_folder_aside(files, &log_folder(path), "damaged", at)?;
    Ok(aside)
}

fn now() -> Millis {
    Millis::of(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_folder::LOG_FOLDER;
    use files::ForgetfulFiles;

    #[test]
    fn wherever_the_power_fails_a_damaged_database_is_not_found_without_its_log() {
        let path = Path::new("/d/chat.db");
        for changes in 0..12 {
            let files = ForgetfulFiles::default();
            // The folder stands for all that is in it.
            for name in ["chat.db", "chat.db-wal", LOG_FOLDER] {
                files.write_new(&path.with_file_name(name), name.as_bytes()).unwrap();
                files.sync(&path.with_file_name(name)).unwrap();
            }
            files.sync_folder(Path::new("/d")).unwrap();
            files.fail_after(changes);
            let moved = move_both_aside(&files, path, Millis(7)).is_ok();
            for found in files.after_power_loss() {
                let mut names = found.names(Path::new("/d")).unwrap();
                let (database, log) = (found.exists(path), found.exists(&log_folder(path)));
                assert!(!database || log, "after {changes} changes: {names:?}");
                assert!(!moved || !log, "after {changes} changes: {names:?}");
                // All of it is there, under one name or the other.
                for name in &mut names {
                    *name = name.replace(".damaged-7", "");
                }
                names.sort();
                assert_eq!(names, ["chat.db", "chat.db-wal", LOG_FOLDER]);
            }
        }
    }

    #[test]
    fn segments_fit_what_is_kept_and_the_disk() {
        let cases = [
            (0, 1 << 40, 8 << 10),
            (1000, 1 << 40, 8 << 10),
            (1024, 1 << 40, 16 << 10),
            (100_000, 1 << 40, 1 << 20),
            (1_000_000, 1 << 40, 8 << 20),
            (u64::MAX, 1 << 40, 16 << 20),
            (1_000_000, 32 << 20, 512 << 10),
            (1_000_000, 100 << 20, 1 << 20),
            (1_000_000, 0, 8 << 10),
        ];
        for (entries, disk, expected) in cases {
            let found = Storage::limits(entries, disk).segment_bytes;
            assert_eq!(found, expected, "{entries} entries, {disk} bytes");
        }
    }
}
