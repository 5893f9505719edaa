//! What a log promises, rule by rule.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{
    DATABASE, LIMITS, append, append_all, create, entries_after, files_of, folder, fresh, open, position,
    segment, word, word_at_rest,
};
use files::{Files, ForgetfulFiles};
use protocol::{Chain, DatabaseId, Op, Position};
use replica_log::{Limits, Log, LogError, look};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

#[test]
fn what_was_appended_is_there_after_a_start_whatever_the_power_leaves() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abc");
    let committed = position(&log, 2);
    log.append(&entries_after(log.end(), b'd', &[10, 0, 5000]), committed).unwrap();
    let end = log.end();
    for disk in disk.after_power_loss() {
        let log = open(&disk).unwrap();
        assert_eq!(word(&log), "abcd-d");
        assert_eq!((log.base(), log.end(), log.committed()), (Position::ORIGIN, end, committed));
    }
}

#[test]
fn a_group_costs_one_write_and_one_sync() {
    let (disk, mut log) = fresh();
    for (calls, appended) in [(2, true), (1, false)] {
        disk.fail_after(calls);
        assert_eq!(append(&mut log, b'a', &[100, 3000, 100]).is_ok(), appended, "with {calls} calls");
    }
}

#[test]
fn a_torn_group_is_cut_off_and_nothing_of_it_comes_back() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "ab");
    let entries = entries_after(log.end(), b'x', &[4000, 4000, 600]);
    disk.fail_after(1);
    log.append(&entries, Position::ORIGIN).unwrap_err();
    let found = disk.after_power_loss();
    assert!(found.len() >= 6, "whole, gone and torn");
    let mut words: Vec<String> = found
        .iter()
        .map(|disk| {
            let mut log = open(disk).unwrap();
            let found = word(&log);
            // The next group is shorter: what is left of the torn one lies behind it.
            append_all(&mut log, "c");
            assert_eq!(word(&open(disk).unwrap()), format!("{found}c"));
            found
        })
        .collect();
    words.sort();
    words.dedup();
    assert_eq!(words, ["ab", "abxxx"]);
}

#[test]
fn a_sync_that_fails_closes_the_log_until_it_is_repaired() {
    for failing in [0, 1] {
        let (disk, mut log) = fresh();
        append_all(&mut log, "ab");
        let failed = entries_after(log.end(), b'x', &[9000]);
        let next = entries_after(failed[0].position(), b'y', &[1]);
        disk.fail_one_after(failing, ErrorKind::Other);
        assert!(matches!(log.append(&failed, log.committed()), Err(LogError::File { .. })));
        assert!(matches!(log.append(&failed, log.committed()), Err(LogError::Closed { .. })));
        assert!(matches!(log.append(&next, failed[0].position()), Err(LogError::Closed { .. })));
        assert_eq!(word(&log), "ab", "what failed is not in the log");
        log.repair().unwrap();
        log.repair().unwrap();
        for disk in disk.after_power_loss() {
            assert_eq!(word(&open(&disk).unwrap()), "ab", "and it does not come back");
        }
        append_all(&mut log, "c");
        assert_eq!(word(&open(&disk).unwrap()), "abc");
    }
}

#[test]
fn what_a_start_reads_is_durable_even_if_its_sync_had_failed() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "ab");
    disk.fail_one_after(1, ErrorKind::Other);
    append(&mut log, b'x', &[9000]).unwrap_err();
    // The process ends here: the next one finds the group in memory.
    let log = open(&disk).unwrap();
    assert_eq!(word(&log), "abx");
    for disk in disk.after_power_loss() {
        assert_eq!(word(&open(&disk).unwrap()), "abx");
    }
}

