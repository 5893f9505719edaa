//! What the names of living accounts look like: a table that each replica derives for itself, and only the primary asks.
//!
//! It is not replicated: two builds of this program may know different look-alikes, and what a replica holds must not depend
//! on its build. Nor is it compared by `verify`.

use crate::error::StoreError;
use chat::UserName;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

const NAME: &str = "looks";
const TAKEN: &str = "SELECT 1 FROM looks WHERE look IN (?1, ?2) AND (?3 OR NOT ascii)";

/// Derives the whole table anew if it was derived by other rules than those of this build.
pub(crate) fn refresh(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sql = StoreError::sqlite(path);
    let known: Option<String> = connection
        .query_row("SELECT version FROM derived WHERE name = ?1", [NAME], |row| row.get(0))
        .optional()
        .map_err(&sql)?;
    let version = chat::looks_version();
    if known.as_ref() == Some(&version) {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(&sql)?;
    let derive = || {
        transaction.execute("DELETE FROM looks", [])?;
        let mut living =
            transaction.prepare("SELECT id, name, key FROM accounts WHERE deleted_at IS NULL")?;
        let mut rows = living.query([])?;
        while let Some(row) = rows.next()? {
            let (name, key) = (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
            add(&transaction, row.get(0)?, name, key)?;
        }
        transaction
            .execute("INSERT OR REPLACE INTO derived (name, version) VALUES (?1, ?2)", params![NAME, version])
    };
    derive().map_err(&sql)?;
    transaction.commit().map_err(&sql)
}

/// A new account has this name.
pub(crate) fn add(
    connection: &Connection,
    account: i64,
    name: &str,
    key: &str,
) -> Result<(), rusqlite::Error> {
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO looks (look, account, ascii) VALUES (?1, ?2, ?3)")?;
    for look in chat::looks(name, key) {
        insert.execute(params![look, account, name.is_ascii()])?;
    }
    Ok(())
}

/// An account is deleted.
pub(crate) fn remove(connection: &Connection, account: i64) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM looks WHERE account = ?1")?.execute([account])?;
    Ok(())
}

/// Whether a living account looks like this name, and one of the two has a character outside ASCII: a person who reads `modem`
/// and `modern` can tell them apart. Index: the primary key.
pub(crate) fn taken(connection: &Connection, name: &UserName) -> Result<bool, rusqlite::Error> {
    let looks = name.looks();
    let (first, last) = (&looks[0], &looks[looks.len() - 1]);
    connection.prepare_cached(TAKEN)?.exists(params![first, last, !name.shown().is_ascii()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database;
    use crate::soundness::Check;

    #[test]
    fn looks_are_found_by_an_index_and_removed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database::open(&folder.path().join("chat.db"), Check::Whole).unwrap().connection;
        for (statement, expected) in [
            (
                TAKEN.replace("?1", "'a'").replace("?2", "'b'").replace("?3", "0"),
                "SEARCH looks USING PRIMARY KEY (look=?)",
            ),
            ("DELETE FROM looks WHERE account = 7".into(), "INDEX looks_account (account=?)"),
        ] {
            let plan: String = connection
                .query_row(&format!("EXPLAIN QUERY PLAN {statement}"), [], |row| row.get(3))
                .unwrap();
            assert!(plan.contains(expected), "{statement}: {plan}");
        }
    }

    #[test]
    fn looks_of_another_version_are_derived_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let mut connection = database::open(&path, Check::Whole).unwrap().connection;
        let insert = "INSERT INTO accounts (id, name, key, password, created_at, deleted_at) VALUES (?1, ?2, ?3, '', 0, ?4)";
        for (id, name, key, deleted) in
            [(1, "Alice", "alice", None), (2, "bob", "bob", Some(9)), (3, "c\u{430}rl", "c\u{430}rl", None)]
        {
            connection.execute(insert, params![id, name, key, deleted]).unwrap();
        }
        connection.execute("INSERT INTO looks VALUES ('nonsense', 9, 0)", []).unwrap();
        let parse = |name| UserName::parse(name, &chat::NameRules::default()).unwrap();
        refresh(&mut connection, &path).unwrap();
        assert!(!taken(&connection, &parse("\u{430}lice")).unwrap(), "this version was derived already");
        connection.execute("UPDATE derived SET version = 'an older one'", []).unwrap();
        refresh(&mut connection, &path).unwrap();
        let cases = [
            ("\u{430}lice", true),
            ("\u{410}lice", true),
            ("alice", false),
            ("\u{432}ob", false),
            ("bob", false),
            ("carl", true),
        ];
        for (name, expected) in cases {
            assert_eq!(taken(&connection, &parse(name)).unwrap(), expected, "{name}");
        }
        let left: i64 = connection
            .query_row("SELECT count(*) FROM looks WHERE account IN (2, 9)", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }
}
