//! What a store promises of its files: what is committed and what is not, snapshots, damage, and the log's bound.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::Request;
use pair::{Pair, context, create, difference, send};
use protocol::{
    Incarnation, Member, Memory, Proposer, RegisterId, ReplicaIndex, ReplicaSet, View, ViewNumber,
};
use std::path::Path;
use store::{
    INCOMING_SUFFIX, LogRetention, Readers, StoreError, Writer, check_snapshot, files::RealFiles, swap_in,
};

#[test]
fn what_is_not_committed_is_gone_and_what_is_committed_stays() {
    let mut pair = Pair::with_two_people();
    let path = pair.path("a");
    let before = pair.primary.identity().position;
    pair.primary.execute(&[send(1, "bob", "lost")], &context()).unwrap();
    assert_eq!(
        Readers::new(&path).read(|reader| reader.head()).unwrap(),
        before.op,
        "a reader sees what is not committed"
    );
    let Pair { folder, primary, secondary } = pair;
    drop(primary);
    let mut pair =
        Pair { primary: Writer::open(&path, LogRetention::keep(1000)).unwrap(), folder, secondary };
    assert_eq!(pair.primary.identity().position, before);
    pair.run(&[send(1, "bob", "kept")])[0].as_ref().unwrap();
    let after = pair.primary.identity().position;
    assert_eq!(pair.primary.repair().unwrap().position, after);
    pair.assert_same();
}

#[test]
fn a_snapshot_is_the_same_history_with_an_identity_of_its_own() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let target = pair.folder.path().join("c/chat.db");
    drop(Writer::open(&target, LogRetention::keep(1000)).unwrap());
    let incoming = pair.folder.path().join(format!("c/chat.db{INCOMING_SUFFIX}"));
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let checked = check_snapshot(&incoming, None).unwrap();
    assert_eq!(checked.position, pair.primary.identity().position);
    assert_ne!(checked.database, pair.primary.identity().database);
    swap_in(&RealFiles, &target).unwrap();
    let swapped = Writer::open(&target, LogRetention::keep(1000)).unwrap();
    assert_eq!(swapped.identity(), checked);
    assert_eq!(difference(&pair.path("a"), &target), None);
}

/// What a database remembers is its own: it outlives a restart, is kept by the commit of the batch that it comes with, is not
/// compared with another's, and does not come along with a snapshot.
#[test]
fn what_is_remembered_of_views_is_durable_and_local() {
    let mut pair = Pair::with_two_people();
    let index = ReplicaIndex(2);
    let view = View {
        number: ViewNumber(7),
        members: vec![Member { index, database: pair.primary.identity().database }],
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
    pair.primary = Writer::open(&path, LogRetention::keep(1000)).unwrap();
    assert_eq!(pair.primary.memory().unwrap().as_ref(), Some(&memory), "after a restart");

    let incoming = pair.folder.path().join("incoming");
    Readers::new(&path).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    check_snapshot(&incoming, None).unwrap();
    assert_eq!(Writer::open(&incoming, LogRetention::keep(1000)).unwrap().memory().unwrap(), None);
    check_snapshot(&incoming, Some(&newer)).unwrap();
    assert_eq!(Writer::open(&incoming, LogRetention::keep(1000)).unwrap().memory().unwrap(), Some(newer));
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
    let opened = Writer::open(&to, LogRetention::keep(1000)).unwrap();
    assert_eq!(opened.identity().position, protocol::Position::ORIGIN);
}

#[test]
fn a_damaged_snapshot_or_database_is_refused() {
    let pair = Pair::with_two_people();
    let incoming = pair.folder.path().join("incoming");
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let mut bytes = std::fs::read(&incoming).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 2048..middle + 2048].fill(0x5a);
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
    drop(Writer::open(&path, LogRetention::keep(1000)).unwrap());
    rusqlite_open(&path).pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(
        Writer::open(&path, LogRetention::keep(1000)),
        Err(StoreError::NewerSchema { found: 99, .. })
    ));
}

#[test]
fn the_log_is_pruned_behind_its_bound_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let mut writer = Writer::open(&path, LogRetention::keep(100)).unwrap();
    let all: Vec<Request> = (0..2100).map(|i| create(&format!("user{i}"))).collect();
    let executed = writer.execute(&all, &context()).unwrap();
    assert!(executed.outcomes.iter().flatten().all(Result::is_ok));
    writer.commit().unwrap();
    let readers = Readers::new(&path);
    let piece = |after| readers.read(|reader| reader.log_after(protocol::Op(after), 1 << 20)).unwrap();
    assert!(piece(0).chain.is_none() && piece(0).entries.is_empty());
    assert!(piece(1000).chain.is_none());
    assert_eq!(piece(2000).entries.len(), 100);
    assert_eq!(piece(2100).chain, Some(writer.identity().position.chain));
    drop(writer);
    assert_eq!(Writer::open(&path, LogRetention::keep(100)).unwrap().identity().position.op.0, 2100);
}
