//! Every table of the database, once: the same on every replica, derived from such a table, or of this database alone; and the
//! log, which is compared like a table.

/// A table that is the same on every replica at the same op: `trialogue verify` compares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns of its key: integers, and at most one of bytes or text, which is the last.
    pub key: &'static [&'static str],
    /// Whether the key is the op of the entry that made the row: then no row is beyond the end of the log.
    pub(crate) keyed_by_op: bool,
}

impl Table {
    /// Whether it is the log, whose entries are not in the database: of these, those count that are applied.
    pub fn is_log(&self) -> bool {
        self.name == "log"
    }
}

/// The log, and the replicated tables.
pub const TABLES: [Table; 10] = [
    Table { name: "log", key: &["op"], keyed_by_op: true },
    Table { name: "histories", key: &["began_op"], keyed_by_op: true },
    Table { name: "accounts", key: &["id"], keyed_by_op: true },
    Table { name: "sessions", key: &["id"], keyed_by_op: true },
    Table { name: "messages", key: &["id"], keyed_by_op: true },
    Table { name: "members", key: &["account", "conversation"], keyed_by_op: false },
    Table { name: "message_requests", key: &["id"], keyed_by_op: false },
    Table { name: "requests", key: &["id"], keyed_by_op: false },
    Table { name: "ended_sessions", key: &["token"], keyed_by_op: false },
    Table { name: "forgotten", key: &["only_row"], keyed_by_op: false },
];

/// Those that each replica derives for itself from replicated ones: they may be dropped and derived anew.
#[cfg(test)]
const DERIVED: [&str; 2] = ["looks", "derived"];
/// Those of one database alone: who it is, how far its tables go, and what it remembers of views. A snapshot brings its own.
#[cfg(test)]
const LOCAL: [&str; 4] = ["database", "applied", "remembered", "remembered_members"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_table_is_declared_once() {
        let folder = tempfile::tempdir().unwrap();
        let connection =
            crate::database::open(&folder.path().join("chat.db"), crate::soundness::Check::Whole)
                .unwrap()
                .connection;
        let mut find = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let found: BTreeSet<String> =
            find.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let replicated = TABLES.iter().filter(|table| !table.is_log()).map(|table| table.name);
        let declared: Vec<&str> = replicated.chain(DERIVED).chain(LOCAL).collect();
        assert_eq!(found, declared.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found.len(), declared.len(), "none is declared twice");
    }
}