#[test]
fn a_full_disk_is_told_from_other_faults_and_loses_nothing() {
    for how in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        // A segment is full, and the calls that make the next one fail, one after another.
        for call in 0..7 {
            let (disk, mut log) = fresh();
            append_all(&mut log, "abcdefghij");
            let entries = entries_after(log.end(), b'x', &[1000]);
            disk.fail_one_after(call, how);
            let error = log.append(&entries, Position::ORIGIN).unwrap_err();
            assert!(matches!(error, LogError::Full { .. }), "call {call}: {error}");
            disk.fail_one_after(0, how);
            let error = log.repair().unwrap_err();
            assert!(matches!(error, LogError::Full { .. }), "call {call}: {error}");
            log.repair().unwrap();
            let drafts = files_of(&disk).iter().filter(|(name, _)| name.starts_with("draft-")).count();
            assert_eq!(drafts, 0, "call {call}: what is of no use takes no room");
            log.append(&entries, Position::ORIGIN).unwrap();
            for disk in disk.after_power_loss() {
                assert_eq!(word(&open(&disk).unwrap()), "abcdefghijx", "call {call}");
            }
        }
    }
}

#[test]
fn a_group_that_is_longer_than_a_segment_gets_one_of_its_own() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "a");
    append(&mut log, b'x', &[100_000, 1]).unwrap();
    append_all(&mut log, "b");
    assert_eq!(word(&log), "axxb");
    assert_eq!(word(&open(&disk).unwrap()), "axxb");
    assert!(files_of(&disk).iter().any(|(_, length)| (100_000..110_000).contains(length)));
}

#[test]
fn a_log_is_cut_to_any_position_that_it_holds() {
    // Segments of ten groups of a kilobyte; one group of three entries ends a segment, another lies within one.
    let whole = "abcdefgxxxhijklmnopqyyyrs";
    for to in 0..whole.len() {
        let (disk, mut log) = fresh();
        append_all(&mut log, "abcdefg");
        append(&mut log, b'x', &[900; 3]).unwrap();
        append_all(&mut log, "hijklmnopq");
        append(&mut log, b'y', &[900; 3]).unwrap();
        append_all(&mut log, "rs");
        assert_eq!(word(&log), whole);
        let to = position(&log, to as u64);
        let left = &whole[..usize::try_from(to.op.0).unwrap()];
        log.cut(to, Position::ORIGIN).unwrap();
        assert_eq!((word(&log).as_str(), log.end()), (left, to));
        append_all(&mut log, "AB");
        for disk in disk.after_power_loss() {
            let log = open(&disk).unwrap();
            assert_eq!(word(&log), format!("{left}AB"), "cut to {to}");
        }
    }
}

#[test]
fn a_log_is_not_cut_to_a_position_that_it_does_not_hold() {
    let (_, mut log) = fresh();
    append_all(&mut log, "abc");
    let other = Position { op: Op(2), chain: Chain([9; 32]) };
    let beyond = entries_after(log.end(), b'd', &[1])[0].position();
    for to in [other, beyond] {
        assert!(matches!(log.cut(to, Position::ORIGIN), Err(LogError::NotHeld { .. })));
    }
    assert_eq!(word(&log), "abc");
    append_all(&mut log, "d");
}

#[test]
#[should_panic(expected = "what is committed is never cut")]
fn what_is_committed_is_never_cut() {
    let (_, mut log) = fresh();
    append_all(&mut log, "abc");
    let _ = log.cut(position(&log, 1), position(&log, 2));
}

#[test]
#[should_panic(expected = "entries follow the end of the log")]
fn entries_of_another_history_are_not_appended() {
    let (_, mut log) = fresh();
    append_all(&mut log, "a");
    let _ =
        log.append(&entries_after(Position { chain: Chain([9; 32]), ..log.end() }, b'b', &[1]), log.base());
}

#[test]
#[should_panic(expected = "what is committed is logged")]
fn a_commit_point_behind_the_entries_is_not_written() {
    let (_, mut log) = fresh();
    let entries = entries_after(log.end(), b'a', &[1, 1]);
    let _ = log.append(&entries[..1], entries[1].position());
}

#[test]
fn cut_torn_started_a_log_has_nothing_of_what_was_cut() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdef");
    log.cut(position(&log, 2), Position::ORIGIN).unwrap();
    disk.fail_after(1);
    append(&mut log, b'x', &[5000]).unwrap_err();
    for disk in disk.after_power_loss() {
        let found = word(&open(&disk).unwrap());
        assert!(["ab", "abx"].contains(&&*found), "{found}");
    }
}

