//! A story of a log in which the power fails before each call, and again before each call of the start after that.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{append, create, open, position, word};
use files::ForgetfulFiles;
use protocol::{Op, Position};
use replica_log::{Log, LogError};
use std::io::ErrorKind;
use std::ops::ControlFlow;

type Act = fn(&ForgetfulFiles, &mut Log) -> Result<(), LogError>;

/// What is done, and the whole history after it. Segments have room for two of these groups.
const STORY: [(&str, Act, &str); 15] = [
    ("append", |_, log| append(log, b'a', &[5000]), "a"),
    ("append", |_, log| append(log, b'b', &[2000, 2500]), "abb"),
    ("append, the segment is full", |_, log| append(log, b'c', &[5000]), "abbc"),
    ("prepare", |_, log| log.spares().prepare(|_| ControlFlow::Continue(())), "abbc"),
    ("append", |_, log| append(log, b'd', &[5000]), "abbcd"),
    ("append, the spare is used", |_, log| append(log, b'e', &[5000]), "abbcde"),
    ("cut within a group", |_, log| log.cut(position(log, 2), Position::ORIGIN), "ab"),
    ("append", |_, log| append(log, b'f', &[5000]), "abf"),
    ("append, the segment is full", |_, log| append(log, b'g', &[5000]), "abfg"),
    ("a failed sync, and repair", repair, "abfg"),
    ("append", |_, log| append(log, b'h', &[3000]), "abfgh"),
    ("recycle", recycle, "abfgh"),
    ("append in a recycled segment", |_, log| append(log, b'i', &[5000]), "abfghi"),
    ("append, longer than a segment", |_, log| append(log, b'j', &[20_000]), "abfghij"),
    ("append", |_, log| append(log, b'k', &[10]), "abfghijk"),
];

fn repair(disk: &ForgetfulFiles, log: &mut Log) -> Result<(), LogError> {
    disk.fail_one_after(1, ErrorKind::Other);
    append(log, b'X', &[3000]).unwrap_err();
    disk.fail_no_more();
    log.repair()
}

fn recycle(disk: &ForgetfulFiles, log: &mut Log) -> Result<(), LogError> {
    log.recycle(Op(3));
    // It tells no faults; the disk does.
    if disk.is_dead() { Err(LogError::Missing { folder: disk::folder().into() }) } else { Ok(()) }
}

/// Runs the story until the power fails, if it does. Returns the histories that may be found, with a write that failed too;
/// none if the power fails before there is a log.
fn run(disk: &ForgetfulFiles) -> Option<Vec<String>> {
    let mut log = create(disk, Position::ORIGIN).ok()?;
    let mut last = "";
    for (_, act, after) in &STORY[..] {
        if act(disk, &mut log).is_err() {
            return Some(vec![last.into(), (*after).into(), format!("{last}X")]);
        }
        last = after;
    }
    Some(vec![last.into()])
}

fn check(disk: &ForgetfulFiles, allowed: &[String], calls: usize) -> String {
    let log = open(disk).unwrap_or_else(|error| panic!("after {calls} calls: {error}"));
    let found = word(&log);
    let history =
        allowed.iter().find(|history| history.ends_with(&found) && history.len() as u64 == log.end().op.0);
    assert!(log.base().op <= Op(3), "only what was recycled is gone");
    history.unwrap_or_else(|| panic!("after {calls} calls: {found}, and not one of {allowed:?}")).clone()
}

#[test]
fn whenever_the_power_fails_a_start_finds_what_was_synced_and_the_next_start_finds_the_same() {
    let mut ends = 0;
    for calls in 0.. {
        let disk = ForgetfulFiles::failing_after(calls);
        let Some(allowed) = run(&disk) else { continue };
        let dead = disk.is_dead();
        for (number, found) in disk.after_power_loss().into_iter().enumerate() {
            for again in 0..12 {
                let found = found.durable_copy();
                found.fail_after(again);
                drop(open(&found));
                let found = found.one_after_power_loss((number * 12 + again) as u64);
                let history = check(&found, &allowed, calls);
                // What a start has shown, the next one shows too.
                let found = found.one_after_power_loss(again as u64);
                assert_eq!(check(&found, std::slice::from_ref(&history), calls), history);
            }
        }
        if !dead {
            ends = calls;
            break;
        }
    }
    assert!(ends > 40, "the story has {ends} calls");
}
