//! What proves that a process is dead: the lock of the very file that this process held.
//!
//! A process holds the lock of a file for as long as it lives, and writes into that file which file it is and who it is. As
//! long as it lives, no other file has the same identity (the kernel gives an inode number to another file only once no process
//! has it open), so a lock that was obtained proves its death if the file is the one that its own record describes. The
//! lock of a copy, or of a file that was made anew in the place of a removed one, proves nothing of it.

use crate::identity::Incarnation;
use alloc::vec::Vec;

/// Processes that are remembered, newest last. An older one than that proves nothing any more, and a lease is waited out.
const HOLDERS_MAX: usize = 64;

/// What tells a file from every other file that exists at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The device that it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system does not tell.
    pub born: u64,
}

/// What stands in a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockRecord {
    /// The file that the processes below have held; the file in which this stands, unless it is a copy.
    pub file: FileIdentity,
    /// The processes that have held its lock, one after the other.
    pub holders: Vec<Incarnation>,
}

impl LockRecord {
    /// What a process writes that has obtained the lock of `file`, in which `found` stood.
    #[must_use]
    pub fn next(found: Option<Self>, file: FileIdentity, holder: Incarnation) -> Self {
        let mut holders = match found {
            Some(found) if found.file == file => found.holders,
            _ => Vec::new(),
        };
        holders.push(holder);
        holders.drain(..holders.len().saturating_sub(HOLDERS_MAX));
        Self { file, holders }
    }

    /// Whether the lock of `locked`, in which this stood when it was obtained, proves that `process` is dead.
    pub fn proves_death(&self, locked: FileIdentity, process: Incarnation) -> bool {
        self.file == locked && self.holders.contains(&process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn file(inode: u64) -> FileIdentity {
        FileIdentity { device: 1, inode, born: 5 }
    }

    #[test]
    fn a_lock_proves_the_death_of_those_who_held_this_very_file() {
        let [first, second, third] = [Incarnation(1), Incarnation(2), Incarnation(3)];
        let record = LockRecord::next(None, file(7), first);
        let record = LockRecord::next(Some(record), file(7), second);
        let cases = [
            ("the last that held it", file(7), second, true),
            ("one before", file(7), first, true),
            ("a process that never held it", file(7), third, false),
            ("a copy of the file", file(8), first, false),
            ("the same number on another device", FileIdentity { device: 2, ..file(7) }, first, false),
            ("the number given to a newer file", FileIdentity { born: 6, ..file(7) }, first, false),
        ];
        for (case, locked, process, expected) in cases {
            assert_eq!(record.proves_death(locked, process), expected, "{case}");
        }
        let copied = LockRecord::next(Some(record), file(8), third);
        assert!(copied.proves_death(file(8), third));
        assert!(!copied.proves_death(file(8), first), "who held the original may hold it still");
    }

    #[test]
    fn old_holders_are_forgotten() {
        let mut record = None;
        for holder in 1..=100 {
            record = Some(LockRecord::next(record, file(7), Incarnation(holder)));
        }
        let record = record.unwrap();
        let proven = |holder| record.proves_death(file(7), Incarnation(holder));
        assert_eq!((record.holders.len(), proven(36), proven(37), proven(100)), (64, false, true, true));
    }
}
