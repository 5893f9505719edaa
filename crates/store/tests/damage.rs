//! Damage to a database or its log: each has its consequence at the next start.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod folder;
mod pair;

use files::RealFiles;
use folder::{Folder, LIMITS, filled, people, write};
use pair::send;
use protocol::{Chain, DatabaseId, Op, Position};
use replica_log::Log;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Storage, StoreError};

/// What was done to the files of a replica that has ended.
type Damage = &'static dyn Fn(&Folder);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// All is as it was.
    GoesOn,
    /// The log is aside, if there was one, the tables are there, and the identity is another one.
    LogAside,
    LogLost,
    /// Both are aside, and the new database is empty.
    BothAside,
}

fn overwrite(path: &Path, at: usize, bytes: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[at..at + bytes].fill(0x5a);
    std::fs::write(path, content).unwrap();
}

/// The place of these bytes in the log, and in which of its files.
fn find(folder: &Folder, what: &str) -> (PathBuf, usize) {
    let places = folder.segments().into_iter().flat_map(|path| {
        let content = std::fs::read(&path).unwrap();
        let places = content.windows(what.len()).enumerate();
        let found: Vec<usize> =
            places.filter(|(_, bytes)| *bytes == what.as_bytes()).map(|(at, _)| at).collect();
        found.into_iter().map(move |at| (path.clone(), at))
    });
    places.collect::<Vec<_>>().remove(0)
}

const DAMAGES: [(&str, Expected, Damage); 22] = [
    ("nothing", Expected::GoesOn, &|_| ()),
    ("the log is removed", Expected::LogLost, &|folder| std::fs::remove_dir_all(folder.log()).unwrap()),
    ("its files are removed", Expected::LogAside, &|folder| {
        for segment in folder.segments() {
            std::fs::remove_file(segment).unwrap();
        }
    }),
    ("another database's log is put in its place", Expected::LogAside, &|folder| {
        std::fs::remove_dir_all(folder.log()).unwrap();
        let base = Position::ORIGIN;
        drop(Log::create(Arc::new(RealFiles), &folder.log(), DatabaseId([9; 16]), base, LIMITS).unwrap());
    }),
    ("a group in its middle is not what was written", Expected::LogAside, &|folder| {
        let (path, at) = find(folder, "two");
        overwrite(&path, at, 3);
    }),
    ("the header of a segment is not what was written", Expected::LogAside, &|folder| {
        overwrite(folder.segments().last().unwrap(), 40, 8);
    }),
    ("it ends below what the tables show", Expected::LogAside, &|folder| {
        // As when an older copy of the folder was put back.
        let Storage { writer, mut log, .. } = folder.open();
        let below = log.reader().chain_at(Op(5)).unwrap().unwrap();
        drop(writer);
        log.cut(Position { op: Op(5), chain: below }, Position::ORIGIN).unwrap();
    }),
    ("it begins behind what the tables show", Expected::LogAside, &|folder| {
        let Storage { writer, log, .. } = folder.open();
        let base = Position { op: Op(9), chain: Chain([3; 32]) };
        let database = writer.state().database;
        drop(log);
        drop(Log::create(Arc::new(RealFiles), &folder.log(), database, base, LIMITS).unwrap());
    }),
    ("it has another chain where the tables stand", Expected::LogAside, &|folder| {
        let Storage { writer, log, .. } = folder.open();
        let base = Position { op: Op(7), chain: Chain([3; 32]) };
        let database = writer.state().database;
        drop(log);
        drop(Log::create(Arc::new(RealFiles), &folder.log(), database, base, LIMITS).unwrap());
    }),
    ("the place of the tables has another chain", Expected::LogAside, &|folder| {
        folder.sql("UPDATE applied SET chain = zeroblob(32)");
    }),
    ("a text is another one", Expected::BothAside, &|folder| {
        folder.sql("UPDATE messages SET text = 'jello' WHERE id = 6");
    }),
    ("a text that is gone for good is no damage", Expected::GoesOn, &|folder| {
        folder.sql("UPDATE messages SET text = '', undeliverable = 1 WHERE id = 6");
    }),
    ("a sender is another one", Expected::BothAside, &|folder| {
        folder.sql("UPDATE messages SET sender = 3 WHERE id = 6");
    }),
    ("a message is in another conversation", Expected::BothAside, &|folder| {
        folder.sql("UPDATE messages SET conversation = unhex('00000000000000020000000000000002')");
    }),
    ("a message is in no conversation that there can be", Expected::BothAside, &|folder| {
        folder.sql("UPDATE messages SET conversation = unhex('80000000000000020000000000000003')");
    }),
    ("a message is gone", Expected::BothAside, &|folder| folder.sql("DELETE FROM messages WHERE id = 6")),
    ("the last message is gone", Expected::BothAside, &|folder| {
        folder.sql("DELETE FROM messages WHERE id = 7");
    }),
    ("there is a message where the log has none", Expected::BothAside, &|folder| {
        folder.sql("UPDATE messages SET id = 4 WHERE id = 5");
    }),
    ("a table goes beyond the place that the tables show", Expected::BothAside, &|folder| {
        folder.sql("UPDATE accounts SET id = 8 WHERE id = 3");
    }),
    ("the tables show less than they hold", Expected::BothAside, &|folder| {
        let storage = folder.open();
        let chain = storage.log.reader().chain_at(Op(6)).unwrap().unwrap();
        drop(storage);
        let connection = rusqlite::Connection::open(folder.path()).unwrap();
        connection.execute("UPDATE applied SET op = 6, chain = ?1", [chain.0]).unwrap();
    }),
    ("pages of the database are not what was written", Expected::BothAside, &|folder| {
        folder.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        overwrite(&folder.path(), 4096, 4096);
    }),
    ("the database is none", Expected::BothAside, &|folder| {
        std::fs::write(folder.path(), b"this is no database, but it is long enough".repeat(10)).unwrap();
    }),
];

