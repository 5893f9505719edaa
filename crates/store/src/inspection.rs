//! Looking at every row of every table and index, and at every entry of the log, a piece at a time: beside serving, where a start
//! looked at the ends only because the whole takes long.
//!
//! `SQLite` finds a page that is damaged when it reads it. What it does not look at is looked at here: that the keys of a table or
//! an index follow each other, which its searches rely on, and what `soundness.rs` knows of the log.

use crate::error::StoreError;
use crate::reader::Reader;
use crate::soundness::{Unsound, check_entries};
use crate::state::state;
use protocol::{DatabaseId, Op, Position};
use replica_log::LogReader;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::cmp::Ordering;
use std::path::Path;

/// Rows of a piece: a few milliseconds.
const ROWS: usize = 2048;
/// How much of the records is read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// A table, or an index of it, in the order of its key.
#[derive(Debug)]
struct Tree {
    table: &'static str,
    /// Which index; the table itself without one.
    index: Option<&'static str>,
    /// The columns by which it is ordered.
    key: &'static [&'static str],
    /// Which rows of the table an index has, if it has not all.
    rows: &'static str,
}

const fn table(table: &'static str, key: &'static [&'static str]) -> Tree {
    Tree { table, index: None, key, rows: "true" }
}

const fn index(table: &'static str, index: &'static str, key: &'static [&'static str]) -> Tree {
    Tree { table, index: Some(index), key, rows: "true" }
}

/// All that grow.
const TREES: [Tree; 16] = [
    table("histories", &["began_op"]),
    table("accounts", &["id"]),
    index("accounts", "accounts_key", &["key", "id"]),
    Tree { rows: "deleted_at IS NULL", ..index("accounts", "accounts_living_key", &["key", "id"]) },
    table("sessions", &["id"]),
    index("sessions", "sessions_token", &["token", "id"]),
    index("sessions", "sessions_account", &["account", "id"]),
    table("messages", &["id"]),
    index("messages", "messages_conversation", &["conversation", "sender", "id"]),
    table("members", &["account", "conversation"]),
    table("message_requests", &["id"]),
    table("requests", &["id"]),
    table("ended_sessions", &["token"]),
    index("ended_sessions", "ended_sessions_last_request", &["last_request", "token"]),
    table("looks", &["look", "account"]),
    index("looks", "looks_account", &["account", "look"]),
];

/// How far the tables and indexes were looked at: the tree that is next, and its last key that was.
#[derive(Debug, Default)]
struct Trees {
    tree: usize,
    after: Option<Vec<Value>>,
}

/// How far a database and its log were looked at.
#[derive(Debug)]
pub struct Inspection {
    database: DatabaseId,
    trees: Trees,
    /// Where the log was looked at last; `None` before its first entry.
    log: Option<Position>,
    /// The last entry that is looked at.
    log_end: Op,
}

impl Inspection {
    /// Of everything, but of the log only up to an op: what came later was not read, it was written.
    pub(crate) const fn of(database: DatabaseId, log_end: Op) -> Self {
        Self { database, trees: Trees { tree: 0, after: None }, log: None, log_end }
    }

    /// Looks at the next piece, from one point in time. Returns whether there is more; damage is [`StoreError::Corrupt`].
    pub fn next(&mut self, reader: &Reader<'_>, log: &LogReader) -> Result<bool, StoreError> {
        // A snapshot has taken its place, which was looked at when it arrived; and the log may be the one before it.
        if state(reader.connection(), reader.path())?.database != self.database {
            return Ok(false);
        }
        if self.trees.next(reader.connection(), reader.path())? {
            return Ok(true);
        }
        self.next_of_log(reader, log)
    }

    /// Looks at all tables and indexes at once.
    pub(crate) fn whole_tables(connection: &Connection, path: &Path) -> Result<(), StoreError> {
        let mut all = Trees::default();
        while all.next(connection, path)? {}
        Ok(())
    }

