//! The database file: created private, checked at each start, brought to the newest schema.

use crate::error::StoreError;
use crate::looks;
use crate::migration::{self, migrate};
use crate::repair;
use crate::soundness::{self, Check};
use crate::state::{DatabaseState, state};
use crate::suffix::with_suffix;
use crate::swap::finish_swap;
use crate::wal::Wal;
use files::{Files, RealFiles};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Mode, OFlags};
use std::path::Path;
use std::time::Duration;

/// How long another program that has the database locked is waited for.
pub(crate) const BUSY_FOR: Duration = Duration::from_secs(5);

/// A database that is open for writing.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) wal: Wal,
    pub(crate) state: DatabaseState,
}

/// Opens the database at `path` for writing, creating it (0600, in a folder 0700) if there is none.
///
/// Each commit on it is durable, and so is all that it finds; `SQLite` makes no checkpoints by itself.
pub(crate) fn open(path: &Path, how: Check) -> Result<Opened, StoreError> {
    let sql = StoreError::sqlite(path);
    finish_swap(&RealFiles, path)?;
    create_private(path)?;
    match repair::rewrite(path) {
        // A program that looks at the database must not keep its replica from starting. Whatever a sync can still make
        // durable, the write below does.
        Err(error @ StoreError::OpenElsewhere { .. }) => tracing::warn!(%error, "goes on nevertheless"),
        other => other?,
    }
    let (mut connection, wal) = connect_writer(path).map_err(&sql)?;
    migrate(&mut connection, path)?;
    soundness::check(&connection, path, state(&connection, path)?.applied.op, how)?;
    looks::refresh(&mut connection, path)?;
    // A write at each start: a disk that is full or read-only is found out now, not with the first message.
    connection.execute("UPDATE database SET opened = opened + 1", []).map_err(&sql)?;
    let state = state(&connection, path)?;
    Ok(Opened { connection, wal, state })
}

/// A connection that writes: durable with every commit.
pub(crate) fn connect_writer(path: &Path) -> Result<(Connection, Wal), rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    configure(&connection)?;
    // Room for the pages that the entries of one transaction change: what does not fit is written more than once.
    connection.pragma_update(None, "cache_size", -4096)?;
    // What a statement would take back if it failed half-way: beside the database's own files, which are all that must be written.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let wal = Wal::of(&mut connection, path)?;
    Ok((connection, wal))
}

/// Opens an existing database for looking at it: nothing is created, nothing is changed.
pub fn open_existing_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StoreError::sqlite(path))?;
    configure(&connection).map_err(StoreError::sqlite(path))?;
    Ok(connection)
}

/// Opens a database for looking at it, also on a disk that can't be written to: there `SQLite` can't make the index of the
/// write-ahead log, which it needs even where that is empty, unless it is told that nothing changes (<https://sqlite.org/wal.html>,
/// "Read-Only Databases"). One of another schema than this program's is refused, and left as it is.
pub fn open_at_rest(path: &Path) -> Result<Connection, StoreError> {
    let connection = open_even_on_a_read_only_disk(path)?;
    migration::check(&connection, path)?;
    Ok(connection)
}

fn open_even_on_a_read_only_disk(path: &Path) -> Result<Connection, StoreError> {
    let opened = open_existing_read_only(path).and_then(|connection| {
        let looked = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        looked.map(|()| connection).map_err(StoreError::sqlite(path))
    });
    match opened {
        Err(StoreError::Sqlite { source, .. })
            if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) && has_no_wal(path) =>
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

fn has_no_wal(path: &Path) -> bool {
    std::fs::metadata(with_suffix(path, "-wal")).map_or(true, |wal| wal.len() == 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{StatementStatus, params};

    /// Without the planner's stability guarantee this statement was planned anew for every message that was sent.
    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("chat.db"), Check::Whole).unwrap().connection;
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
