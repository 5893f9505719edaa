//! What a start does with a database and its log, wherever an earlier one has ended, and what becomes of the log while it runs.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod folder;
mod pair;

use chat::Request;
use files::RealFiles;
use folder::{Folder, LIMITS, filled, people, write};
use pair::{decided, send};
use protocol::{Op, Position};
use replica_log::Log;
use std::path::Path;
use std::sync::Arc;
use store::{Check, INCOMING_SUFFIX, Readers, Storage, Writer, check_snapshot, swap_in};

/// Appends an entry to the log, and does not apply it.
fn log_only(storage: &mut Storage, requests: &[Request]) {
    let before = storage.writer.state().applied;
    let executed = decided(&storage.writer, requests);
    storage.log.append(&executed.entries, before).unwrap();
}

#[test]
fn a_new_database_begins_a_log_and_goes_on_with_it() {
    let (folder, mut storage) = filled();
    let end = storage.log.end();
    assert_eq!((end.op, storage.writer.state().applied), (Op(7), end));
    log_only(&mut storage, &[send(1, "bob", "four")]);
    assert_eq!(storage.committed(), end, "what is applied, where the log was told no more");
    let database = storage.writer.state().database;
    drop(storage);
    let mut storage = folder.open();
    let state = storage.writer.state();
    assert_eq!((state.database, state.applied, state.log_begun), (database, end, true));
    assert_eq!((storage.log.end().op, storage.committed()), (Op(8), end));
    assert_eq!(storage.apply_all().unwrap(), storage.log.end());
    assert_eq!(storage.committed(), storage.log.end());
    assert_eq!(folder.aside(), [""; 0]);
}

/// What an earlier start has done when it ended; the tables stay, or they have gone.
type Story = Box<dyn Fn(&Folder)>;

#[test]
fn wherever_a_start_ends_the_next_one_goes_on() {
    let moved = |folder: &Folder, name: &str| {
        let from = folder.path().with_file_name(name);
        std::fs::rename(&from, folder.path().with_file_name(format!("{name}.damaged-1"))).unwrap();
    };
    let stories: [(&str, bool, Story); 7] = [
        ("the log is aside", true, Box::new(move |folder| moved(folder, "log"))),
        (
            "the log is aside, and the database is another one",
            true,
            Box::new(move |folder| {
                moved(folder, "log");
                Writer::open(&folder.path()).unwrap().draw_identity().unwrap();
            }),
        ),
        (
            "the log is aside, and another one was begun, which was not written down",
            true,
            Box::new(move |folder| {
                moved(folder, "log");
                let mut writer = Writer::open(&folder.path()).unwrap();
                let database = writer.draw_identity().unwrap();
                let base = writer.state().applied;
                drop(Log::create(Arc::new(RealFiles), &folder.log(), database, base, LIMITS).unwrap());
            }),
        ),
        ("the database is aside", false, Box::new(move |folder| moved(folder, "chat.db"))),
        (
            "the database is aside, and a new one was made",
            false,
            Box::new(move |folder| {
                moved(folder, "chat.db");
                drop(Writer::open(&folder.path()).unwrap());
            }),
        ),
        (
            "both are aside",
            false,
            Box::new(move |folder| {
                moved(folder, "chat.db");
                moved(folder, "log");
            }),
        ),
        (
            "both are aside, and a new log was begun, which was not written down",
            false,
            Box::new(move |folder| {
                moved(folder, "chat.db");
                moved(folder, "log");
                drop(folder.open());
                folder.sql("UPDATE database SET log_begun = 0");
            }),
        ),
    ];
    for (what, stays, story) in stories {
        let (folder, storage) = filled();
        let before = storage.writer.state();
        drop(storage);
        story(&folder);
        let mut storage = folder.open();
        let state = storage.writer.state();
        assert_ne!(state.database, before.database, "{what}");
        assert_eq!(state.applied, if stays { before.applied } else { Position::ORIGIN }, "{what}");
        assert_eq!((storage.log.end(), storage.log.base()), (state.applied, state.applied), "{what}");
        let aside: &[&str] = if stays { &["log"] } else { &["chat.db", "log"] };
        assert_eq!(folder.aside(), aside, "{what}: nothing is lost");
        if stays {
            write(&mut storage, &[send(1, "bob", "after")]);
        } else {
            people(&mut storage);
        }
        let end = storage.log.end();
        drop(storage);
        assert_eq!(folder.open().log.end(), end, "{what}");
    }
}

