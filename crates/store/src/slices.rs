//! The rows of a table, a slice at a time, in the order of its key: so that a table of any size is read in bounded memory
//! and in short read transactions.

use crate::error::StoreError;
use crate::log_rows::LogRows;
use crate::reader::Reader;
use crate::row_key::{RowKey, Slice, hex};
use crate::tables::Table;
use protocol::Position;
use replica_log::LogReader;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Rows, Statement, params_from_iter};
use std::time::Instant;

/// What was read of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// How far the log was applied when it was read.
    pub position: Position,
    /// Where the log began.
    pub first_op: i64,
    /// How many rows were read.
    pub rows: usize,
    /// The key of the last row, if there may be more behind it in the slice.
    pub stopped_at: Option<RowKey>,
}

/// Gives the rows of a slice to `absorb`, one after the other, until `until` at the latest, but at least one. Of the log, those
/// are rows that the tables show.
pub fn digest_slice(
    reader: &Reader<'_>,
    log: &LogReader,
    slice: &Slice,
    until: Instant,
    mut absorb: impl FnMut(&str),
) -> Result<Digested, StoreError> {
    loop {
        let Digested { position, first_op, .. } = no_rows(reader, log)?;
        let slice = Slice { first_op: slice.first_op.max(first_op), ..slice.clone() };
        let digested = |rows, stopped_at| Digested { position, first_op, rows, stopped_at };
        if !slice.table.is_log() {
            let sql = StoreError::sqlite(reader.path());
            let mut statement = prepare(reader, &slice).map_err(&sql)?;
            let mut found = query(&mut statement, &slice).map_err(&sql)?;
            let (rows, stopped_at) = read(|| found.next().map_err(&sql), slice.rows_max, until, &mut absorb)?;
            return Ok(digested(rows, stopped_at));
        }
        let mut entries = LogRows::new(log, &slice, position.op);
        let mut last = None;
        let next = || {
            let next = entries.next()?;
            last = next.as_ref().map(|(key, _)| key.clone()).or(last.take());
            Ok(next)
        };
        let (rows, stopped_at) = read(next, slice.rows_max, until, &mut absorb)?;
        match (entries.gone, rows) {
            // The log has let go of the slice's beginning meanwhile.
            (true, 0) => {}
            (true, _) => return Ok(digested(rows, last)),
            (false, _) => return Ok(digested(rows, stopped_at)),
        }
    }
}

/// Reads rows until there are enough of them, or until the time is over. Returns how many, and the key of the last if there may be
/// more.
fn read(
    mut next: impl FnMut() -> Result<Option<(RowKey, String)>, StoreError>,
    rows_max: usize,
    until: Instant,
    absorb: &mut impl FnMut(&str),
) -> Result<(usize, Option<RowKey>), StoreError> {
    let (mut rows, mut last) = (0, None);
    while let Some((key, row)) = next()? {
        absorb(&row);
        rows += 1;
        last = Some(key);
        if Instant::now() >= until {
            return Ok((rows, last));
        }
    }
    Ok((rows, last.filter(|_| rows >= rows_max)))
}

