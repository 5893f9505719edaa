//! How numbers are kept in columns: `SQLite` has signed integers of 64 bits.

use rusqlite::Row;

pub(crate) fn millis(time: chat::Millis) -> i64 {
    time.0.cast_signed()
}

pub(crate) fn unsigned(row: &Row<'_>, place: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(place).map(i64::cast_unsigned)
}
