//! A large database: a start that follows nothing but the end of a process looks at its ends, and an inspection at the rest.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod folder;
mod pair;

use files::RealFiles;
use folder::{Folder, people, write};
use pair::send;
use protocol::Position;
use std::path::{Path, PathBuf};
use store::{
    Check, INCOMING_SUFFIX, LogRetention, Readers, Storage, StoreError, check_snapshot, suspect_damage,
    suspected, swap_in,
};

const PAGE: usize = 4096;
/// More than is looked at of the end of a log.
const MESSAGES: usize = 11_000;

fn open(path: &Path, how: Check) -> Storage {
    Storage::open(path, LogRetention::keep(1_000_000), Storage::limits(100_000, u64::MAX), how).unwrap()
}

/// A database of more than 16 MiB, which a start looks at in part.
fn filled() -> Folder {
    let folder = Folder::new();
    let mut storage = open(&folder.path(), Check::Whole);
    people(&mut storage);
    let texts: Vec<String> =
        (0..MESSAGES).map(|number| format!("message {number}: {}", "x".repeat(1600))).collect();
    for some in texts.chunks(1000) {
        write(&mut storage, &some.iter().map(|text| send(1, "bob", text)).collect::<Vec<_>>());
    }
    assert!(storage.writer.truncate_wal().is_ok());
    folder
}

/// Where these bytes are, in the first of these files that has them.
fn find(files: &[PathBuf], what: &str) -> (PathBuf, usize) {
    let mut places = files.iter().filter_map(|path| {
        let content = std::fs::read(path).unwrap();
        let at = content.windows(what.len()).position(|bytes| bytes == what.as_bytes())?;
        Some((path.clone(), at))
    });
    places.next().unwrap()
}

fn overwrite(path: &Path, at: usize, bytes: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[at..at + bytes].fill(0x5a);
    std::fs::write(path, content).unwrap();
}

/// Looks at all that a start has left. Returns how many pieces that took.
fn inspect(folder: &Folder, storage: Storage) -> Result<usize, StoreError> {
    let Storage { log, inspection, .. } = storage;
    let (mut left, readers) = (inspection.expect("the database is large"), Readers::new(&folder.path()));
    let mut pieces = 1;
    while readers.read(|reader| left.next(reader, &log.reader()))? {
        pieces += 1;
    }
    Ok(pieces)
}

/// How much this thread has read, from the disk or from memory.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_start_reads_a_part_of_it_or_all() {
    let folder = filled();
    let bytes = std::fs::metadata(folder.path()).unwrap().len();
    let before = bytes_read();
    drop(open(&folder.path(), Check::Ends));
    let part = bytes_read() - before;
    drop(open(&folder.path(), Check::Whole));
    let whole = bytes_read() - before - part;
    // The end of the log is most of this one: it has few entries more than are looked at.
    assert!(whole > part + bytes, "{part} and {whole} bytes of {bytes}");
}

#[test]
fn where_the_log_is_lost_the_tables_are_looked_at() {
    let folder = filled();
    let (path, at) = find(&[folder.path()], "message 100:");
    overwrite(&path, at / PAGE * PAGE, 8);
    std::fs::remove_dir_all(folder.log()).unwrap();
    let anew = open(&folder.path(), Check::Ends);
    assert_eq!((folder.aside(), anew.log.end()), (vec!["chat.db".to_owned()], Position::ORIGIN));
}

#[test]
fn what_was_found_is_not_said_of_a_snapshot_in_its_place() {
    let folder = Folder::new();
    let Storage { mut writer, log, .. } = folder.open();
    let incoming = folder.path().with_file_name(format!("chat.db{INCOMING_SUFFIX}"));
    Readers::new(&folder.path()).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    check_snapshot(&incoming, None).unwrap();
    suspect_damage(&folder.path(), "what was found").unwrap();
    writer.close().unwrap();
    drop(log);
    swap_in(&RealFiles, &folder.path()).unwrap();
    assert_eq!(suspected(&folder.path()).unwrap(), None);
    drop(folder.open());
    assert_eq!(folder.aside(), [""; 0]);
}

#[test]
fn what_a_start_left_is_looked_at_piece_by_piece() {
    let folder = filled();
    let storage = open(&folder.path(), Check::Ends);
    let pieces = inspect(&folder, storage).unwrap();
    assert!(pieces > 4 * MESSAGES / 2048, "{pieces}");
    assert!(open(&folder.path(), Check::Whole).inspection.is_none());
}

/// It was looked at when it arrived, and the log that is at hand may be the one before it.
#[test]
fn of_another_database_in_its_place_nothing_is_looked_at() {
    let folder = filled();
    let Storage { mut writer, log, inspection } = open(&folder.path(), Check::Ends);
    let (mut left, readers) = (inspection.unwrap(), Readers::new(&folder.path()));
    let mut next = || readers.read(|reader| left.next(reader, &log.reader())).unwrap();
    assert!(next());
    writer.draw_identity().unwrap();
    assert!(!next());
}

#[test]
fn damage_that_a_start_left_is_found_beside_serving_and_has_its_consequence_at_the_next_one() {
    type Damage = &'static dyn Fn(&Folder);
    let stories: [(&str, Damage); 2] = [
        ("a page of messages", &|folder| {
            let (path, at) = find(&[folder.path()], "message 100:");
            overwrite(&path, at / PAGE * PAGE, 8);
        }),
        ("an entry of the log that is applied", &|folder| {
            let (path, at) = find(&folder.segments(), "message 100:");
            overwrite(&path, at, 8);
        }),
    ];
    for (what, damage) in stories {
        let folder = filled();
        damage(&folder);
        let storage = open(&folder.path(), Check::Ends);
        assert_eq!(folder.aside(), [""; 0], "{what}: it is not in the ends");
        let found = inspect(&folder, storage);
        assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{what}: {found:?}");
        suspect_damage(&folder.path(), "what was found").unwrap();
        suspect_damage(&folder.path(), "what else was found").unwrap();
        assert_eq!(suspected(&folder.path()).unwrap().as_deref(), Some("what was found"), "{what}");
        for _ in 0..2 {
            let anew = open(&folder.path(), Check::Ends);
            assert_eq!(folder.aside(), ["chat.db", "log"], "{what}: once");
            assert_eq!(anew.log.end(), Position::ORIGIN, "{what}");
        }
        assert!(!folder.names().iter().any(|name| name.ends_with("suspect")), "{what}: {:?}", folder.names());
    }
}
