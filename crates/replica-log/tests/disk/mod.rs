//! A log on a disk that forgets, and what the tests ask of it.

#![allow(dead_code, reason = "each test uses some of it")]

use files::{Files, ForgetfulFiles};
use protocol::{DatabaseId, Entry, Op, Position, Record};
use replica_log::{Limits, Log, LogError, look};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room for the header and some groups.
pub(crate) const LIMITS: Limits = Limits { segment_bytes: 16 << 10 };
pub(crate) const DATABASE: DatabaseId = DatabaseId([7; 16]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub Vec<u8>);

impl Record for Bytes {
    fn encoded(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) fn folder() -> &'static Path {
    Path::new("/replica/log")
}

pub(crate) fn create(disk: &ForgetfulFiles, base: Position) -> Result<Log, LogError> {
    Log::create(Arc::new(disk.clone()), folder(), DATABASE, base, LIMITS)
}

pub(crate) fn open(disk: &ForgetfulFiles) -> Result<Log, LogError> {
    Log::open(Arc::new(disk.clone()), folder(), DATABASE, LIMITS)
}

/// An empty log on an empty disk.
pub(crate) fn fresh() -> (ForgetfulFiles, Log) {
    let disk = ForgetfulFiles::default();
    let log = create(&disk, Position::ORIGIN).unwrap();
    (disk, log)
}

/// Entries after `end`, one for each length of a record; `mark` tells them from others at the same place.
pub(crate) fn entries_after(end: Position, mark: u8, lengths: &[usize]) -> Vec<Entry<Bytes>> {
    let mut end = end;
    let entries = lengths.iter().map(|length| {
        let entry = end.follow(Bytes(vec![mark; *length]));
        end = entry.position();
        entry
    });
    entries.collect()
}

/// Appends one group.
pub(crate) fn append(log: &mut Log, mark: u8, lengths: &[usize]) -> Result<(), LogError> {
    let entries = entries_after(log.end(), mark, lengths);
    log.append(&entries, log.committed())
}

/// Appends groups of one entry of a kilobyte, with the marks of a word.
pub(crate) fn append_all(log: &mut Log, word: &str) {
    for mark in word.bytes() {
        append(log, mark, &[1000]).unwrap();
    }
}

/// The marks of all entries: what a log holds as a word. Compares all that can be read of it with each other.
pub(crate) fn word(log: &Log) -> String {
    let reader = log.reader();
    let (base, end) = (log.base(), log.end());
    let piece = reader.read_after(base.op, usize::MAX).unwrap();
    assert_eq!(piece.chain, Some(base.chain));
    check_chains(base, end, &piece.entries);
    for entry in &piece.entries {
        assert_eq!(reader.chain_at(entry.op).unwrap(), Some(entry.chain), "{}", entry.op);
    }
    assert_eq!(reader.chain_at(end.op.next()).unwrap(), None);
    marks(&piece.entries)
}

/// What a log at rest holds.
pub(crate) fn word_at_rest(disk: &ForgetfulFiles) -> Result<String, LogError> {
    let log = look(disk, folder())?;
    let entries: Vec<_> = log.entries_after(log.base().op).collect::<Result<_, _>>()?;
    check_chains(log.base(), log.end(), &entries);
    Ok(marks(&entries))
}

pub(crate) fn check_chains(base: Position, end: Position, entries: &[Entry<Vec<u8>>]) {
    let entries: Vec<Entry<Bytes>> = entries
        .iter()
        .map(|Entry { op, chain, record }| Entry { op: *op, chain: *chain, record: Bytes(record.clone()) })
        .collect();
    assert_eq!(base.extend(&entries), Some(end), "what is read is one history from the base to the end");
}

fn marks(entries: &[Entry<Vec<u8>>]) -> String {
    entries.iter().map(|entry| char::from(entry.record.first().copied().unwrap_or(b'-'))).collect()
}

/// The position at an op that the log holds.
pub(crate) fn position(log: &Log, op: u64) -> Position {
    Position { op: Op(op), chain: log.reader().chain_at(Op(op)).unwrap().unwrap() }
}

/// The names in the log's folder with their lengths, in their order.
pub(crate) fn files_of(disk: &ForgetfulFiles) -> Vec<(String, usize)> {
    let mut names = disk.names(folder()).unwrap();
    names.sort();
    names.into_iter().map(|name| (name.clone(), disk.read(&folder().join(name)).unwrap().len())).collect()
}

pub(crate) fn segment(first: u64) -> PathBuf {
    folder().join(format!("{first:020}"))
}

/// Flips bits of a file, and lets no power failure undo it.
pub(crate) fn rot(disk: &ForgetfulFiles, path: &Path, at: usize, bits: u8) {
    let mut byte = [disk.read(path).unwrap()[at]];
    byte[0] ^= bits;
    let file = disk.open(path).unwrap();
    file.write_at(&byte, at as u64).unwrap();
    file.sync().unwrap();
}

pub(crate) fn length(disk: &ForgetfulFiles, path: &Path) -> usize {
    disk.read(path).unwrap().len()
}
