//! A large database: a start that follows nothing but the end of a process looks at its ends, and an inspection at the rest.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod folder;
mod pair;

use folder::{Folder, people, write};
use pair::send;
use std::path::{Path, PathBuf};
use store::{Check, LogRetention, Readers, Storage, StoreError, suspect_damage};

const PAGE: usize = 4096;
/// More than is looked at of the end of a log.
const MESSAGES: usize = 11_000;

fn open(path: &Path, how: Check) -> Storage {
    Storage::open(path, LogRetention::keep(1_000_000), Storage::limits(100_000, u64::MAX), how).unwrap()
}

/// Messages in so many bytes that their database is a large one.
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

#[test]
fn what_a_start_left_is_looked_at_piece_by_piece() {
    let folder = filled();
    let storage = open(&folder.path(), Check::Ends);
    let pieces = inspect(&folder, storage).unwrap();
    assert!(pieces > 4 * MESSAGES / 2048, "{pieces}");
    assert!(open(&folder.path(), Check::Whole).inspection.is_none());
}

#[test]
fn damage_that_a_start_left_is_found_beside_serving_and_has_its_consequence_at_the_next_one() {
    type Damage = &'static dyn Fn(&Folder);
    let stories: [(&str, Damage, &[&str]); 2] = [
        (
            "a page of messages",
            &|folder| {
                let (path, at) = find(&[folder.path()], "message 100:");
                overwrite(&path, at / PAGE * PAGE, 8);
            },
            &["chat.db", "log"],
        ),
        (
            "an entry of the log that is applied",
            &|folder| {
                let (path, at) = find(&folder.segments(), "message 100:");
                overwrite(&path, at, 8);
            },
            &["log"],
        ),
    ];
    for (what, damage, aside) in stories {
        let folder = filled();
        damage(&folder);
        let storage = open(&folder.path(), Check::Ends);
        assert_eq!(folder.aside(), [""; 0], "{what}: it is not in the ends");
        let found = inspect(&folder, storage);
        assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{what}: {found:?}");
        suspect_damage(&folder.path()).unwrap();
        suspect_damage(&folder.path()).unwrap();
        drop(open(&folder.path(), Check::Ends));
        assert_eq!(folder.aside(), aside, "{what}");
        drop(open(&folder.path(), Check::Ends));
        assert_eq!(folder.aside(), aside, "{what}: found once");
        assert!(!folder.names().iter().any(|name| name.ends_with("suspect")), "{what}: {:?}", folder.names());
    }
}
