//! Comparing replicas: the same op, the same chain, the same rows in every table.

use crate::error::StoreError;
use crate::reader::Reader;
use protocol::Position;
use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};
use std::fmt;

/// The tables that are the same on every replica, and the columns that order their rows.
pub const TABLES: [(&str, &[&str]); 8] = [
    ("log", &["op"]),
    ("histories", &["began_op"]),
    ("accounts", &["id"]),
    ("sessions", &["id"]),
    ("messages", &["id"]),
    ("reads", &["account", "peer"]),
    ("requests", &["id"]),
    ("forgotten", &["only_row"]),
];

/// The first thing in which two replicas differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Their logs end at different places, or are different.
    Position(Position, Position),
    /// A row that is not the same, as (table, the first replica's row, the second's), or is missing in one of them.
    Row(&'static str, Option<String>, Option<String>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |row: &Option<String>| row.clone().unwrap_or_else(|| "no such row".into());
        match self {
            Self::Position(one, other) => write!(f, "{one} and {other}"),
            Self::Row(table, one, other) => write!(f, "table {table}: {} and {}", row(one), row(other)),
        }
    }
}

/// Finds the first difference between two databases, each read from one point in time.
pub fn compare(one: &Reader<'_>, other: &Reader<'_>) -> Result<Option<Difference>, StoreError> {
    let positions = (one.identity()?.position, other.identity()?.position);
    if positions.0 != positions.1 {
        return Ok(Some(Difference::Position(positions.0, positions.1)));
    }
    let first_op = first_op(one)?.max(first_op(other)?);
    for (table, order) in TABLES {
        let (mut ones, mut others) =
            (rows(one, table, order, first_op)?, rows(other, table, order, first_op)?);
        loop {
            match (ones.pop(), others.pop()) {
                (None, None) => break,
                (a, b) if a == b => {}
                (a, b) => return Ok(Some(Difference::Row(table, a, b))),
            }
        }
    }
    Ok(None)
}

/// A digest of the rows of each table, in the order of [`TABLES`], the log from `first_op` on.
pub fn digest_tables(reader: &Reader<'_>, first_op_wanted: i64) -> Result<(i64, Vec<[u8; 32]>), StoreError> {
    let first_op = first_op(reader)?.max(first_op_wanted);
    let digests = TABLES.iter().map(|(table, order)| {
        let mut hash = Sha256::new();
        for row in rows(reader, table, order, first_op)?.iter().rev() {
            hash.update((row.len() as u64).to_be_bytes());
            hash.update(row.as_bytes());
        }
        Ok(hash.finalize().into())
    });
    Ok((first_op, digests.collect::<Result<_, StoreError>>()?))
}

/// Where the log begins: replicas may have pruned theirs at different places.
fn first_op(reader: &Reader<'_>) -> Result<i64, StoreError> {
    reader
        .connection()
        .query_row("SELECT coalesce(min(op), 1) FROM log", [], |row| row.get(0))
        .map_err(StoreError::sqlite(reader.path()))
}

/// The rows of a table as text, last first.
fn rows(reader: &Reader<'_>, table: &str, order: &[&str], first_op: i64) -> Result<Vec<String>, StoreError> {
    let condition = if table == "log" { format!("WHERE op >= {first_op}") } else { String::new() };
    let read = || {
        let mut all = reader
            .connection()
            .prepare(&format!("SELECT * FROM {table} {condition} ORDER BY {} DESC", order.join(" DESC, ")))?;
        let columns: Vec<String> = all.column_names().map(str::to_owned).collect();
        let rows = all.query_map([], |row| {
            let cells = columns
                .iter()
                .enumerate()
                .map(|(place, column)| Ok(format!("{column}={}", show(row.get_ref(place)?))));
            cells.collect::<Result<Vec<_>, rusqlite::Error>>().map(|cells| cells.join(" "))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(StoreError::sqlite(reader.path()))
}

fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => bytes.iter().fold(String::new(), |mut hex, byte| {
            hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
            hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
            hex
        }),
    }
}