/// Where the log begins and how far it is applied, with no row read.
pub fn no_rows(reader: &Reader<'_>, log: &LogReader) -> Result<Digested, StoreError> {
    let first_op = log.base().op.next().0.cast_signed();
    Ok(Digested { position: reader.applied()?, first_op, rows: 0, stopped_at: None })
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
        ValueRef::Blob(bytes) => hex(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row_key::{BYTES, INTEGER};
    use crate::{Check, LogRetention, Storage, TABLES, open_existing_read_only};
    use std::time::Duration;

    const MESSAGES: &Table = &TABLES[4];
    const MEMBERS: &Table = &TABLES[5];

    /// A database with these messages, and each of two accounts in conversations with 30 others.
    fn filled(messages: i64) -> (tempfile::TempDir, rusqlite::Connection, LogReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let log = Storage::open(&path, LogRetention::keep(1000), Storage::limits(1000, 0), Check::Whole)
            .unwrap()
            .log
            .reader();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO messages (id, conversation, sender, sender_name, to_name, text, sent_at)
                 SELECT i, zeroblob(16), 1, 'a', 'b', 'text ' || i, i FROM n",
                [messages],
            )
            .unwrap();
        for (account, other) in
            [1, 2].into_iter().flat_map(|account| (0..30_u8).map(move |other| (account, other)))
        {
            let conversation: [u8; 16] = [other; 16];
            let values = rusqlite::params![account, conversation];
            connection.execute("INSERT INTO members VALUES (?1, ?2, 3, 4)", values).unwrap();
        }
        let reading = open_existing_read_only(&path).unwrap();
        (folder, reading, log)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn slices_end_to_end_are_the_whole_table_once_and_in_order() {
        let (folder, connection, log) = filled(100);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        for table in [MESSAGES, MEMBERS] {
            let mut whole = Vec::new();
            let all = Slice { table, after: None, up_to: None, first_op: 0, rows_max: usize::MAX >> 1 };
            let digested =
                digest_slice(&reader, &log, &all, soon(), |row| whole.push(row.to_owned())).unwrap();
            assert_eq!((digested.rows, digested.stopped_at), (whole.len(), None));
            for rows_max in [1, 7, 50, 60, 100] {
                let (mut pieces, mut after) = (Vec::new(), None);
                loop {
                    let slice = Slice { after, rows_max, ..all.clone() };
                    let part = digest_slice(&reader, &log, &slice, soon(), |row| pieces.push(row.to_owned()))
                        .unwrap();
                    assert!(part.rows <= rows_max);
                    // The same rows by their bounds.
                    if let Some(end) = &part.stopped_at {
                        let mut again = Vec::new();
                        let bounded = Slice { up_to: Some(end.clone()), rows_max: 1000, ..slice };
                        digest_slice(&reader, &log, &bounded, soon(), |row| again.push(row.to_owned()))
                            .unwrap();
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
        let (folder, connection, log) = filled(100);
        let path = folder.path().join("chat.db");
        let slice = Slice { table: MESSAGES, after: None, up_to: None, first_op: 0, rows_max: 1000 };
        let reader = Reader::on(&connection, &path);
        let digested = digest_slice(&reader, &log, &slice, Instant::now(), |_| ()).unwrap();
        assert!(digested.rows == 1 && digested.stopped_at.is_some(), "{digested:?}");
    }

    #[test]
    fn keys_are_ordered_as_their_rows_and_survive_as_bytes() {
        let (folder, connection, _) = filled(1);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        let all = Slice { table: MEMBERS, after: None, up_to: None, first_op: 0, rows_max: 1000 };
        let mut statement = prepare(&reader, &all).unwrap();
        let mut rows = query(&mut statement, &all).unwrap();
        let mut keys = Vec::new();
        while let Some((key, _)) = rows.next().unwrap() {
            assert_eq!(RowKey::of(MEMBERS, key.as_bytes()).unwrap(), key);
            assert_eq!(RowKey::of(MESSAGES, key.as_bytes()), None, "a key of another table");
            keys.push(key);
        }
        assert!(keys.len() == 60 && keys.is_sorted());
        for bad in [&[][..], &[1], &[1, 0, 0], &[9; 9], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(RowKey::of(MEMBERS, bad), None, "{bad:?}");
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
        let (folder, connection, _) = filled(1);
        let path = folder.path().join("chat.db");
        let reader = Reader::on(&connection, &path);
        for table in TABLES.iter().filter(|table| !table.is_log()) {
            let bytes =
                ["id", "conversation", "token"].contains(table.key.last().unwrap()) && !table.keyed_by_op;
            let mut key = [INTEGER, 128, 0, 0, 0, 0, 0, 0, 1].repeat(table.key.len() - usize::from(bytes));
            key.extend(if bytes { vec![BYTES, 7] } else { Vec::new() });
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
