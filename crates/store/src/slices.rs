//! The rows of a table, a slice at a time, in the order of its key: so that a table of any size is read in bounded memory
//! and in short read transactions.

use crate::error::StoreError;
use crate::reader::Reader;
use crate::tables::Table;
use protocol::Position;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Rows, Statement, params_from_iter};
use std::time::Instant;

const INTEGER: u8 = 1;
const BYTES: u8 = 2;
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

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(row: &rusqlite::Row<'_>, columns: usize) -> Result<Self, rusqlite::Error> {
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

    fn values(&self) -> Option<Vec<Value>> {
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
    /// Of the log, those from this op on: replicas may have pruned theirs at different places.
    pub first_op: i64,
    /// At most this many.
    pub rows_max: usize,
}

/// What was read of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// Where the log ended when it was read.
    pub position: Position,
    /// Where the log began.
    pub first_op: i64,
    /// How many rows were read.
    pub rows: usize,
    /// The key of the last row, if there may be more behind it in the slice.
    pub stopped_at: Option<RowKey>,
}

/// Gives the rows of a slice to `absorb`, one after the other, until `until` at the latest, but at least one.
pub fn digest_slice(
    reader: &Reader<'_>,
    slice: &Slice,
    until: Instant,
    mut absorb: impl FnMut(&str),
) -> Result<Digested, StoreError> {
    let sql = StoreError::sqlite(reader.path());
    let position = reader.identity()?.position;
    let first_op = first_op(reader)?;
    let slice = Slice { first_op: slice.first_op.max(first_op), ..slice.clone() };
    let mut statement = prepare(reader, &slice).map_err(&sql)?;
    let mut found = query(&mut statement, &slice).map_err(&sql)?;
    let (mut rows, mut last) = (0, None);
    while let Some((key, row)) = found.next().map_err(&sql)? {
        absorb(&row);
        rows += 1;
        last = Some(key);
        if Instant::now() >= until {
            return Ok(Digested { position, first_op, rows, stopped_at: last });
        }
    }
    let stopped_at = last.filter(|_| rows >= slice.rows_max);
    Ok(Digested { position, first_op, rows, stopped_at })
}

/// Where the log begins and ends, with no row read.
pub fn no_rows(reader: &Reader<'_>) -> Result<Digested, StoreError> {
    let position = reader.identity()?.position;
    Ok(Digested { position, first_op: first_op(reader)?, rows: 0, stopped_at: None })
}

/// Where the log begins.
pub(crate) fn first_op(reader: &Reader<'_>) -> Result<i64, StoreError> {
    reader
        .connection()
        .query_row("SELECT coalesce(min(op), 1) FROM log", [], |row| row.get(0))
        .map_err(StoreError::sqlite(reader.path()))
}

pub(crate) fn prepare<'a>(reader: &'a Reader<'_>, slice: &Slice) -> Result<Statement<'a>, rusqlite::Error> {
    let Table { name, key, .. } = slice.table;
    let key = key.join(", ");
    let places = vec!["?"; slice.table.key.len()].join(", ");
    let mut conditions = Vec::new();
    if slice.after.is_some() {
        conditions.push(format!("({key}) > ({places})"));
    }
    if slice.up_to.is_some() {
        conditions.push(format!("({key}) <= ({places})"));
    }
    if *name == "log" {
        conditions.push(format!("op >= {}", slice.first_op));
    }
    let condition =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let limit = slice.rows_max;
    reader
        .connection()
        .prepare(&format!("SELECT {key}, * FROM {name} {condition} ORDER BY {key} LIMIT {limit}"))
}

/// The rows of a slice, as keys and texts.
pub(crate) fn query<'s>(
    statement: &'s mut Statement<'_>,
    slice: &Slice,
) -> Result<TextRows<'s>, rusqlite::Error> {
    let keys = slice.table.key.len();
    let columns = statement.column_names().skip(keys).map(str::to_owned).collect();
    let bounds = slice.after.iter().chain(&slice.up_to);
    let bounds: Vec<Value> = bounds.flat_map(|key| key.values().unwrap_or_default()).collect();
    Ok(TextRows { rows: statement.query(params_from_iter(bounds))?, columns, keys })
}

/// Rows as they are shown, one at a time.
pub(crate) struct TextRows<'s> {
    rows: Rows<'s>,
    columns: Vec<String>,
    keys: usize,
}

