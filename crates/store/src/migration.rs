//! Migration: a database of an older schema is brought to the newest one at the first start, in one transaction.

mod json_log;
mod json_requests;
mod table_log;

use crate::before_log;
use crate::columns::millis;
use crate::error::StoreError;
use crate::soundness;
use chat::Millis;
use rusqlite::{Connection, Transaction};
use std::path::Path;

/// One script a schema version; version n is what `user_version` n has.
const MIGRATIONS: [&str; 10] = [
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
    include_str!("../schema/6.sql"),
    include_str!("../schema/7.sql"),
    include_str!("../schema/8.sql"),
    include_str!("../schema/9.sql"),
    include_str!("../schema/10.sql"),
];
/// The version that begins the log anew.
const LOG_ANEW: usize = 7;
/// The version whose log is no table any more.
const LOG_IN_FILES: usize = 8;
/// "Tria", in the file's header.
const APPLICATION_ID: i64 = 0x5472_6961;

/// Brings a database to the newest schema. One of a newer version is left as it is. Whatever fails, and whenever the process
/// ends, the database is of the old schema or of the new one.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sql = StoreError::sqlite(path);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&sql)?;
    let newer = || StoreError::NewerSchema { path: path.to_owned(), found: version, known: known() };
    let found = usize::try_from(version).ok().filter(|found| *found <= MIGRATIONS.len()).ok_or_else(newer)?;
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    if found > 0 {
        soundness::check_pages(connection, path)?;
        // The check of each start knows nothing of logs that are tables.
        if found < LOG_ANEW {
            json_log::check(connection, path)?;
        } else if found < LOG_IN_FILES {
            table_log::check(connection, path)?;
        }
        if found < LOG_IN_FILES {
            before_log::keep(connection, path)?;
        }
        tracing::info!(
            "brings {} from schema {version} to {}, which may take a while",
            path.display(),
            known()
        );
    }
    let transaction = connection.transaction().map_err(&sql)?;
    let last_at = if found == LOG_ANEW { table_log::last_at(&transaction, path)? } else { None };
    run(&transaction, found, last_at).map_err(&sql)?;
    transaction.commit().map_err(&sql)
}

/// Whether a database that is only looked at is of the schema that this program reads.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let (path, found, known) = (path.to_owned(), version.map_err(StoreError::sqlite(path))?, known());
    match found {
        found if found > known => Err(StoreError::NewerSchema { path, found, known }),
        // One without a version is no database of a replica: the look at its tables says so.
        found if found > 0 && found < known => Err(StoreError::OlderSchema { path, found, known }),
        _ => Ok(()),
    }
}

/// The version that this program writes.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("few migrations")
}

/// Runs the scripts behind a version. `last_at` is when the last entry of a log of schema 7 was written.
fn run(transaction: &Transaction<'_>, found: usize, last_at: Option<Millis>) -> Result<(), rusqlite::Error> {
    for (version, script) in (1..).zip(MIGRATIONS).skip(found) {
        let forgotten = if version == LOG_ANEW { json_log::forgotten(transaction)? } else { None };
        transaction.execute_batch(script)?;
        if let Some(before) = forgotten {
            transaction.execute("UPDATE base SET forgotten = ?1", [before.0.cast_signed()])?;
        }
        if let Some(last_at) = last_at.filter(|_| version == LOG_IN_FILES) {
            transaction.execute("UPDATE applied SET at = ?1", [millis(last_at)])?;
        }
        if version == LOG_IN_FILES {
            json_requests::carry_over(transaction)?;
        }
    }
    if found == 0 {
        let id = uuid::Uuid::new_v4();
        transaction.execute("INSERT INTO database (only_row, id) VALUES (1, ?1)", [id.as_bytes()])?;
    }
    transaction.pragma_update(None, "user_version", known())?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)
}