#[test]
fn each_damage_has_its_consequence() {
    for (what, expected, damage) in DAMAGES {
        let (folder, storage) = filled();
        let before = storage.writer.state();
        drop(storage);
        damage(&folder);
        let undamaged = Storage::open_undamaged(&folder.path(), LIMITS).map(drop);
        let refused = matches!(undamaged, Err(StoreError::Corrupt { .. }));
        assert_eq!(refused, expected != Expected::GoesOn, "{what}: {undamaged:?}");
        assert_eq!(folder.aside(), [""; 0], "{what}: it is for the operator to see");
        let mut storage = folder.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
        let after = storage.writer.state();
        let aside: &[&str] = match expected {
            Expected::GoesOn | Expected::LogLost => &[],
            Expected::LogAside => &["log"],
            Expected::BothAside => &["chat.db", "log"],
        };
        assert_eq!(folder.aside(), aside, "{what}");
        assert_eq!(after.database == before.database, expected == Expected::GoesOn, "{what}");
        if expected == Expected::BothAside {
            assert_eq!((after.applied, storage.log.end()), (Position::ORIGIN, Position::ORIGIN), "{what}");
            people(&mut storage);
        } else {
            assert_eq!((after.applied.op, storage.log.end()), (Op(7), after.applied), "{what}");
            assert!(after.log_begun, "{what}");
            let texts: Vec<String> = rusqlite::Connection::open(folder.path())
                .unwrap()
                .prepare("SELECT text FROM messages WHERE id <> 6")
                .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
                .unwrap();
            assert_eq!(texts, ["one", "three"], "{what}");
            write(&mut storage, &[send(1, "bob", "after")]);
        }
        let end = storage.log.end();
        drop(storage);
        let again = folder.open();
        assert_eq!((again.log.end(), again.writer.state().applied), (end, end), "{what}");
        assert_eq!(again.writer.state().database, after.database, "{what}: found once");
        assert_eq!(folder.aside(), aside, "{what}: found once");
    }
}

/// A record of a version that is to come.
#[derive(Clone, Debug)]
struct Later;

impl protocol::Record for Later {
    fn encoded(&self) -> &[u8] {
        &[8, 2, 16, 1]
    }
}

/// A record that is none.
#[derive(Clone, Debug)]
struct NoRecord;

impl protocol::Record for NoRecord {
    fn encoded(&self) -> &[u8] {
        &[255]
    }
}

fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut content: Vec<_> = paths.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    content.sort();
    content
}

#[test]
fn what_a_newer_version_wrote_is_left_as_it_is() {
    let stories: [(&str, Damage); 2] = [
        ("an entry", &|folder| {
            let Storage { mut log, .. } = folder.open();
            let entry = log.end().follow(Later);
            log.append(&[entry], Position::ORIGIN).unwrap();
        }),
        ("a segment", &|folder| {
            let newest = folder.segments().pop().unwrap();
            let mut bytes = std::fs::read(&newest).unwrap();
            bytes[8] += 1;
            let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
            bytes[12..16].copy_from_slice(&checksum);
            std::fs::write(newest, bytes).unwrap();
        }),
    ];
    for (what, story) in stories {
        let (folder, storage) = filled();
        drop(storage);
        story(&folder);
        let before = content(&folder.log());
        for _ in 0..2 {
            let error = folder.try_open().unwrap_err();
            assert!(error.to_string().contains("use the newer program"), "{what}: {error}");
            assert_eq!(content(&folder.log()), before, "{what}");
            assert_eq!(folder.aside(), [""; 0], "{what}");
        }
    }
}

/// What is not applied is not a matter of the tables.
#[test]
fn an_entry_that_is_not_applied_and_is_no_record_is_damage_of_the_log_alone() {
    let (folder, mut storage) = filled();
    let entry = storage.log.end().follow(NoRecord);
    storage.log.append(&[entry], Position::ORIGIN).unwrap();
    drop(storage);
    let storage = folder.open();
    assert_eq!(folder.aside(), ["log"]);
    assert_eq!((storage.log.end(), storage.log.end().op), (storage.writer.state().applied, Op(7)));
}
