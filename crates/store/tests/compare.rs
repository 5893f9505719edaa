//! Comparing replicas: the same rows in every table, and the same log as far as the tables show it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{Action, Request};
use pair::{create, decided, difference, request};
use protocol::{Op, Position};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{
    AtRest, Check, Compared, Difference, LogRetention, Readers, RowKey, Slice, Storage, TABLES, Table,
    compare_slice, digest_slice, level, no_rows,
};

const LOG: &Table = &TABLES[0];

/// Replicas whose logs begin at the first entry.
struct Replicas {
    folder: tempfile::TempDir,
    replicas: Vec<Storage>,
}

impl Replicas {
    /// A history and three accounts: the logs end at op 4.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = folder.path().join(name).join("chat.db");
            Storage::open(&path, LogRetention::keep(1000), Storage::limits(0, 0), Check::Whole).unwrap()
        };
        let replicas = vec![open("0"), open("1")];
        let mut new = Self { folder, replicas };
        for one in [request(Action::BeginHistory), create("alice"), create("bob"), create("carol")] {
            new.write(&[one], [true, true]);
        }
        new
    }

    /// Writes to both logs, and applies what is written to those tables.
    fn write(&mut self, requests: &[Request], applied: [bool; 2]) {
        let executed = decided(&self.replicas[0].writer, requests);
        for (replica, applied) in self.replicas.iter_mut().zip(applied) {
            let committed = replica.writer.state().applied;
            replica.log.append(&executed.entries, committed).unwrap();
            if applied {
                replica.writer.apply(&executed.entries).unwrap();
            }
        }
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.path().join(index.to_string()).join("chat.db")
    }

    fn at_rest(&self) -> (AtRest, AtRest) {
        (AtRest::open(&self.path(0)).unwrap(), AtRest::open(&self.path(1)).unwrap())
    }

    fn end(&self) -> Position {
        self.replicas[0].log.end()
    }
}

fn differences(one: &AtRest, other: &AtRest) -> Vec<Difference> {
    let compared = TABLES.iter().map(|table| compare_slice(one, other, table, None, 1000).unwrap());
    compared
        .filter_map(|compared| match compared {
            Compared::Same(_) => None,
            Compared::Different(difference) => Some(difference),
        })
        .collect()
}

#[test]
fn a_replica_that_has_applied_less_is_compared_as_its_log_would_bring_it_forward() {
    let mut replicas = Replicas::new();
    let behind = replicas.end();
    replicas.write(&[create("dave"), create("erin")], [true, false]);
    let (one, other) = replicas.at_rest();
    assert_eq!((one.identity().applied, other.identity().applied), (replicas.end(), behind));
    assert_eq!(other.end(), replicas.end());
    let position = Difference::Position(replicas.end(), behind);
    assert!(differences(&one, &other).iter().all(|difference| *difference == position));
    let before = std::fs::read(replicas.path(1)).unwrap();
    for swapped in [false, true] {
        let (one, other) = replicas.at_rest();
        let (one, other) = if swapped { level(other, one) } else { level(one, other) }.unwrap();
        assert_eq!((one.is_copy(), other.is_copy()), (swapped, !swapped));
        assert_eq!(one.identity().applied, replicas.end());
        assert_eq!(
            other.identity(),
            store::DatabaseState { database: other.identity().database, ..one.identity() }
        );
        assert_eq!(differences(&one, &other), []);
    }
    assert_eq!(std::fs::read(replicas.path(1)).unwrap(), before, "nothing of it is changed");
    assert_eq!(difference(&replicas.path(1), &replicas.path(1)), None);
}

#[test]
fn where_the_log_does_not_lead_to_the_other_place_the_positions_differ() {
    let mut replicas = Replicas::new();
    let executed = decided(&replicas.replicas[0].writer, &[create("dave")]);
    let before = replicas.end();
    let ahead = &mut replicas.replicas[0];
    ahead.log.append(&executed.entries, before).unwrap();
    ahead.writer.apply(&executed.entries).unwrap();
    // It has no entry there, and then another one.
    for forked in [false, true] {
        if forked {
            let other = &mut replicas.replicas[1];
            let executed = decided(&other.writer, &[create("erin")]);
            other.log.append(&executed.entries, before).unwrap();
        }
        let (one, other) = replicas.at_rest();
        let (one, other) = level(one, other).unwrap();
        assert!(!one.is_copy() && !other.is_copy());
        assert_eq!(differences(&one, &other)[0], Difference::Position(replicas.end(), before));
    }
}

