//! A replica's folder, and what is written to its log and its tables.

#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::pair::{account, create, decided, open_session, request, send};
use chat::{Action, Request};
use replica_log::Limits;
use std::path::PathBuf;
use store::{Check, LogRetention, Storage, StoreError, log_folder};

/// Segments that are soon full.
pub(crate) const LIMITS: Limits = Limits { segment_bytes: 8 << 10 };

/// A replica's folder.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("replica-0/chat.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        log_folder(&self.path())
    }

    pub(crate) fn open(&self) -> Storage {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Storage, StoreError> {
        Storage::open(&self.path(), LogRetention::keep(1000), LIMITS, Check::Whole)
    }

    pub(crate) fn sql(&self, change: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(change).unwrap();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path().parent().unwrap()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What was moved aside, without the times.
    pub(crate) fn aside(&self) -> Vec<String> {
        let names = self.names().into_iter().filter(|name| name.contains(".damaged-"));
        let mut names: Vec<_> =
            names.map(|name| name.split(".damaged-").next().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The segments of the log, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok();
        let mut segments: Vec<_> = names.filter(is_segment).collect();
        segments.sort();
        segments
    }
}

/// Decides, logs and applies requests, as one batch.
pub(crate) fn write(storage: &mut Storage, requests: &[Request]) {
    let before = storage.writer.state().applied;
    let executed = decided(&storage.writer, requests);
    assert!(executed.outcomes.iter().flatten().all(Result::is_ok), "{:?}", executed.outcomes);
    storage.log.append(&executed.entries, before).unwrap();
    storage.writer.apply(&executed.entries).unwrap();
}

/// Alice has session 1 and bob is there: the log ends at op 4.
pub(crate) fn people(storage: &mut Storage) {
    write(storage, &[request(Action::BeginHistory)]);
    write(storage, &[create("alice"), create("bob")]);
    let alice = Ok(chat::Answer::AccountCreated { account: chat::AccountId(2) });
    write(storage, &[open_session(account(&alice), "alice", 1)]);
}

/// A folder whose log ends at op 7, with messages at the ops from 5 on.
pub(crate) fn filled() -> (Folder, Storage) {
    let folder = Folder::new();
    let mut storage = folder.open();
    people(&mut storage);
    for text in ["one", "two", "three"] {
        write(&mut storage, &[send(1, "bob", text)]);
    }
    (folder, storage)
}
