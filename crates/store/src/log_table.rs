//! The rows of the log, and what they say of the database: who it is, where its log ends, which history it has.

use crate::error::StoreError;
use chat::{HistoryId, Millis, Record};
use protocol::{Chain, DatabaseId, Entry, Op, Position};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// Who a database is and where its log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// Drawn when it was created.
    pub database: DatabaseId,
    /// Where its log ends.
    pub position: Position,
    /// The time of the last entry.
    pub last_at: Millis,
}

/// Reads who the database is and where its log ends.
pub(crate) fn identity(connection: &Connection, path: &Path) -> Result<DatabaseState, StoreError> {
    let sql = StoreError::sqlite(path);
    let id: [u8; 16] = connection.query_row("SELECT id FROM database", [], |row| row.get(0)).map_err(&sql)?;
    let last = connection
        .prepare_cached("SELECT op, chain, record FROM log ORDER BY op DESC LIMIT 1")
        .and_then(|mut last| last.query_row([], raw_entry).optional())
        .map_err(&sql)?;
    let last = last.map(decode_entry).transpose()?;
    let position = last.as_ref().map_or(Position::ORIGIN, Entry::position);
    let last_at = last.map_or(Millis(0), |entry| entry.record.at());
    Ok(DatabaseState { database: DatabaseId(id), position, last_at })
}

pub(crate) type RawEntry = (Op, Chain, String);

pub(crate) fn raw_entry(row: &rusqlite::Row<'_>) -> Result<RawEntry, rusqlite::Error> {
    Ok((Op(row.get::<_, i64>(0)?.cast_unsigned()), Chain(row.get(1)?), row.get(2)?))
}

pub(crate) fn decode_entry((op, chain, record): RawEntry) -> Result<Entry<Record>, StoreError> {
    let record =
        Record::decode(record.as_bytes()).map_err(|source| StoreError::UnknownFact { op, source })?;
    Ok(Entry { op, chain, record })
}

/// The chain that the log has at `op`; `None` if it does not hold that op.
pub(crate) fn chain_at(connection: &Connection, op: Op) -> Result<Option<Chain>, rusqlite::Error> {
    if op == Op(0) {
        let first: Option<i64> = connection.query_row("SELECT min(op) FROM log", [], |row| row.get(0))?;
        return Ok((first.unwrap_or(1) == 1).then_some(Chain::GENESIS));
    }
    connection
        .prepare_cached("SELECT chain FROM log WHERE op = ?1")?
        .query_row(params![op.0.cast_signed()], |row| row.get(0).map(Chain))
        .optional()
}

/// The identity of the history that counts.
pub(crate) fn history(connection: &Connection) -> Result<Option<HistoryId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM histories ORDER BY began_op DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, [u8; 16]>(0))
        .optional()
        .map(|id| id.map(|id| HistoryId(uuid::Uuid::from_bytes(id))))
}
