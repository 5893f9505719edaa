//! How far the log is applied: the tables have the effects of all entries up to there, and of nothing behind it.

use crate::columns::{millis, unsigned};
use chat::Millis;
use protocol::{Chain, Op, Position};
use rusqlite::{Connection, params};

/// How far the log is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last entry that is applied; the origin, if none is.
    pub(crate) position: Position,
    /// When it was written.
    pub(crate) at: Millis,
    /// Which requests were forgotten by then, where no entry has said so.
    pub(crate) forgotten: Option<Millis>,
}

pub(crate) fn read(connection: &Connection) -> Result<Applied, rusqlite::Error> {
    connection.prepare_cached("SELECT op, chain, at, forgotten FROM applied")?.query_row([], |row| {
        Ok(Applied {
            position: Position { op: Op(unsigned(row, 0)?), chain: Chain(row.get(1)?) },
            at: Millis(unsigned(row, 2)?),
            forgotten: row.get::<_, Option<i64>>(3)?.map(|before| Millis(before.cast_unsigned())),
        })
    })
}

/// Sets the last entry that is applied, and when it was written.
pub(crate) fn set(connection: &Connection, position: Position, at: Millis) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("UPDATE applied SET op = ?1, chain = ?2, at = ?3")?.execute(params![
        position.op.0.cast_signed(),
        position.chain.0,
        millis(at)
    ])?;
    Ok(())
}
