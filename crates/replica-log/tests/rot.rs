//! Bits that rot: every byte of every file of a log, one after another.
//!
//! What was synced and does not read as it was written is damage. Only the last group can't be told from a torn end, unless
//! the header of its segment says that it was synced. And a record that is read is one that was written, at its place.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{append, append_all, files_of, fresh, open, rot, segment, word, word_at_rest};
use files::ForgetfulFiles;
use protocol::Op;
use replica_log::LogError;

const HEADER: usize = 4096;
/// What of the header is written.
const HEADER_USED: usize = 164;
/// A group of one entry of 1000 bytes: its header, the entry's length and chain, the record, and what fills it up.
const GROUP: usize = 80 + 36 + 1000;
const STEP: usize = GROUP.next_multiple_of(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The log is read whole.
    Whole,
    /// The last group is cut off.
    Torn,
    /// A start is refused.
    AtStart,
    /// Reading the segment is refused.
    WhenRead,
}

/// What is told of a log that held `whole`, and whose last group held its last entry.
fn told(disk: &ForgetfulFiles, whole: &str) -> Told {
    let before = files_of(disk);
    let at_rest = word_at_rest(disk);
    match open(disk) {
        Err(LogError::Damaged { .. }) => {
            assert_eq!(files_of(disk), before, "nothing was changed");
            assert!(matches!(at_rest, Err(LogError::Damaged { .. })), "and looking tells the same");
            Told::AtStart
        }
        Err(error) => panic!("{error}"),
        Ok(log) => match log.reader().read_after(Op(0), usize::MAX) {
            Err(LogError::Damaged { .. }) => {
                assert!(matches!(at_rest, Err(LogError::Damaged { .. })), "and looking tells the same");
                Told::WhenRead
            }
            Err(error) => panic!("{error}"),
            Ok(_) => {
                let found = word(&log);
                assert_eq!(at_rest.unwrap(), found, "looking tells the same");
                if found == whole {
                    return Told::Whole;
                }
                assert_eq!(found, whole[..whole.len() - 1]);
                Told::Torn
            }
        },
    }
}

#[test]
fn every_bit_that_rots_is_told_by_the_rule() {
    let (disk, mut log) = fresh();
    // One segment is full, the next one has four groups.
    append_all(&mut log, "abcdefghijklmn");
    let groups = |count: usize| HEADER..HEADER + count * STEP;
    for (first, count) in [(1, 10), (11, 4)] {
        let length = 16 << 10;
        assert!(
            files_of(&disk).contains(&(segment(first).file_name().unwrap().to_str().unwrap().into(), length))
        );
        for at in 0..length {
            let in_last = first == 11 && at >= HEADER + (count - 1) * STEP;
            // In a group, what fills it up is not looked at.
            let is_group = groups(count).contains(&at) && (at - HEADER) % STEP < GROUP;
            let expected = match () {
                () if at < HEADER_USED => Told::AtStart,
                () if !is_group => Told::Whole,
                () if first == 1 => Told::WhenRead,
                () if in_last => Told::Torn,
                () => Told::AtStart,
            };
            let disk = disk.durable_copy();
            rot(&disk, &segment(first), at, 1 << (at % 8));
            assert_eq!(told(&disk, "abcdefghijklmn"), expected, "byte {at} of the segment from {first}");
        }
    }
}

#[test]
fn what_the_header_of_a_segment_knows_to_be_synced_is_no_torn_end() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abc");
    drop(open(&disk).unwrap());
    // The start has written the last group into a segment of its own.
    rot(&disk, &segment(3), HEADER + 200, 1);
    assert_eq!(told(&disk, "abc"), Told::AtStart);
}

#[test]
fn a_group_that_is_torn_before_a_damaged_one_does_not_hide_the_damage() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcd");
    // The last group is not whole either, but its header proves that the one before was synced.
    rot(&disk, &segment(1), HEADER + 2 * STEP + 90, 1);
    rot(&disk, &segment(1), HEADER + 3 * STEP + 900, 1);
    assert_eq!(told(&disk, "abcd"), Told::AtStart);
}

#[test]
fn what_lies_behind_a_cut_may_rot() {
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefgh");
    log.cut(disk::position(&log, 4), disk::position(&log, 0)).unwrap();
    append(&mut log, b'E', &[1000]).unwrap();
    for at in HEADER + 3 * STEP..HEADER + 8 * STEP {
        let disk = disk.durable_copy();
        if at < disk::length(&disk, &segment(1)) {
            rot(&disk, &segment(1), at, 1);
        }
        assert_eq!(told(&disk, "abcdE"), Told::Whole, "byte {at}");
    }
}

#[test]
fn a_segment_that_is_shorter_than_it_was_made_is_damaged() {
    use files::Files;
    let (disk, mut log) = fresh();
    append_all(&mut log, "abcdefghijklmn");
    for first in [1, 11] {
        for length in [0, 100, HEADER, HEADER + STEP, HEADER + 2 * STEP + 50] {
            let disk = disk.durable_copy();
            disk.open(&segment(first)).unwrap().truncate(length as u64).unwrap();
            assert_eq!(told(&disk, "abcdefghijklmn"), Told::AtStart, "{length} bytes from {first}");
        }
    }
    let gone = disk.durable_copy();
    gone.remove(&segment(1)).unwrap();
    let log = open(&gone).unwrap();
    assert_eq!((log.base().op, word(&log)), (Op(10), "klmn".into()), "an older segment is missing");
}
