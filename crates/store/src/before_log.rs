//! The copy of a database as it was before this version began another log: kept beside it until the service has run on the new
//! one, for an operator who goes back to the version before.

use crate::error::StoreError;
use crate::suffix::with_suffix;
use crate::swap::move_aside;
use chat::Millis;
use files::{Files, RealFiles};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::path::Path;
use std::time::SystemTime;

/// The copy stands beside the database under its name and this.
pub const BEFORE_LOG_SUFFIX: &str = ".before-log";
/// The copy, until it is whole and durable.
const DRAFT_SUFFIX: &str = ".before-log-draft";

/// The schema, and where the log ends.
type End = (i64, Option<(i64, Vec<u8>)>);

/// Keeps a copy of a database that is about to be migrated, durably. Where an earlier start came as far as that, there is
/// nothing to do. A copy of something else is moved aside: it may be the last of what it is a copy of.
pub(crate) fn keep(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let kept = with_suffix(path, BEFORE_LOG_SUFFIX);
    if kept.exists() {
        let known = end_of(&kept).ok();
        if known == Some(end(connection).map_err(StoreError::sqlite(path))?) {
            return Ok(());
        }
        let aside = move_aside(&RealFiles, &kept, "older", Millis::of(SystemTime::now()))?;
        tracing::warn!("{} is a copy of another database; it is now {}", kept.display(), aside.display());
    }
    let draft = with_suffix(path, DRAFT_SUFFIX);
    RealFiles.remove(&draft).map_err(StoreError::file(&draft))?;
    RealFiles.write_new(&draft, &[]).map_err(StoreError::file(&draft))?;
    copy(connection, &draft).map_err(StoreError::sqlite(&draft))?;
    give_name(&RealFiles, &draft, &kept)?;
    tracing::info!("the database as it was before its log is begun anew is kept as {}", kept.display());
    Ok(())
}

/// Copies the database, with what is in its write-ahead log, to one file without companions.
fn copy(connection: &Connection, draft: &Path) -> Result<(), rusqlite::Error> {
    let mut copy = Connection::open(draft)?;
    let backup = Backup::new(connection, &mut copy)?;
    loop {
        match backup.step(-1)? {
            StepResult::Done => break,
            _ => std::thread::yield_now(),
        }
    }
    drop(backup);
    copy.pragma_update(None, "journal_mode", "DELETE")
}

/// Gives a draft its name once its content is durable, and makes the name durable too.
fn give_name(files: &dyn Files, draft: &Path, kept: &Path) -> Result<(), StoreError> {
    let folder = kept.parent().unwrap_or(Path::new("."));
    files.sync(draft).map_err(StoreError::file(draft))?;
    files.rename(draft, kept).map_err(StoreError::file(draft))?;
    files.sync_folder(folder).map_err(StoreError::file(folder))
}

/// Where the log of a copy ends, which has no companions.
fn end_of(copy: &Path) -> Result<End, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    end(&Connection::open_with_flags(copy, flags)?)
}

const LAST: &str = "SELECT op, chain FROM log WHERE op = (SELECT max(op) FROM log)";

fn end(connection: &Connection) -> Result<End, rusqlite::Error> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // From schema 7 on, what an empty log begins behind is known.
    let last =
        if version < 7 { LAST.to_owned() } else { format!("{LAST} UNION ALL SELECT op, chain FROM base") };
    let last = format!("SELECT op, chain FROM ({last}) ORDER BY op DESC LIMIT 1");
    let end = connection.query_row(&last, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok((version, end))
}

/// Removes the copy that is kept beside the database at `path`. Returns whether there was one.
///
/// # Errors
/// If it can't be removed.
pub fn remove_before_log(path: &Path) -> Result<bool, StoreError> {
    let kept = with_suffix(path, BEFORE_LOG_SUFFIX);
    let found = kept.exists();
    if found {
        RealFiles.remove(&kept).map_err(StoreError::file(&kept))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::ForgetfulFiles;

    #[test]
    fn wherever_the_power_fails_there_is_a_whole_copy_or_none() {
        let (draft, kept) = (Path::new("/d/draft"), Path::new("/d/kept"));
        for changes in 0..6 {
            let files = ForgetfulFiles::default();
            files.write_new(draft, b"whole").unwrap();
            files.fail_after(changes);
            let given = give_name(&files, draft, kept).is_ok();
            for found in files.after_power_loss() {
                let content = found.read(kept).ok();
                assert!(content.as_deref().is_none_or(|content| content == b"whole"), "{content:?}");
                assert!(!given || content.is_some(), "after {changes} changes it is gone");
            }
        }
    }
}
