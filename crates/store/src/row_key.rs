//! The key of a row, which rows a slice has, and how bytes are shown.

use crate::tables::Table;
use protocol::Op;
use rusqlite::types::{Value, ValueRef};

pub(crate) const INTEGER: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const TEXT: u8 = 3;

/// The key of a row as bytes, in the same order as the rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey(Vec<u8>);

impl RowKey {
    /// A key that came as bytes; `None` if it is no key of that table.
    pub fn of(table: &Table, bytes: &[u8]) -> Option<Self> {
        let key = Self(bytes.to_vec());
        key.values().filter(|values| values.len() == table.key.len()).map(|_| key)
    }

    /// The key of the entry with that op.
    pub fn of_op(op: Op) -> Self {
        let mut key = vec![INTEGER];
        key.extend((op.0 ^ (1 << 63)).to_be_bytes());
        Self(key)
    }

    /// The op of the entry with that key.
    pub(crate) fn op(&self) -> Option<Op> {
        match self.values()?.first()? {
            Value::Integer(op) => Some(Op(u64::try_from(*op).unwrap_or(0))),
            _ => None,
        }
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn read(row: &rusqlite::Row<'_>, columns: usize) -> Result<Self, rusqlite::Error> {
        let mut key = Vec::new();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Integer(number) => {
                    key.push(INTEGER);
                    // Negative numbers come first, as in the table.
                    key.extend((number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
                }
                ValueRef::Blob(bytes) => {
                    key.push(BYTES);
                    key.extend(bytes);
                }
                ValueRef::Text(text) => {
                    key.push(TEXT);
                    key.extend(text);
                }
                other @ (ValueRef::Null | ValueRef::Real(_)) => {
                    return Err(rusqlite::Error::InvalidColumnType(column, "key".into(), other.data_type()));
                }
            }
        }
        Ok(Self(key))
    }

    pub(crate) fn values(&self) -> Option<Vec<Value>> {
        let (mut values, mut rest) = (Vec::new(), &*self.0);
        while let Some((kind, following)) = rest.split_first() {
            let (value, following) = match *kind {
                INTEGER => {
                    let (number, following) = following.split_first_chunk::<8>()?;
                    let number = (u64::from_be_bytes(*number) ^ (1 << 63)).cast_signed();
                    (Value::Integer(number), following)
                }
                BYTES => (Value::Blob(following.to_vec()), &[][..]),
                TEXT => (Value::Text(String::from_utf8(following.to_vec()).ok()?), &[][..]),
                _ => return None,
            };
            values.push(value);
            rest = following;
        }
        Some(values)
    }
}

/// Which rows of a table.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Of which table.
    pub table: &'static Table,
    /// Those behind this key; from the first on without one.
    pub after: Option<RowKey>,
    /// Those up to this key; to the last without one.
    pub up_to: Option<RowKey>,
    /// Of the log, those from this op on: replicas may have let go of theirs up to different places.
    pub first_op: i64,
    /// At most this many.
    pub rows_max: usize,
}

/// Bytes as they are shown.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
        hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
        hex
    })
}