    fn next_of_log(&mut self, reader: &Reader<'_>, log: &LogReader) -> Result<bool, StoreError> {
        let base = log.base();
        // What the log has let go of meanwhile is not looked at.
        let mut end = self.log.filter(|position| position.op >= base.op).unwrap_or(base);
        if end.op >= self.log_end {
            return Ok(false);
        }
        let unsound = |unsound: Unsound| unsound.into_error(reader.path());
        let piece = log.read_after(end.op, PIECE_BYTES).map_err(|error| unsound(Unsound::of(error)))?;
        // What was let go of or cut meanwhile has no such position: then it goes on from where the log begins now.
        self.log = None;
        if piece.chain == Some(end.chain) {
            // It may end before where it ended: what was not committed is cut.
            if piece.entries.is_empty() {
                return Ok(false);
            }
            let applied = reader.applied()?.op;
            let entries = piece.entries.into_iter().map(Ok);
            check_entries(reader.connection(), reader.path(), applied, &mut end, entries).map_err(unsound)?;
            self.log = Some(end);
        }
        Ok(true)
    }
}

impl Trees {
    fn next(&mut self, connection: &Connection, path: &Path) -> Result<bool, StoreError> {
        let Some(tree) = TREES.get(self.tree) else { return Ok(false) };
        self.after = tree.look(connection, path, self.after.as_deref())?;
        self.tree += usize::from(self.after.is_none());
        Ok(true)
    }
}

impl Tree {
    /// Looks at the rows behind a key. Returns the last key if there may be more behind it.
    fn look(
        &self,
        connection: &Connection,
        path: &Path,
        after: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let (mut last, mut read) = (after.map(<[Value]>::to_vec), 0);
        // The rest of what has the same key but for its last column, and what is behind that. In one condition over all columns
        // `SQLite` does not search by a row's number, and each piece of one conversation would begin with its first message.
        let prefix = self.key.len() - 1;
        let (same, behind) = match after {
            None => (None, String::from("true")),
            Some(_) if prefix == 0 => (None, self.behind(1)),
            Some(_) => (Some(self.within()), self.behind(prefix)),
        };
        if let (Some(same), Some(after)) = (same, after) {
            read += self.read(connection, path, &same, after, ROWS, &mut last)?;
        }
        if read < ROWS {
            let bound = after.map_or(&[][..], |after| &after[..prefix.max(1)]);
            read += self.read(connection, path, &behind, bound, ROWS - read, &mut last)?;
        }
        Ok(last.filter(|_| read == ROWS))
    }

    /// The condition for what has the same key but for its last column, which comes behind.
    fn within(&self) -> String {
        let (last, first) = self.key.split_last().expect("every tree has a key");
        let same: Vec<String> = first.iter().map(|column| format!("{column} = ?")).collect();
        format!("{} AND {last} > ?", same.join(" AND "))
    }

    /// The condition for what comes behind in the first columns of the key.
    fn behind(&self, columns: usize) -> String {
        format!("({}) > ({})", self.key[..columns].join(", "), vec!["?"; columns].join(", "))
    }

    fn query(&self, condition: &str, rows_max: usize) -> String {
        let Self { table, index, key, rows } = self;
        let columns = key.join(", ");
        let (all, by) = match index {
            Some(index) => (columns.clone(), format!("INDEXED BY {index}")),
            None => (format!("{columns}, *"), "NOT INDEXED".to_owned()),
        };
        format!(
            "SELECT {all} FROM {table} {by} WHERE {rows} AND {condition} ORDER BY {columns} LIMIT {rows_max}"
        )
    }

