//! The database file: created private, checked at each start, brought to the newest schema.

use crate::error::StoreError;
use crate::files::{Files, RealFiles};
use crate::log_table::{DatabaseState, identity};
use crate::looks;
use crate::repair;
use crate::soundness;
use crate::swap::finish_swap;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Mode, OFlags};
use std::path::Path;
use std::time::Duration;

/// One script a schema version; version n is what `user_version` n has.
const MIGRATIONS: [&str; 6] = [
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
    include_str!("../schema/6.sql"),
];
/// "Tria", in the file's header.
const APPLICATION_ID: i64 = 0x5472_6961;
/// How long another program that has the database locked is waited for.
pub(crate) const BUSY_FOR: Duration = Duration::from_secs(5);
/// The write-ahead log is worked into the database whenever it has this many pages (16 MiB): rarely enough that a page
/// which many messages change is written once for all of them.
const CHECKPOINT_PAGES: i32 = 4096;

/// Opens the database at `path` for writing, creating it (0600, in a folder 0700) if there is none.
pub(crate) fn open(path: &Path) -> Result<(Connection, DatabaseState), StoreError> {
    let sql = StoreError::sqlite(path);
    finish_swap(&RealFiles, path)?;
    create_private(path)?;
    match repair::rewrite(path) {
        // A program that looks at the database must not keep its replica from starting. Whatever a sync can still make
        // durable, the write below does.
        Err(error @ StoreError::OpenElsewhere { .. }) => tracing::warn!(%error, "goes on nevertheless"),
        other => other?,
    }
    let mut connection = connect_writer(path).map_err(&sql)?;
    migrate(&mut connection, path)?;
    soundness::check(&connection, path)?;
    looks::refresh(&mut connection, path)?;
    // A write at each start: a disk that is full or read-only is found out now, not with the first message.
    connection.execute("UPDATE database SET opened = opened + 1", []).map_err(&sql)?;
    let identity = identity(&connection, path)?;
    Ok((connection, identity))
}

/// A connection that writes: durable with every commit.
pub(crate) fn connect_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    configure(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Not `wal_autocheckpoint`: it keeps it to itself when a sync fails, and the next attempt would pass for whole.
    connection.wal_hook(Some(|log: &mut Wal, pages| {
        if pages < CHECKPOINT_PAGES {
            return Ok(());
        }
        match log.checkpoint() {
            // Another program checkpoints, or reads what would be overwritten: there is time.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            other => other,
        }
    }))?;
    Ok(connection)
}

/// Opens an existing database for looking at it: nothing is created, nothing is changed.
pub fn open_existing_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StoreError::sqlite(path))?;
    configure(&connection).map_err(StoreError::sqlite(path))?;
    Ok(connection)
}

/// Opens a database for looking at it, also on a disk that can't be written to: there `SQLite` can't make the index of the
/// write-ahead log, which it needs even where that log is empty, unless it is told that nothing changes (<https://sqlite.org/wal.html>,
/// "Read-Only Databases").
pub fn open_at_rest(path: &Path) -> Result<Connection, StoreError> {
    let opened = open_existing_read_only(path).and_then(|connection| {
        let looked = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        looked.map(|()| connection).map_err(StoreError::sqlite(path))
    });
    match opened {
        Err(StoreError::Sqlite { source, .. })
            if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) && has_no_log(path) =>
        {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_URI;
            let connection = Connection::open_with_flags(immutable(path), flags);
            connection
                .and_then(|connection| configure(&connection).map(|()| connection))
                .map_err(StoreError::sqlite(path))
        }
        opened => opened,
    }
}

fn has_no_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or(true, |log| log.len() == 0)
}

/// The address of a file that does not change (<https://sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut address = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            address.push(char::from(*byte));
        } else {
            write!(address, "%{byte:02x}").expect("a String takes what is written");
        }
    }
    address + "?immutable=1"
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_FOR)?;
    connection.set_prepared_statement_cache_capacity(64);
    // One plan a statement, whatever is bound to it: otherwise SQLite prepares some of them anew for every message.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

fn create_private(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    RealFiles.make_folder(folder).map_err(StoreError::file(folder))?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| StoreError::file(path)(error.into()))?;
    RealFiles.sync_folder(folder).map_err(StoreError::file(folder))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sql = StoreError::sqlite(path);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&sql)?;
    let known = i64::try_from(MIGRATIONS.len()).expect("few migrations");
    let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(missing) = missing else {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known });
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(&sql)?;
    for script in missing {
        transaction.execute_batch(script).map_err(&sql)?;
    }
    if found == 0 {
        let id = uuid::Uuid::new_v4();
        transaction
            .execute("INSERT INTO database (only_row, id) VALUES (1, ?1)", [id.as_bytes()])
            .map_err(&sql)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(&sql)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&sql)?;
    transaction.commit().map_err(&sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{StatementStatus, params};

    /// Without the planner's stability guarantee this statement was planned anew for every message that was sent.
    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _) = open(&folder.path().join("chat.db")).unwrap();
        let mut find = connection
            .prepare(
                "SELECT accounts.id FROM sessions JOIN accounts ON accounts.id = sessions.account
                 WHERE sessions.token = ?1 AND sessions.expires_at > ?2 AND accounts.deleted_at IS NULL",
            )
            .unwrap();
        for now in 0_u8..3 {
            assert!(!find.exists(params![[now; 32], now]).unwrap());
        }
        assert_eq!(find.get_status(StatementStatus::RePrepare), 0);
    }
}