#[test]
fn recycled_torn_started_a_log_has_nothing_of_an_earlier_use() {
    for torn in [0, 1] {
        let (disk, mut log) = fresh();
        append_all(&mut log, "abcdefghijklmnopqrstuvwxyz");
        log.recycle(Op(25));
        let base = log.base();
        assert_eq!(base.op, Op(20), "two segments went");
        // Over what earlier uses have left: equal groups at equal places, at other ops.
        append_all(&mut log, "0123456789");
        disk.fail_after(torn);
        append(&mut log, b'X', &[1000]).unwrap_err();
        for disk in disk.after_power_loss() {
            let log = open(&disk).unwrap();
            let all = "abcdefghijklmnopqrstuvwxyz0123456789X";
            let found = word(&log);
            assert!(all.ends_with(&found) || all[..36].ends_with(&found), "{found}");
            assert_eq!(log.end().op.0, log.base().op.0 + found.len() as u64);
            assert!(log.base().op <= base.op && log.end().op >= Op(36));
        }
    }
}

#[test]
fn cut_recycled_torn_started_a_log_has_nothing_of_what_was_cut() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmnopqrstuvwxyz");
    log.cut(position(&log, 5), Position::ORIGIN).unwrap();
    // The segments that were cut away are used again: what they hold has higher ops than what is written over it.
    append_all(&mut log, "FGHIJKLMNOPQ");
    disk.fail_after(1);
    append(&mut log, b'R', &[1000]).unwrap_err();
    for disk in disk.after_power_loss() {
        let found = word(&open(&disk).unwrap());
        assert!(["abcdeFGHIJKLMNOPQ", "abcdeFGHIJKLMNOPQR"].contains(&&*found), "{found}");
    }
}

#[test]
fn a_commit_point_whose_entries_failed_is_not_kept() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "a");
    let entries = entries_after(log.end(), b'b', &[1]);
    disk.fail_one_after(1, ErrorKind::Other);
    log.append(&entries, entries[0].position()).unwrap_err();
    log.repair().unwrap();
    assert_eq!(log.committed(), Position::ORIGIN);
    assert_eq!(open(&disk).unwrap().committed(), Position::ORIGIN);
}

#[test]
fn a_spare_of_another_length_is_not_used() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghij");
    // A version with longer segments, or one that was ended while it made a spare one, has left it.
    for (name, length) in [("spare-1", 32 << 10), ("spare-2", 5000), ("draft-7", 100)] {
        disk.create(&folder().join(name), length).unwrap();
    }
    for mark in "klmnopqrstu".bytes() {
        log = open(&disk).unwrap();
        append(&mut log, mark, &[1000]).unwrap();
    }
    assert_eq!(word(&open(&disk).unwrap()), "abcdefghijklmnopqrstu");
    assert!(files_of(&disk).iter().all(|(name, _)| !name.contains('-')), "they are removed");
}

