//! What a store promises of its database: what is applied and what is only decided, snapshots, and damage.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use files::RealFiles;
use pair::{Pair, Primary, decided, difference, send};
use protocol::{
    Incarnation, Member, Memory, Proposer, RegisterId, ReplicaIndex, ReplicaSet, View, ViewNumber,
};
use std::path::Path;
use store::{INCOMING_SUFFIX, Readers, StoreError, Writer, check_snapshot, swap_in};

#[test]
fn what_is_only_decided_changes_nothing_and_what_is_applied_stays() {
    let pair = Pair::with_two_people();
    let path = pair.path("a");
    let before = pair.primary.state().applied;
    assert_eq!(decided(&pair.primary, &[send(1, "bob", "lost")]).entries.len(), 1);
    assert_eq!(
        Readers::new(&path).read(|reader| reader.applied()).unwrap(),
        before,
        "a reader sees what is only decided"
    );
    let Pair { folder, primary, secondary } = pair;
    drop(primary);
    let mut pair = Pair { primary: Primary::open(&path), folder, secondary };
    assert_eq!(pair.primary.state().applied, before);
    pair.run(&[send(1, "bob", "kept")])[0].as_ref().unwrap();
    let after = pair.primary.state().applied;
    assert_eq!(pair.primary.repair().applied, after);
    pair.assert_same();
}

#[test]
fn a_snapshot_is_the_same_history_with_an_identity_of_its_own() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let target = pair.folder.path().join("c/chat.db");
    drop(Writer::open(&target).unwrap());
    let incoming = pair.folder.path().join(format!("c/chat.db{INCOMING_SUFFIX}"));
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let checked = check_snapshot(&incoming, None).unwrap();
    assert_eq!(checked.applied, pair.primary.state().applied);
    assert_ne!(checked.database, pair.primary.state().database);
    swap_in(&RealFiles, &target).unwrap();
    let swapped = Writer::open(&target).unwrap();
    assert_eq!(swapped.state(), checked);
    assert_eq!(difference(&pair.path("a"), &target), None);
}

/// What a database remembers is its own: it outlives a restart, is not compared with another's, and does not come along with a snapshot.
#[test]
fn what_is_remembered_of_views_is_durable_and_local() {
    let mut pair = Pair::with_two_people();
    let index = ReplicaIndex(2);
    let view = View {
        number: ViewNumber(7),
        members: vec![Member { index, database: pair.primary.state().database }],
        in_sync: ReplicaSet::EMPTY.with(index),
        op: protocol::Op(1),
        proposed_by: Proposer { index, incarnation: Incarnation(u64::MAX), attempt: u64::MAX },
    };
    let memory = Memory { register: RegisterId([3; 16]), complete: view.number, view };
    let newer = Memory { register: RegisterId([4; 16]), complete: ViewNumber(6), ..memory.clone() };
    assert_eq!(pair.primary.memory().unwrap(), None);
    pair.primary.remember(&newer).unwrap();
    pair.primary.remember(&memory).unwrap();
    assert_eq!(pair.primary.memory().unwrap().as_ref(), Some(&memory));
    pair.assert_same();

    let path = pair.path("a");
    pair.primary = Primary::open(&path);
    assert_eq!(pair.primary.memory().unwrap().as_ref(), Some(&memory), "after a restart");

    let incoming = pair.folder.path().join("incoming");
    Readers::new(&path).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    check_snapshot(&incoming, None).unwrap();
    assert_eq!(Writer::open(&incoming).unwrap().memory().unwrap(), None);
    check_snapshot(&incoming, Some(&newer)).unwrap();
    assert_eq!(Writer::open(&incoming).unwrap().memory().unwrap(), Some(newer));
}

/// The last connection takes the write-ahead log with it, unless it can only read.
#[test]
fn readers_that_are_ready_are_closed_before_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    for (close, is_left) in [(false, true), (true, false)] {
        let writer = Writer::open(&path).unwrap();
        let readers = Readers::new(&path);
        readers.make_ready();
        if close {
            readers.close_idle();
        }
        drop(writer);
        assert_eq!(folder.path().join("chat.db-wal").exists(), is_left, "closed before it: {close}");
    }
}

/// A swap that was interrupted leaves the old write-ahead log beside no database for a moment.
#[test]
fn a_write_ahead_log_without_its_database_is_not_taken_for_one() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let (from, to) = (pair.path("a"), pair.folder.path().join("d/chat.db"));
    std::fs::create_dir(to.parent().unwrap()).unwrap();
    let log = |path: &std::path::Path| path.with_file_name("chat.db-wal");
    assert!(std::fs::metadata(log(&from)).unwrap().len() > 0, "the log is not empty");
    std::fs::copy(log(&from), log(&to)).unwrap();
    let opened = Writer::open(&to).unwrap();
    assert_eq!(opened.state().applied, protocol::Position::ORIGIN);
}

#[test]
fn a_damaged_snapshot_or_database_is_refused() {
    let pair = Pair::with_two_people();
    let incoming = pair.folder.path().join("incoming");
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    // A page that is in use, and all of it: others are free, and within one there is room that nothing uses.
    let root = "SELECT (rootpage - 1) * 4096 FROM sqlite_schema WHERE name = 'accounts'";
    let page: i64 = rusqlite_open(&incoming).query_row(root, [], |row| row.get(0)).unwrap();
    let page = usize::try_from(page).unwrap();
    let mut bytes = std::fs::read(&incoming).unwrap();
    bytes[page..page + 4096].fill(0x5a);
    std::fs::write(&incoming, &bytes).unwrap();
    assert!(matches!(check_snapshot(&incoming, None), Err(StoreError::Corrupt { .. })));
    std::fs::write(
        &incoming,
        b"this is no database, but it is long enough to be read as a header".repeat(10),
    )
    .unwrap();
    assert!(matches!(check_snapshot(&incoming, None), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_changed_row_is_named() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let other = rusqlite_open(&pair.path("b"));
    other.execute("UPDATE messages SET text = 'jello'", []).unwrap();
    let found = difference(&pair.path("a"), &pair.path("b")).unwrap();
    assert!(found.contains("messages") && found.contains("hello") && found.contains("jello"), "{found}");
}

fn rusqlite_open(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    drop(Writer::open(&path).unwrap());
    rusqlite_open(&path).pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Writer::open(&path), Err(StoreError::NewerSchema { found: 99, .. })));
}