#[test]
fn of_logs_those_entries_are_compared_that_both_hold() {
    let mut replicas = Replicas::new();
    for number in 0..200 {
        replicas.write(&[create(&format!("user{number}"))], [true, true]);
    }
    let recycled = &mut replicas.replicas[1];
    recycled.writer.truncate_wal().unwrap();
    recycled.log.recycle(Op(150));
    assert!(recycled.log.base().op > Op(20), "{}", recycled.log.base());
    assert_eq!(difference(&replicas.path(0), &replicas.path(1)), None);
    let Compared::Same(Some(key)) = ({
        let (one, other) = replicas.at_rest();
        compare_slice(&one, &other, LOG, None, 7).unwrap()
    }) else {
        panic!("there is more")
    };
    let first = replicas.replicas[1].log.base().op.0 + 1;
    assert_eq!(key, key_of(first + 6));
}

fn key_of(op: u64) -> RowKey {
    let mut bytes = vec![1];
    bytes.extend((op ^ (1 << 63)).to_be_bytes());
    RowKey::of(LOG, &bytes).unwrap()
}

/// The rows of a slice, and what is said of them.
fn rows(path: &Path, storage: &Storage, slice: &Slice, until: Instant) -> (Vec<String>, store::Digested) {
    Readers::new(path)
        .read(|reader| {
            let mut rows = Vec::new();
            let digested =
                digest_slice(reader, &storage.log.reader(), slice, until, |row| rows.push(row.to_owned()))?;
            Ok((rows, digested))
        })
        .unwrap()
}

#[test]
fn a_slice_of_the_log_has_what_the_tables_show_of_it() {
    let mut replicas = Replicas::new();
    replicas.write(&[create("dave")], [false, false]);
    let (path, storage) = (replicas.path(0), &replicas.replicas[0]);
    let soon = Instant::now() + Duration::from_mins(1);
    let all = Slice { table: LOG, after: None, up_to: None, first_op: 0, rows_max: 100 };
    let (whole, digested) = rows(&path, storage, &all, soon);
    let applied = storage.writer.state().applied;
    assert_eq!((digested.position, digested.first_op, digested.rows), (applied, 1, 4));
    assert_eq!((whole.len(), digested.stopped_at), (4, None));
    let chain = storage.log.reader().chain_at(Op(2)).unwrap().unwrap();
    let begin = format!("op=2 chain={:02x}{:02x}", chain.0[0], chain.0[1]);
    assert!(whole[1].starts_with(&begin) && whole[1].contains(" record="), "{}", whole[1]);
    let cases = [
        (Slice { after: Some(key_of(1)), ..all.clone() }, 1..4, None),
        (Slice { up_to: Some(key_of(2)), ..all.clone() }, 0..2, None),
        (Slice { after: Some(key_of(1)), up_to: Some(key_of(3)), ..all.clone() }, 1..3, None),
        (Slice { first_op: 3, ..all.clone() }, 2..4, None),
        (Slice { rows_max: 2, ..all.clone() }, 0..2, Some(key_of(2))),
        (Slice { after: Some(key_of(4)), ..all.clone() }, 0..0, None),
        (Slice { up_to: Some(key_of(9)), ..all.clone() }, 0..4, None),
    ];
    for (slice, expected, stopped_at) in cases {
        let (rows, digested) = rows(&path, storage, &slice, soon);
        assert_eq!((rows.as_slice(), digested.stopped_at), (&whole[expected], stopped_at), "{slice:?}");
    }
    let (one, digested) = rows(&path, storage, &all, Instant::now());
    assert_eq!((one.len(), digested.stopped_at), (1, Some(key_of(1))), "the time was over");
    let ends = Readers::new(&path).read(|reader| no_rows(reader, &storage.log.reader())).unwrap();
    assert_eq!((ends.position, ends.first_op, ends.rows), (applied, 1, 0));
}
