//! Comparing two databases that lie on this machine: the same rows in every table.

use crate::at_rest::AtRest;
use crate::error::StoreError;
use crate::log_rows::LogRows;
use crate::row_key::{RowKey, Slice};
use crate::slices::{prepare, query};
use crate::tables::Table;
use protocol::Position;
use std::fmt;

/// The first thing in which two replicas differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They show their logs up to different places, or have different ones.
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

/// Compares the rows of a table behind a key, up to `rows_max`, in two databases, or of their logs what the tables show of them
/// and both hold. If the two are not at the same position, that is the difference which is returned: see [`crate::level`].
pub fn compare_slice(
    one: &AtRest,
    other: &AtRest,
    table: &'static Table,
    after: Option<RowKey>,
    rows_max: usize,
) -> Result<Compared, StoreError> {
    let positions = (one.identity().applied, other.identity().applied);
    let first_op = one.first_op().max(other.first_op()).0.cast_signed();
    let slice = Slice { table, after, up_to: None, first_op, rows_max };
    if table.is_log() {
        let mut ones = one.log().map(|log| LogRows::new(log, &slice, positions.0.op));
        let mut others = other.log().map(|log| LogRows::new(log, &slice, positions.1.op));
        let next = |rows: &mut Option<LogRows<'_>>| rows.as_mut().map_or(Ok(None), LogRows::next);
        return compare_rows(|| next(&mut ones), || next(&mut others), &slice, positions);
    }
    let readers = (one.reader(), other.reader());
    let (sql, sql_of_other) = (StoreError::sqlite(readers.0.path()), StoreError::sqlite(readers.1.path()));
    let mut statements =
        (prepare(&readers.0, &slice).map_err(&sql)?, prepare(&readers.1, &slice).map_err(&sql_of_other)?);
    let mut ones = query(&mut statements.0, &slice).map_err(&sql)?;
    let mut others = query(&mut statements.1, &slice).map_err(&sql_of_other)?;
    compare_rows(|| ones.next().map_err(&sql), || others.next().map_err(&sql_of_other), &slice, positions)
}

type Row = (RowKey, String);

fn compare_rows(
    mut one: impl FnMut() -> Result<Option<Row>, StoreError>,
    mut other: impl FnMut() -> Result<Option<Row>, StoreError>,
    slice: &Slice,
    positions: (Position, Position),
) -> Result<Compared, StoreError> {
    let (mut rows, mut last) = (0, None);
    loop {
        match (one()?, other()?) {
            (None, None) => return Ok(Compared::Same(last.filter(|_| rows >= slice.rows_max))),
            (Some(a), Some(b)) if a == b => {
                rows += 1;
                last = Some(a.0);
            }
            (a, b) => {
                return Ok(Compared::Different(if positions.0 == positions.1 {
                    Difference::Row(slice.table.name, a.map(|(_, row)| row), b.map(|(_, row)| row))
                } else {
                    Difference::Position(positions.0, positions.1)
                }));
            }
        }
    }
}
