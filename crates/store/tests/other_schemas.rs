//! What is not brought to the newest schema, and left as it is: what is damaged, newer, or only looked at.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod kept;

use kept::{beside, content, copy_of, kept, one, open};
use protocol::{Chain, Op, Position};
use rusqlite::Connection;
use std::path::Path;
use store::{BEFORE_LOG_SUFFIX, StoreError, open_at_rest};

/// What was done to a file.
type WhatHappened = &'static dyn Fn(&Path);
/// Whether an error is the one that is expected.
type Expected<'a> = &'a dyn Fn(&StoreError) -> bool;

#[test]
fn a_copy_of_something_else_is_not_written_over() {
    let stories: [(u8, WhatHappened); 2] = [
        (6, &|copy| {
            std::fs::copy(kept(6), copy).unwrap();
            Connection::open(copy).unwrap().execute("DELETE FROM log WHERE op = 23", []).unwrap();
        }),
        // Of the same tables, as an earlier version left them.
        (7, &|copy| {
            std::fs::copy(kept(6), copy).unwrap();
        }),
    ];
    for (schema, make) in stories {
        let folder = tempfile::tempdir().unwrap();
        let path = copy_of(schema, folder.path(), "a");
        let copy = beside(&path, BEFORE_LOG_SUFFIX);
        make(&copy);
        let other = std::fs::read(&copy).unwrap();
        drop(open(&path).unwrap());
        assert_eq!(content(&copy), content(&kept(schema)));
        let aside = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> =
            aside.filter(|path| path.to_string_lossy().contains("before-log.older-")).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(std::fs::read(&aside[0]).unwrap(), other);
    }
}

#[test]
fn a_database_that_is_damaged_or_newer_is_left_as_it_is() {
    let damaged = |error: &StoreError| matches!(error, StoreError::Corrupt { .. });
    let newer = |error: &StoreError| matches!(error, StoreError::NewerSchema { found: 11, known: 10, .. });
    let stories: [(u8, &str, Expected<'_>); 12] = [
        (6, "UPDATE messages SET text = 'hello eve' WHERE id = 8", &damaged),
        (6, "UPDATE log SET record = replace(record, 'hello', 'jello') WHERE op = 8", &damaged),
        (6, "DELETE FROM messages WHERE id = 8", &damaged),
        (6, "PRAGMA user_version = 11", &newer),
        (7, "UPDATE messages SET text = 'before' WHERE id = 24", &damaged),
        (7, "UPDATE messages SET sender = 4 WHERE id = 24", &damaged),
        (7, "UPDATE messages SET conversation = zeroblob(16) WHERE id = 24", &damaged),
        (7, "DELETE FROM messages WHERE id = 24", &damaged),
        (7, "UPDATE base SET op = 1", &damaged),
        (7, "UPDATE base SET chain = zeroblob(32)", &damaged),
        (7, "DELETE FROM log WHERE op = 26", &damaged),
        (7, "DELETE FROM log WHERE op = 25", &damaged),
    ];
    for (schema, story, expected) in stories {
        let folder = tempfile::tempdir().unwrap();
        let path = copy_of(schema, folder.path(), "a");
        Connection::open(&path).unwrap().execute_batch(story).unwrap();
        let before = content(&path);
        let error = open(&path).unwrap_err();
        assert!(expected(&error), "{story}: {error}");
        assert_eq!(content(&path), before, "{story}");
        assert!(!beside(&path, BEFORE_LOG_SUFFIX).exists(), "{story}");
    }
}

#[test]
fn a_database_that_is_only_looked_at_is_not_brought_to_the_newest_schema() {
    let folder = tempfile::tempdir().unwrap();
    for schema in 1..=9 {
        let path = copy_of(schema, folder.path(), &schema.to_string());
        let before = content(&path);
        let error = open_at_rest(&path).unwrap_err();
        let older =
            matches!(error, StoreError::OlderSchema { found, known: 10, .. } if found == i64::from(schema));
        assert!(older, "{error}");
        assert_eq!(content(&path), before, "schema {schema}");
        drop(open(&path).unwrap());
        open_at_rest(&path).unwrap();
    }
    let path = copy_of(6, folder.path(), "newer");
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 11").unwrap();
    assert!(matches!(open_at_rest(&path).unwrap_err(), StoreError::NewerSchema { found: 11, .. }));
}

/// A record of a version that is to come.
#[derive(Clone, Debug)]
struct Later;

impl protocol::Record for Later {
    fn encoded(&self) -> &[u8] {
        &[8, 2, 16, 1]
    }
}

#[test]
fn an_entry_of_a_newer_version_in_a_log_that_is_a_table_is_said_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy_of(7, folder.path(), "a");
    let chain: Vec<u8> = one(&path, "SELECT chain FROM log WHERE op = 26");
    let entry = Position { op: Op(26), chain: Chain(chain.try_into().unwrap()) }.follow(Later);
    let record = protocol::Record::encoded(&entry.record).to_vec();
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO log VALUES (27, ?1, ?2)", rusqlite::params![entry.chain.0, record])
        .unwrap();
    let before = content(&path);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NewerRecord { op: Op(27), .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("a newer version of the program wrote the record"), "{said}");
    assert_eq!(content(&path), before);
}
