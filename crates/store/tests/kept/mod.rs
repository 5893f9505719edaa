//! The databases of `schemas`, one of each schema that there was.

#![allow(dead_code, reason = "each test program uses a part of it")]

use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::{Path, PathBuf};
use store::{StoreError, Writer, open_existing_read_only};

pub(crate) fn kept(schema: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schemas/{schema}.db"))
}

/// A copy of the database of that schema, as `name/chat.db` in a folder.
pub(crate) fn copy_of(schema: u8, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name).join("chat.db");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::copy(kept(schema), &path).unwrap();
    path
}

pub(crate) fn open(path: &Path) -> Result<Writer, StoreError> {
    Writer::open(path)
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("chat.db{suffix}"))
}

/// All rows of all tables, and the version.
pub(crate) fn content(path: &Path) -> Vec<(String, Vec<Vec<Value>>)> {
    let connection = open_existing_read_only(path).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .map(|name| format!("SELECT * FROM {}", name.unwrap()))
        .collect::<Vec<_>>();
    tables.push("PRAGMA user_version".into());
    tables.into_iter().map(|select| (select.clone(), rows(&connection, &select))).collect()
}

pub(crate) fn rows(connection: &Connection, select: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(select).unwrap();
    let columns = statement.column_count();
    let found = statement.query_map([], |row| (0..columns).map(|place| row.get(place)).collect()).unwrap();
    found.map(Result::unwrap).collect()
}

pub(crate) fn one<T: rusqlite::types::FromSql>(path: &Path, select: &str) -> T {
    Connection::open(path).unwrap().query_row(select, [], |row| row.get(0)).unwrap()
}