    /// Reads rows, each of which must come behind the last. Returns how many there were.
    fn read(
        &self,
        connection: &Connection,
        path: &Path,
        condition: &str,
        bound: &[Value],
        rows_max: usize,
        last: &mut Option<Vec<Value>>,
    ) -> Result<usize, StoreError> {
        let sql = StoreError::sqlite(path);
        let corrupt = |what| StoreError::Corrupt { path: path.to_owned(), what };
        let (keys, name) = (self.key.len(), self.index.unwrap_or(self.table));
        let mut statement = connection.prepare(&self.query(condition, rows_max)).map_err(&sql)?;
        let columns = statement.column_count();
        let mut found = statement.query(params_from_iter(bound)).map_err(&sql)?;
        let mut read = 0;
        while let Some(row) = found.next().map_err(&sql)? {
            // Every column, so that every page on which a long one goes on is read.
            for column in keys..columns {
                row.get_ref(column).map_err(&sql)?;
            }
            let now = (0..keys).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>();
            let now = now.map_err(|error| corrupt(format!("a row of {name} can't be read: {error}")))?;
            if last.as_ref().is_some_and(|last| !follows(last, &now)) {
                return Err(corrupt(format!("the rows of {name} are not in their order")));
            }
            *last = Some(now);
            read += 1;
        }
        Ok(read)
    }
}

/// Whether a key comes behind another, as `SQLite` orders them: numbers, then texts, then bytes.
fn follows(last: &[Value], now: &[Value]) -> bool {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    let order = |(one, other): (&Value, &Value)| match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Blob(one), Value::Blob(other)) => one.cmp(other),
        _ => kind(one).cmp(&kind(other)),
    };
    last.iter().zip(now).map(order).find(|order| order.is_ne()) == Some(Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_table_and_index_is_looked_at_but_those_of_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let connection = crate::database::open(&path, crate::soundness::Check::Whole).unwrap().connection;
        let mut find = connection
            .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND type IN ('table', 'index')")
            .unwrap();
        let mut unseen: BTreeSet<String> =
            find.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for Tree { table, index, .. } in &TREES {
            assert!(unseen.remove(index.unwrap_or(table)), "{table} {index:?}");
        }
        let small = ["applied", "database", "derived", "forgotten", "remembered", "remembered_members"];
        assert_eq!(unseen, small.iter().map(|name| (*name).to_owned()).collect());
    }

    /// A plan that sorts would read a whole table for each piece.
    #[test]
    fn no_piece_is_sorted_and_each_is_found_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let connection = crate::database::open(&path, crate::soundness::Check::Whole).unwrap().connection;
        for tree in &TREES {
            let prefix = tree.key.len() - 1;
            let within = (prefix > 0).then(|| (tree.within(), prefix + 1));
            for (condition, bounds) in within.into_iter().chain([(tree.behind(prefix.max(1)), prefix.max(1))])
            {
                let mut explain =
                    connection.prepare(&format!("EXPLAIN QUERY PLAN {}", tree.query(&condition, 1))).unwrap();
                let bound = vec![0; bounds];
                let plan: Vec<String> = explain
                    .query_map(params_from_iter(bound), |row| row.get(3))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect();
                // Every column that is bound is searched by.
                let searched = plan[0].matches(['>', '=']).count();
                assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{}: {plan:?}", tree.table);
                let by_a_row = plan[0].contains(&format!("({})>", tree.key[..bounds].join(",")));
                assert!(searched == bounds || by_a_row, "{} {condition}: {plan:?}", tree.table);
            }
        }
    }

    #[test]
    fn a_key_follows_another_as_sqlite_orders_them() {
        let text = |text: &str| Value::Text(text.into());
        let ordered = [
            vec![Value::Integer(-1), text("a")],
            vec![Value::Integer(-1), text("b")],
            vec![Value::Integer(2), text("a")],
            vec![text("a"), Value::Blob(vec![0])],
            vec![Value::Blob(vec![0]), Value::Integer(9)],
        ];
        for (one, other) in ordered.iter().zip(&ordered[1..]) {
            assert!(follows(one, other) && !follows(other, one) && !follows(one, one), "{one:?} {other:?}");
        }
    }
}