#[test]
fn a_segment_goes_when_all_its_entries_may() {
    let (_, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmnopqrstuvwxyz");
    for (below, base) in [(0, 0), (9, 0), (10, 10), (19, 10), (20, 20), (26, 20)] {
        log.recycle(Op(below));
        assert_eq!(log.base().op, Op(base), "below {below}");
    }
    assert_eq!(word(&log), "uvwxyz");
}

#[test]
fn at_most_two_spare_segments_are_kept_and_they_are_used_again() {
    let spares =
        |disk: &ForgetfulFiles| files_of(disk).iter().filter(|(name, _)| name.starts_with("spare-")).count();
    let (disk, mut log) = fresh();
    let letters: Vec<u8> = (0..60).map(|number| b'A' + number).collect();
    append_all(&mut log, &String::from_utf8(letters).unwrap());
    log.recycle(log.end().op);
    assert_eq!(spares(&disk), 2);
    let files = files_of(&disk).len();
    append_all(&mut log, "0123456789");
    assert_eq!((files_of(&disk).len(), spares(&disk)), (files, 1), "no file was made");
    // A start uses the other one.
    let log = open(&disk).unwrap();
    assert_eq!(spares(&disk), 0);
    log.spares().prepare(|_| ControlFlow::Continue(())).unwrap();
    log.spares().prepare(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(spares(&disk), 1);
}

#[test]
fn a_spare_that_was_prepared_saves_the_append_the_making_of_a_segment() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijk");
    log.spares().prepare(|_| ControlFlow::Continue(())).unwrap();
    // The header, its sync, its name, the folder; the group, its sync.
    disk.fail_after(6);
    append(&mut log, b'l', &[1000]).unwrap();
}

/// 16 MiB that were synced at once held up the syncs of the log for a tenth of a second.
#[test]
fn a_spare_is_made_a_piece_at_a_time_and_has_its_name_when_it_is_whole() {
    let disk = ForgetfulFiles::default();
    let bytes = (2 << 20) - 1000;
    let limits = Limits { segment_bytes: bytes };
    let log = Log::create(Arc::new(disk.clone()), folder(), DATABASE, Position::ORIGIN, limits).unwrap();
    let spares = || -> Vec<usize> {
        let files = files_of(&disk).into_iter();
        files.filter(|(name, _)| name.starts_with("spare")).map(|(_, length)| length).collect()
    };
    let pauses = std::cell::Cell::new(0);
    let pause = |_| {
        pauses.set(pauses.get() + 1);
        assert_eq!(spares(), [], "none is whole yet");
        ControlFlow::Continue(())
    };
    log.spares().prepare(pause).unwrap();
    let whole = usize::try_from(bytes).unwrap();
    assert_eq!((pauses.get(), spares()), (3, vec![whole]));
    for disk in disk.after_power_loss() {
        assert!(files_of(&disk).iter().all(|(name, length)| !name.starts_with("spare") || *length == whole));
    }
}

#[test]
fn a_spare_that_is_given_up_leaves_nothing_and_can_be_made_later() {
    let disk = ForgetfulFiles::default();
    let limits = Limits { segment_bytes: 2 << 20 };
    let log = Log::create(Arc::new(disk.clone()), folder(), DATABASE, Position::ORIGIN, limits).unwrap();
    let before = files_of(&disk);
    log.spares().prepare(|_| ControlFlow::Break(())).unwrap();
    assert_eq!(files_of(&disk), before);
    log.spares().prepare(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(files_of(&disk).len(), before.len() + 1);
}

#[test]
fn the_next_segment_is_prepared_once_half_of_one_is_written() {
    let (_, mut log) = fresh();
    let mut append_while = |half_full| {
        let mut count = 0;
        while log.is_half_full() == half_full {
            append(&mut log, b'a', &[1000]).unwrap();
            count += 1;
        }
        count
    };
    // Of the 16 KiB of a segment the header takes four, and each group a little more than one.
    assert_eq!(append_while(false), 4);
    assert_eq!(append_while(true), 7, "until one did not fit, and began the next segment");
}

#[test]
fn a_hundred_starts_cost_no_more_room_than_some() {
    let (disk, mut log) = fresh();
    for start in 0..100 {
        // At times nothing was written, at times a group, at times some.
        append_all(&mut log, &"abcd"[..start % 5]);
        drop(log);
        log = open(&disk).unwrap();
    }
    assert_eq!(word(&log).len(), 200);
    let written = 200 * 1100;
    let headers = 4096 * files_of(&disk).len();
    let bytes: usize = files_of(&disk).iter().map(|(_, length)| length).sum();
    let whole = usize::try_from(LIMITS.segment_bytes).unwrap();
    assert!(bytes <= written + headers + 4 * whole, "{bytes} bytes");
    for _ in 0..100 {
        open(&disk).unwrap();
    }
    let after: usize = files_of(&disk).iter().map(|(_, length)| length).sum();
    assert!(after <= bytes, "starts alone cost nothing: {after} bytes");
}

#[test]
fn a_log_belongs_to_one_database() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abc");
    let other = DatabaseId([8; 16]);
    let before = files_of(&disk);
    let opened = Log::open(Arc::new(disk.clone()), folder(), other, LIMITS);
    assert!(matches!(opened, Err(LogError::OtherDatabase { found: DATABASE, .. })));
    assert_eq!(files_of(&disk), before, "nothing was changed");
    assert!(matches!(open(&ForgetfulFiles::default()), Err(LogError::Missing { .. })));
}

#[test]
fn whenever_the_power_fails_a_log_that_is_created_over_another_is_there_or_the_other_is() {
    let other = DatabaseId([8; 16]);
    // At another op, and at one whose file the old log has too.
    for base in [Position { op: Op(70), chain: Chain([3; 32]) }, Position::ORIGIN] {
        for calls in 0..20 {
            let (disk, mut log) = fresh();
            append_all(&mut log, "abcdefghijklmnopqrstuvwxyz");
            disk.fail_after(calls);
            let created = Log::create(Arc::new(disk.clone()), folder(), other, base, LIMITS);
            for disk in disk.after_power_loss() {
                match open(&disk) {
                    Ok(log) => {
                        assert!(created.is_err(), "the old log is void");
                        assert_eq!(word(&log), "abcdefghijklmnopqrstuvwxyz");
                    }
                    Err(LogError::OtherDatabase { found, .. }) => {
                        assert_eq!(found, other);
                        let log = Log::open(Arc::new(disk), folder(), other, LIMITS).unwrap();
                        assert_eq!((log.base(), log.end(), log.committed()), (base, base, base));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn what_a_newer_version_wrote_is_not_touched() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmn");
    let mut newer = b"trilog\0\0".to_vec();
    newer.extend(2_u32.to_le_bytes());
    newer.extend(crc32c::crc32c(&newer).to_le_bytes());
    let file = disk.open(&segment(11)).unwrap();
    file.write_at(&newer, 0).unwrap();
    file.sync().unwrap();
    let before = files_of(&disk);
    let is_newer = |error| matches!(error, LogError::NewerFormat { found: 2, known: 1, .. });
    assert!(is_newer(open(&disk).unwrap_err()));
    assert!(is_newer(create(&disk, Position::ORIGIN).unwrap_err()));
    assert!(is_newer(look(&disk, folder()).unwrap_err()));
    assert_eq!(files_of(&disk), before);
}

#[test]
fn looking_at_a_log_at_rest_changes_nothing() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmnopq");
    log.append(&entries_after(log.end(), b'r', &[1]), position(&log, 15)).unwrap();
    log.recycle(Op(10));
    let (base, end, committed) = (log.base(), log.end(), log.committed());
    disk.fail_after(1);
    append(&mut log, b'x', &[2000]).unwrap_err();
    for disk in disk.after_power_loss() {
        disk.fail_after(0);
        let found = word_at_rest(&disk).unwrap();
        assert!(["klmnopqr", "klmnopqrx"].contains(&&*found), "{found}");
        let log = look(&disk, folder()).unwrap();
        assert_eq!((log.base(), log.database(), log.committed()), (base, DATABASE, committed));
        assert!(log.end().op >= end.op);
        assert_eq!(log.reader().chain_at(end.op).unwrap(), Some(end.chain));
    }
    let none = word_at_rest(&ForgetfulFiles::default());
    assert!(matches!(none, Err(LogError::Missing { .. })));
}

#[test]
fn files_that_no_path_leads_to_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let files: Arc<dyn Files> = Arc::new(files::RealFiles);
    let limits = Limits { segment_bytes: 16 << 10 };
    let log = Log::create(files, &path, DatabaseId([1; 16]), Position::ORIGIN, limits).unwrap();
    let reader = log.reader();
    reader.check_files().unwrap();
    let segment = path.join(format!("{:020}", 1));
    let content = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    assert!(matches!(reader.check_files(), Err(LogError::FilesLost { .. })));
    std::fs::write(&segment, content).unwrap();
    assert!(matches!(reader.check_files(), Err(LogError::FilesLost { .. })), "another file is in its place");
}
