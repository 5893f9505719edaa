//! What a database remembers of views, wherever the power fails: in its tables, and before that in a file beside its log.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod folder;
mod pair;

use folder::{Folder, LIMITS, filled};
use protocol::{Incarnation, Memory, Op, Proposer, RegisterId, ReplicaIndex, ReplicaSet, View, ViewNumber};
use std::path::Path;
use store::{Storage, StoreError};

fn memory(register: u8, number: u64) -> Memory {
    let index = ReplicaIndex(1);
    let view = View {
        number: ViewNumber(number),
        members: Vec::new(),
        in_sync: ReplicaSet::EMPTY.with(index),
        op: Op(1),
        proposed_by: Proposer { index, incarnation: Incarnation(7), attempt: 0 },
    };
    Memory { register: RegisterId([register; 16]), complete: view.number, view }
}

/// The tables as a power failure leaves them that takes what was not synced: as they were before.
struct Before(Vec<(std::path::PathBuf, Vec<u8>)>);

impl Before {
    fn of(path: &Path) -> Self {
        let names = ["chat.db", "chat.db-wal"].map(|name| path.with_file_name(name));
        Self(names.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect())
    }

    fn comes_back(&self) {
        for (file, content) in &self.0 {
            std::fs::write(file, content).unwrap();
        }
    }
}

/// Remembers these, one after the other; after the first the power fails, and takes what the tables have got since.
fn found_after(remembered: &[Memory], then: impl FnOnce(&Folder)) -> (Option<Memory>, Option<Memory>) {
    let (folder, mut storage) = filled();
    storage.writer.remember(&remembered[0]).unwrap();
    let before = Before::of(&folder.path());
    for memory in &remembered[1..] {
        storage.writer.remember(memory).unwrap();
        assert_eq!(storage.writer.memory().unwrap().as_ref(), Some(memory), "the tables have it too");
    }
    drop(storage);
    before.comes_back();
    then(&folder);
    let found = folder.open().writer.memory().unwrap();
    // And no other power failure takes it again.
    std::fs::remove_dir_all(folder.log()).unwrap();
    (found, folder.open().writer.memory().unwrap())
}

#[test]
fn a_newer_view_is_found_beside_the_log_where_the_tables_have_lost_it() {
    let views = [memory(1, 3), memory(1, 4), memory(1, 5)];
    let found = found_after(&views, |_| ());
    assert_eq!(found, (Some(memory(1, 5)), Some(memory(1, 5))));
}

#[test]
fn it_is_taken_up_before_a_damaged_log_leaves_with_it() {
    let views = [memory(1, 3), memory(1, 4)];
    let (found, _) = found_after(&views, |folder| {
        let segment = folder.segments().pop().unwrap();
        std::fs::write(segment, "damaged").unwrap();
    });
    assert_eq!(found, Some(memory(1, 4)));
}

#[test]
fn another_register_and_a_database_that_remembers_nothing_have_begun_anew() {
    let (folder, mut storage) = filled();
    storage.writer.remember(&memory(1, 3)).unwrap();
    storage.writer.remember(&memory(1, 9)).unwrap();
    storage.writer.remember(&memory(2, 4)).unwrap();
    drop(storage);
    let storage = folder.open();
    assert_eq!(storage.writer.memory().unwrap(), Some(memory(2, 4)), "though its number is lower");
    drop(storage);
    folder.sql("DELETE FROM remembered; DELETE FROM remembered_members");
    assert_eq!(folder.open().writer.memory().unwrap(), None);
}

#[test]
fn it_is_found_after_a_repair_that_lost_it_from_the_tables() {
    let (folder, mut storage) = filled();
    storage.writer.remember(&memory(1, 3)).unwrap();
    let before = Before::of(&folder.path());
    storage.writer.remember(&memory(1, 4)).unwrap();
    storage.writer.distrust();
    before.comes_back();
    storage.writer.repair().unwrap();
    assert_eq!(storage.writer.memory().unwrap(), Some(memory(1, 4)));
    storage.writer.remember(&memory(1, 5)).unwrap();
    drop(storage);
    before.comes_back();
    assert_eq!(folder.open().writer.memory().unwrap(), Some(memory(1, 5)), "it goes on in the file");
}

#[test]
fn what_a_newer_version_has_written_is_left_as_it_is() {
    let (folder, mut storage) = filled();
    storage.writer.remember(&memory(1, 3)).unwrap();
    drop(storage);
    let file = folder.log().join("remembered");
    let mut bytes = b"trimem\0\0\x02\0\0\0".to_vec();
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.resize(8192, 0);
    std::fs::write(&file, &bytes).unwrap();
    let error = Storage::open_undamaged(&folder.path(), LIMITS).unwrap_err();
    assert!(matches!(error, StoreError::Log(_)), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

/// A folder that is put back from a copy while a replica runs has the same database, and must not remember what that replica does.
#[test]
fn a_copy_that_is_put_in_the_place_of_the_folder_gets_nothing() {
    let (folder, mut storage) = filled();
    storage.writer.remember(&memory(1, 3)).unwrap();
    let replica = folder.path().parent().unwrap().to_owned();
    let aside = replica.with_file_name("aside");
    std::fs::rename(&replica, &aside).unwrap();
    std::fs::create_dir_all(folder.log()).unwrap();
    for (from, to) in [(aside.clone(), replica), (aside.join("log"), folder.log())] {
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let before = std::fs::read(folder.log().join("remembered")).unwrap();
    std::fs::remove_file(folder.log().join("remembered")).unwrap();
    let error = storage.writer.remember(&memory(1, 4)).unwrap_err();
    assert!(matches!(error, StoreError::FilesLost { .. }), "{error}");
    assert!(!folder.log().join("remembered").exists());
    std::fs::write(folder.log().join("remembered"), before).unwrap();
    drop(storage);
    assert_eq!(folder.open().writer.memory().unwrap(), Some(memory(1, 3)));
}

/// What a repair that has failed wrote is not certain: it must not be worked into the database when that is closed.
#[test]
fn a_repair_that_fails_here_leaves_the_write_ahead_log_as_it_is() {
    let (folder, mut storage) = filled();
    storage.writer.remember(&memory(1, 3)).unwrap();
    let file = folder.log().join("remembered");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    storage.writer.repair().unwrap_err();
    let sound = rusqlite::Connection::open(folder.path()).unwrap();
    sound.execute("UPDATE database SET opened = opened + 1", []).unwrap();
    // Its own close leaves the log too: the writer that is distrusted is to be the last.
    sound.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(sound);
    let wal = folder.path().with_file_name("chat.db-wal");
    let before = std::fs::read(&wal).unwrap();
    assert!(!before.is_empty());
    drop(storage);
    assert_eq!(std::fs::read(&wal).unwrap(), before);
    std::fs::remove_dir(&file).unwrap();
    assert_eq!(folder.open().writer.memory().unwrap(), Some(memory(1, 3)));
}
