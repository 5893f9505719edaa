//! Whether a database is what it was: asked at each start, and of each snapshot that arrives, before anything is done with it.
//!
//! `SQLite` finds damage to its own structure. What it can't know is looked at here: every entry of the log must follow the
//! one before it by its chain, what the log says of a message must be what the table says, and no table may go beyond the
//! log (as when an older page was put back). A row that is older than the log and reads well is found by `verify` alone.

use crate::error::StoreError;
use crate::tables::{TABLES, Table};
use chat::{Fact, Record};
use protocol::{Chain, Op, Position};
use rusqlite::Connection;
use std::path::Path;

/// A fact as it stands in the table: not to be understood yet, only to be tied to its place.
#[derive(Clone, Debug)]
struct Raw<'a>(&'a [u8]);

impl protocol::Record for Raw<'_> {
    fn encoded(&self) -> &[u8] {
        self.0
    }
}

/// Looks at the whole database; damage is [`StoreError::Corrupt`] with what was found first.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StoreError::sqlite(path))?;
    if found != "ok" {
        return Err(corrupt(found));
    }
    let head = check_log(connection, path)?;
    for Table { name: table, key, .. } in TABLES.iter().filter(|table| table.keyed_by_op) {
        let column = key[0];
        let beyond: i64 = connection
            .query_row(&format!("SELECT coalesce(max({column}), 0) FROM {table}"), [], |row| row.get(0))
            .map_err(StoreError::sqlite(path))?;
        if beyond.cast_unsigned() > head.0 {
            return Err(corrupt(format!("the log ends at op {head}, and table {table} goes to {beyond}")));
        }
    }
    Ok(())
}

/// Looks at every entry of the log, and gives the op of the last one.
fn check_log(connection: &Connection, path: &Path) -> Result<Op, StoreError> {
    let sql = StoreError::sqlite(path);
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    let mut entries = connection
        .prepare(
            "SELECT log.op, log.chain, log.record, messages.text, messages.undeliverable
             FROM log LEFT JOIN messages ON messages.id = log.op ORDER BY log.op",
        )
        .map_err(&sql)?;
    let mut rows = entries.query([]).map_err(&sql)?;
    let mut end: Option<Position> = None;
    while let Some(row) = rows.next().map_err(&sql)? {
        let read = || {
            let op = Op(row.get::<_, i64>(0)?.cast_unsigned());
            let position = Position { op, chain: Chain(row.get(1)?) };
            let message = (row.get::<_, Option<String>>(3)?, row.get::<_, Option<bool>>(4)?);
            Ok((position, row.get::<_, String>(2)?, message))
        };
        // A cell of another type than its column's, or a text that is none, can only be damage.
        let (position, record, message) = read().map_err(|error: rusqlite::Error| {
            corrupt(format!("an entry of the log can't be read: {error}"))
        })?;
        let before = match end {
            None if position.op == Op(1) => Some(Position::ORIGIN),
            // What comes before the oldest entry was pruned.
            None => None,
            Some(end) => Some(end),
        };
        if before.is_some_and(|before| before.follow(Raw(record.as_bytes())).position() != position) {
            return Err(corrupt(format!("the log's chain is broken at op {}", position.op)));
        }
        end = Some(position);
        let record = Record::decode(record.as_bytes())
            .map_err(|source| StoreError::UnknownFact { op: position.op, source })?;
        let agrees = match (record.fact(), message) {
            (Fact::MessageSent { text, .. }, (Some(kept), Some(undeliverable))) => {
                undeliverable || kept == *text
            }
            (Fact::MessageSent { .. }, _) => false,
            (_, (kept, _)) => kept.is_none(),
        };
        if !agrees {
            return Err(corrupt(format!("message {} is not what the log says", position.op)));
        }
    }
    Ok(end.map_or(Op(0), |end| end.op))
}