#[test]
fn a_snapshot_that_was_swapped_in_begins_a_log_of_its_own() {
    let (from, mut source) = filled();
    let (folder, storage) = filled();
    write(&mut source, &[send(1, "bob", "four")]);
    let incoming = folder.path().with_file_name(format!("chat.db{INCOMING_SUFFIX}"));
    Readers::new(&from.path()).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let checked = check_snapshot(&incoming, None).unwrap();
    assert!(!checked.log_begun);
    let Storage { mut writer, log, .. } = storage;
    writer.close().unwrap();
    swap_in(&RealFiles, &folder.path()).unwrap();
    let mut storage = folder.open();
    drop((writer, log));
    let state = storage.writer.state();
    assert_eq!((state.database, state.applied.op, state.log_begun), (checked.database, Op(8), true));
    assert_eq!((storage.log.base(), storage.log.end()), (state.applied, state.applied));
    write(&mut storage, &[send(1, "bob", "five")]);
    drop(storage);
    assert_eq!(folder.open().log.end().op, Op(9));
    assert_eq!(folder.aside(), [""; 0]);
}

#[test]
fn a_database_of_the_version_before_begins_its_log_behind_the_one_that_was_a_table() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().parent().unwrap()).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/7.db"), folder.path()).unwrap();
    let storage = folder.open();
    let state = storage.writer.state();
    assert_eq!((state.applied.op, storage.log.base(), state.log_begun), (Op(26), state.applied, true));
}

#[test]
fn the_log_lets_go_of_what_is_durable_in_the_tables_and_no_more() {
    let (folder, mut storage) = filled();
    let retention = store::LogRetention::keep(10);
    let recycle = |storage: &mut Storage| {
        let below = retention.recyclable(storage.log.end().op, storage.writer.checkpointed());
        storage.log.recycle(below);
        storage.log.base().op
    };
    for number in 0..200 {
        write(&mut storage, &[send(1, "bob", &format!("message {number}"))]);
    }
    assert_eq!((storage.writer.checkpointed(), recycle(&mut storage)), (None, Op(0)));
    storage.writer.truncate_wal().unwrap();
    assert_eq!((storage.writer.checkpointed(), storage.writer.wal_bytes()), (Some(Op(207)), 0));
    let base = recycle(&mut storage);
    assert!((Op(100)..=Op(197)).contains(&base), "{base}");
    write(&mut storage, &[send(1, "bob", "after")]);
    drop(storage);
    let storage = folder.open();
    assert_eq!((storage.log.base(), storage.log.end().op), (storage.log.base(), Op(208)));
    assert_eq!(storage.writer.checkpointed(), None, "of this run none is known");
}

#[test]
fn where_little_is_kept_a_checkpoint_does_not_wait_for_much_to_do() {
    let folder = Folder::new();
    let retention = store::LogRetention::keep(10);
    let mut storage = Storage::open(&folder.path(), retention.clone(), LIMITS, Check::Whole).unwrap();
    people(&mut storage);
    for number in 0..100 {
        write(&mut storage, &[send(1, "bob", &format!("message {number}"))]);
    }
    let (end, checkpointed) = (storage.log.end().op, storage.writer.checkpointed());
    assert_eq!(end, Op(104));
    // At most so that as much again as is kept waits for the next one.
    assert!(retention.recyclable(end, checkpointed) >= Op(104 - 20), "{checkpointed:?}");
}

#[test]
fn a_checkpoint_counts_when_it_left_nothing_out() {
    let (folder, mut storage) = filled();
    let long = "x".repeat(4000);
    let fill = |storage: &mut Storage| {
        let letters: Vec<_> = (0..64).map(|_| send(1, "bob", &long)).collect();
        write(storage, &letters);
    };
    // A reader that sees an older state holds up the first one.
    let reading = rusqlite::Connection::open(folder.path()).unwrap();
    reading.execute_batch("BEGIN; SELECT count(*) FROM messages").unwrap();
    while storage.writer.wal_bytes() < 5000 * 4096 {
        fill(&mut storage);
    }
    assert_eq!(storage.writer.checkpointed(), None);
    storage.writer.truncate_wal().unwrap();
    assert_eq!(storage.writer.checkpointed(), None, "nor is it waited for");
    reading.execute_batch("COMMIT").unwrap();
    fill(&mut storage);
    let applied = storage.writer.state().applied.op;
    assert_eq!(storage.writer.checkpointed(), Some(applied));
    fill(&mut storage);
    assert_eq!(storage.writer.checkpointed(), Some(applied), "the next one comes when there is much to do");
    storage.writer.close().unwrap();
    assert_eq!(storage.writer.checkpointed(), None);
}