impl TextRows<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<(RowKey, String)>, rusqlite::Error> {
        let Some(row) = self.rows.next()? else { return Ok(None) };
        let cells = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| Ok(format!("{column}={}", show(row.get_ref(self.keys + place)?))));
        let cells = cells.collect::<Result<Vec<_>, rusqlite::Error>>()?;
        Ok(Some((RowKey::read(row, self.keys)?, cells.join(" "))))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogRetention, TABLES, Writer, open_existing_read_only};
    use std::time::Duration;

    const MESSAGES: &Table = &TABLES[4];
    const READS: &Table = &TABLES[5];

    /// A database with these messages, and what each of two accounts has seen of 30 others.
    fn filled(messages: i64) -> (tempfile::TempDir, rusqlite::Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        drop(Writer::open(&path, LogRetention::keep(1000)).unwrap());
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO messages (id, sender, sender_name, recipient, recipient_name, text, sent_at)
                 SELECT i, 1, 'a', 2, 'b', 'text ' || i, i FROM n",
                [messages],
            )
            .unwrap();
        for (account, peer) in [1, 2].into_iter().flat_map(|account| (0..30).map(move |peer| (account, peer)))
        {
            connection.execute("INSERT INTO reads VALUES (?1, ?2, 3, 4)", [account, peer]).unwrap();
        }
        let reading = open_existing_read_only(&path).unwrap();
        (folder, reading)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn slices_end_to_end_are_the_whole_table_once_and_in_order() {
        let (folder, connection) = filled(100);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        for table in [MESSAGES, READS] {
            let mut whole = Vec::new();
            let all = Slice { table, after: None, up_to: None, first_op: 0, rows_max: usize::MAX >> 1 };
            let digested = digest_slice(&reader, &all, soon(), |row| whole.push(row.to_owned())).unwrap();
            assert_eq!((digested.rows, digested.stopped_at), (whole.len(), None));
            for rows_max in [1, 7, 50, 60, 100] {
                let (mut pieces, mut after) = (Vec::new(), None);
                loop {
                    let slice = Slice { after, rows_max, ..all.clone() };
                    let part =
                        digest_slice(&reader, &slice, soon(), |row| pieces.push(row.to_owned())).unwrap();
                    assert!(part.rows <= rows_max);
                    // The same rows by their bounds.
                    if let Some(end) = &part.stopped_at {
                        let mut again = Vec::new();
                        let bounded = Slice { up_to: Some(end.clone()), rows_max: 1000, ..slice };
                        digest_slice(&reader, &bounded, soon(), |row| again.push(row.to_owned())).unwrap();
                        assert_eq!(again, pieces[pieces.len() - part.rows..]);
                    }
                    after = part.stopped_at;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(pieces, whole, "{} by {rows_max}", table.name);
            }
        }
    }

    #[test]
    fn a_slice_whose_time_is_over_ends_where_it_is() {
        let (folder, connection) = filled(100);
        let path = folder.path().join("chat.db");
        let slice = Slice { table: MESSAGES, after: None, up_to: None, first_op: 0, rows_max: 1000 };
        let reader = Reader::on(&connection, &path);
        let digested = digest_slice(&reader, &slice, Instant::now(), |_| ()).unwrap();
        assert!(digested.rows == 1 && digested.stopped_at.is_some(), "{digested:?}");
    }

    #[test]
    fn keys_are_ordered_as_their_rows_and_survive_as_bytes() {
        let (folder, connection) = filled(1);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        let all = Slice { table: READS, after: None, up_to: None, first_op: 0, rows_max: 1000 };
        let mut statement = prepare(&reader, &all).unwrap();
        let mut rows = query(&mut statement, &all).unwrap();
        let mut keys = Vec::new();
        while let Some((key, _)) = rows.next().unwrap() {
            assert_eq!(RowKey::of(READS, key.as_bytes()).unwrap(), key);
            assert_eq!(RowKey::of(MESSAGES, key.as_bytes()), None, "a key of another table");
            keys.push(key);
        }
        assert!(keys.len() == 60 && keys.is_sorted());
        for bad in [&[][..], &[1], &[1, 0, 0], &[9; 9], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(RowKey::of(READS, bad), None, "{bad:?}");
        }
        let number = |number: i64| {
            let mut bytes = vec![INTEGER];
            bytes.extend((number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
            RowKey::of(MESSAGES, &bytes).unwrap()
        };
        assert!([-5, 0, 1, i64::MAX].map(number).is_sorted());
        assert_eq!(number(-5).values(), Some(vec![Value::Integer(-5)]));
    }

    /// Otherwise a slice would read, or even sort, its whole table.
    #[test]
    fn each_slice_is_found_by_its_key() {
        let (folder, connection) = filled(1);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        for table in &TABLES {
            let integers = if table.name == "requests" { 0 } else { table.key.len() };
            let mut key = [INTEGER, 128, 0, 0, 0, 0, 0, 0, 1].repeat(integers);
            key.extend(if integers == 0 { vec![BYTES, 7] } else { Vec::new() });
            let key = Some(RowKey::of(table, &key).unwrap());
            let slice = Slice { table, after: key.clone(), up_to: key, first_op: 0, rows_max: 10 };
            let statement = prepare(&reader, &slice).unwrap();
            let asked = statement.expanded_sql().unwrap();
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {asked}")).unwrap();
            let plan = explain.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = plan.map(Result::unwrap).collect();
            assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{}: {plan:?}", table.name);
        }
    }
}
