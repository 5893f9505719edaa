//! The log of schema 7, which was a table: looked at once more, before it goes.

use crate::error::StoreError;
use crate::records::{Raw, decode_record};
use crate::soundness::{Kept, agrees, last_op};
use crate::tables::{TABLES, Table};
use chat::Millis;
use protocol::{Chain, Entry, Op, Position};
use rusqlite::{Connection, OptionalExtension, Row};
use std::path::Path;

/// Whether the tables are what the log made them: each entry follows the one before it by its chain, what it says of a message is
/// what the table says, and no table goes beyond it. `NewerRecord` where a newer version wrote an entry.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    let end = check_entries(connection, path)?;
    for Table { name: table, key, .. } in TABLES.iter().filter(|table| table.keyed_by_op) {
        let beyond = last_op(connection, table, key[0]).map_err(StoreError::sqlite(path))?;
        if beyond > end {
            return Err(corrupt(format!("the log ends at op {end}, and table {table} goes to {beyond}")));
        }
    }
    Ok(())
}

/// Looks at every entry, and gives the op of the last one.
fn check_entries(connection: &Connection, path: &Path) -> Result<Op, StoreError> {
    let sql = StoreError::sqlite(path);
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    let mut end = connection.query_row("SELECT op, chain FROM base", [], position).map_err(&sql)?;
    let mut entries = connection
        .prepare(
            "SELECT log.op, log.chain, log.record, messages.id, messages.conversation, messages.sender,
                 messages.text, messages.undeliverable
             FROM log LEFT JOIN messages ON messages.id = log.op ORDER BY log.op",
        )
        .map_err(&sql)?;
    let mut rows = entries.query([]).map_err(&sql)?;
    while let Some(row) = rows.next().map_err(&sql)? {
        let read = || {
            let kept = row.get::<_, Option<i64>>(3)?.map(|_| Kept::read(row, 3)).transpose()?;
            Ok((position(row)?, row.get::<_, Vec<u8>>(2)?, kept))
        };
        // A cell of another type than its column's, or a text that is none, can only be damage.
        let (position, record, kept) = read().map_err(|error: rusqlite::Error| {
            corrupt(format!("an entry of the log can't be read: {error}"))
        })?;
        if end.follow(Raw(&record)).position() != position {
            return Err(corrupt(format!("the log's chain is broken at op {}", position.op)));
        }
        end = position;
        let record = decode_record(path, position.op, &record)?;
        if !agrees(&Entry { op: position.op, chain: position.chain, record }, kept.as_ref()) {
            return Err(corrupt(format!("message {} is not what the log says", position.op)));
        }
    }
    Ok(end.op)
}

fn position(row: &Row<'_>) -> Result<Position, rusqlite::Error> {
    Ok(Position { op: Op(row.get::<_, i64>(0)?.cast_unsigned()), chain: Chain(row.get(1)?) })
}

/// When the last entry was written; `None` if the log is empty.
pub(super) fn last_at(connection: &Connection, path: &Path) -> Result<Option<Millis>, StoreError> {
    let last = connection
        .query_row("SELECT op, record FROM log ORDER BY op DESC LIMIT 1", [], |row| {
            Ok((Op(row.get::<_, i64>(0)?.cast_unsigned()), row.get::<_, Vec<u8>>(1)?))
        })
        .optional()
        .map_err(StoreError::sqlite(path))?;
    last.map(|(op, record)| decode_record(path, op, &record).map(|record| record.at())).transpose()
}
