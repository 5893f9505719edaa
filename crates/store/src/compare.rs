//! Comparing two databases that lie on this machine: the same rows in every table.

use crate::error::StoreError;
use crate::reader::Reader;
use crate::slices::{RowKey, Slice, first_op, prepare, query};
use crate::tables::Table;
use protocol::Position;
use std::fmt;

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

/// What comparing a slice came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// All its rows are the same; there may be more behind this key.
    Same(Option<RowKey>),
    /// They are not.
    Different(Difference),
}

/// Compares the rows of a table behind a key, up to `rows_max`, in two databases that are each read from one point in time.
/// If those are not at the same position, that is the difference which is returned.
pub fn compare_slice(
    one: &Reader<'_>,
    other: &Reader<'_>,
    table: &'static Table,
    after: Option<RowKey>,
    rows_max: usize,
) -> Result<Compared, StoreError> {
    let first_op = first_op(one)?.max(first_op(other)?);
    let slice = Slice { table, after, up_to: None, first_op, rows_max };
    let (sql, sql_of_other) = (StoreError::sqlite(one.path()), StoreError::sqlite(other.path()));
    let mut statements =
        (prepare(one, &slice).map_err(&sql)?, prepare(other, &slice).map_err(&sql_of_other)?);
    let mut ones = query(&mut statements.0, &slice).map_err(&sql)?;
    let mut others = query(&mut statements.1, &slice).map_err(&sql_of_other)?;
    let (mut rows, mut last) = (0, None);
    loop {
        match (ones.next().map_err(&sql)?, others.next().map_err(&sql_of_other)?) {
            (None, None) => return Ok(Compared::Same(last.filter(|_| rows >= rows_max))),
            (Some(a), Some(b)) if a == b => {
                rows += 1;
                last = Some(a.0);
            }
            (a, b) => {
                let positions = (one.identity()?.position, other.identity()?.position);
                return Ok(Compared::Different(if positions.0 == positions.1 {
                    Difference::Row(table.name, a.map(|(_, row)| row), b.map(|(_, row)| row))
                } else {
                    Difference::Position(positions.0, positions.1)
                }));
            }
        }
    }
}
