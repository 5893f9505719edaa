//! What a database says of itself: who it is, how far its tables go, which history it has.

use crate::applied::{self, Applied};
use crate::error::StoreError;
use chat::{HistoryId, Millis};
use protocol::{DatabaseId, Position};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;

/// Who a database is and how far its tables go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// Drawn when it was created.
    pub database: DatabaseId,
    /// The tables show the log up to here.
    pub applied: Position,
    /// The time of the last entry that is applied.
    pub last_at: Millis,
    /// A log of this database was begun on the disk.
    pub log_begun: bool,
}

/// Reads who the database is and how far its tables go.
pub(crate) fn state(connection: &Connection, path: &Path) -> Result<DatabaseState, StoreError> {
    let read = || {
        let (id, log_begun) = connection
            .prepare_cached("SELECT id, log_begun FROM database")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Applied { position, at, .. } = applied::read(connection)?;
        Ok(DatabaseState { database: DatabaseId(id), applied: position, last_at: at, log_begun })
    };
    read().map_err(StoreError::sqlite(path))
}

/// Makes the database another one, which has no log yet.
pub(crate) fn draw_identity(connection: &Connection) -> Result<DatabaseId, rusqlite::Error> {
    let id = uuid::Uuid::new_v4().into_bytes();
    connection.execute("UPDATE database SET id = ?1, log_begun = 0", [id])?;
    Ok(DatabaseId(id))
}

/// The identity of the history that counts.
pub(crate) fn history(connection: &Connection) -> Result<Option<HistoryId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM histories ORDER BY began_op DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, [u8; 16]>(0))
        .optional()
        .map(|id| id.map(|id| HistoryId(uuid::Uuid::from_bytes(id))))
}
