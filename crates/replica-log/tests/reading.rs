//! What a reader sees: everything that is synced and nothing else, on any thread, while the log is written.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{
    Bytes, DATABASE, LIMITS, append, append_all, check_chains, entries_after, fresh, open, position, rot,
    segment,
};
use files::RealFiles;
use protocol::{Entry, Op, Position};
use replica_log::{Limits, Log, LogError, LogReader};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn a_piece_has_at_least_one_entry_and_ends_where_its_records_have_enough_bytes() {
    let (_, mut log) = fresh();
    append(&mut log, b'a', &[100, 100]).unwrap();
    append(&mut log, b'b', &[0, 100]).unwrap();
    append(&mut log, b'c', &[20_000]).unwrap();
    append(&mut log, b'd', &[1]).unwrap();
    log.cut(position(&log, 6), Position::ORIGIN).unwrap();
    let reader = log.reader();
    for (after, bytes_max, ops) in [
        (0, 1, 1..=1),
        (0, 100, 1..=1),
        (0, 101, 1..=2),
        (0, 200, 1..=2),
        (0, 201, 1..=4),
        (1, 300, 2..=5),
        (2, 1, 3..=4),
        (4, 1, 5..=5),
        (4, usize::MAX, 5..=6),
        (5, usize::MAX, 6..=6),
        (0, usize::MAX, 1..=6),
    ] {
        let piece = reader.read_after(Op(after), bytes_max).unwrap();
        let found: Vec<u64> = piece.entries.iter().map(|entry| entry.op.0).collect();
        assert_eq!(found, ops.collect::<Vec<_>>(), "{bytes_max} bytes after {after}");
        assert_eq!(piece.chain, Some(position(&log, after).chain));
    }
    let at_end = reader.read_after(log.end().op, usize::MAX).unwrap();
    assert_eq!(
        (at_end.chain, at_end.entries),
        (Some(log.end().chain), vec![]),
        "the end is held, nothing follows"
    );
}

#[test]
fn without_the_chain_there_are_no_entries() {
    let (_, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmnopqrstuvwxyz");
    log.recycle(Op(10));
    let reader = log.reader();
    for (op, held) in
        [(0, false), (9, false), (10, true), (11, true), (26, true), (27, false), (u64::MAX, false)]
    {
        assert_eq!(reader.chain_at(Op(op)).unwrap().is_some(), held, "{op}");
        let piece = reader.read_after(Op(op), usize::MAX).unwrap();
        assert_eq!(piece.chain.is_some(), held, "{op}");
        assert_eq!(piece.entries.is_empty(), !held || op == 26, "{op}");
    }
}

#[test]
fn what_is_not_synced_is_not_read() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "ab");
    let reader = log.reader();
    disk.fail_one_after(1, ErrorKind::Other);
    append(&mut log, b'x', &[10]).unwrap_err();
    assert_eq!(reader.end().op, Op(2));
    assert_eq!(reader.read_after(Op(1), usize::MAX).unwrap().entries.len(), 1);
    log.repair().unwrap();
    append_all(&mut log, "c");
    assert_eq!(reader.end(), log.end(), "it goes on to read what the log goes on to write");
    assert_eq!(reader.read_after(Op(2), usize::MAX).unwrap().entries[0].record[0], b'c');
}

#[test]
fn a_start_reads_the_newest_segment_alone_and_damage_in_others_is_told_to_those_who_read_them() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmno");
    for byte in 4096..16 << 10 {
        rot(&disk, &segment(1), byte, 0xff);
    }
    let log = open(&disk).unwrap();
    let reader = log.reader();
    assert_eq!(reader.read_after(Op(10), usize::MAX).unwrap().entries.len(), 5);
    assert!(matches!(reader.read_after(Op(9), usize::MAX), Err(LogError::Damaged { .. })));
    assert!(matches!(reader.chain_at(Op(3)), Err(LogError::Damaged { op: Op(1), .. })));
}

#[test]
fn every_place_is_found_in_a_segment_that_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1 << 20 };
    let path = folder.path().join("log");
    let mut log = Log::create(Arc::new(RealFiles), &path, DATABASE, Position::ORIGIN, limits).unwrap();
    let all = entries_after(Position::ORIGIN, b'a', &[3000; 600]);
    for group in all.chunks(7) {
        log.append(group, Position::ORIGIN).unwrap();
    }
    let check = |reader: LogReader| {
        // From the end, so that the index is made from the far end on.
        for entry in all.iter().rev() {
            assert_eq!(reader.chain_at(entry.op).unwrap(), Some(entry.chain));
            let piece = reader.read_after(Op(entry.op.0 - 1), 1).unwrap();
            assert_eq!(piece.entries[0].position(), entry.position());
        }
    };
    check(log.reader());
    drop(log);
    check(Log::open(Arc::new(RealFiles), &path, DATABASE, limits).unwrap().reader());
}

/// A record that tells its op, so that one in another's place is noticed.
fn records(end: Position, count: u64) -> Vec<Entry<Bytes>> {
    let mut end = end;
    let entries = (0..count).map(|number| {
        let op = end.op.next();
        let mut record = op.0.to_le_bytes().to_vec();
        record.resize(8 + usize::try_from((op.0 * 37 + number) % 900).unwrap(), 0);
        let entry = end.follow(Bytes(record));
        end = entry.position();
        entry
    });
    entries.collect()
}

#[test]
fn readers_see_one_history_while_the_log_is_written_cut_and_recycled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::create(Arc::new(RealFiles), &path, DATABASE, Position::ORIGIN, LIMITS).unwrap();
    let done = AtomicBool::new(false);
    let (reader, spares) = (log.reader(), log.spares());
    let read = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut entries = 0;
                    while !done.load(Ordering::Relaxed) {
                        let base = reader.base();
                        let piece = reader.read_after(base.op, 1 << 20).unwrap();
                        // The base may be gone by then.
                        let Some(chain) = piece.chain else { continue };
                        let end = piece.entries.last().map_or(base, Entry::position);
                        check_chains(Position { op: base.op, chain }, end, &piece.entries);
                        for entry in &piece.entries {
                            assert_eq!(entry.record[..8], entry.op.0.to_le_bytes(), "a record in its place");
                        }
                        reader.chain_at(end.op).unwrap();
                        entries += piece.entries.len();
                    }
                    entries
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                spares.prepare(|_| ControlFlow::Continue(())).unwrap();
                thread::yield_now();
            }
        });
        for round in 0..400 {
            log.append(&records(log.end(), 1 + round % 5), Position::ORIGIN).unwrap();
            if round % 10 == 9 {
                log.recycle(Op(log.end().op.0 - 20));
            }
            if round % 25 == 24 {
                let to = position(&log, log.end().op.0 - 3);
                log.cut(to, Position::ORIGIN).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>()
    });
    assert!(read > 1000, "{read} entries were read");
}
