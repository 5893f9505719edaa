//! The bytes of one file on a disk that forgets.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// What a system writes to a disk at once, if nothing goes wrong.
const PAGE_BYTES: usize = 4096;
/// What a disk writes at once in any case.
const SECTOR_BYTES: usize = 512;

/// What a power failure does to a page that is not certainly on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The disk has what it had before.
    Lost,
    /// The disk has it.
    Kept,
    /// This number of eighths of it, rounded down to a sector, are on the disk, and behind them what it had before.
    Torn(usize),
}

/// A file's bytes: as they are read, and as the disk certainly has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The pages that were written since the last sync.
    dirty: BTreeSet<usize>,
    /// The pages that a failed sync has left: they read as they were written, no later sync writes them, and the disk may
    /// have them or not.
    abandoned: BTreeSet<usize>,
}

impl Content {
    /// A file with these bytes, not synced.
    pub(super) fn unsynced(now: Vec<u8>) -> Self {
        let mut content = Self { now, ..Self::default() };
        content.touch(0, content.now.len());
        content
    }

    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    /// Which pages may differ from what the disk has.
    pub(super) fn uncertain(&self) -> Vec<usize> {
        self.dirty.union(&self.abandoned).copied().collect()
    }

    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let found = usize::try_from(at).ok().and_then(|at| self.now.get(at..at.checked_add(bytes.len())?));
        bytes.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| ErrorKind::FileTooLarge)?;
        let end = at + bytes.len();
        if self.now.len() < end {
            self.touch(self.now.len(), end);
            self.now.resize(end, 0);
        }
        self.now[at..end].copy_from_slice(bytes);
        self.touch(at, end);
        Ok(())
    }

    pub(super) fn truncate(&mut self, length: u64) {
        let length = usize::try_from(length).map_or(self.now.len(), |length| length.min(self.now.len()));
        self.now.truncate(length);
        for pages in [&mut self.dirty, &mut self.abandoned] {
            pages.retain(|page| page * PAGE_BYTES < length);
        }
    }

    /// A sync that succeeds. It writes what it believes to be unwritten, and no more.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let end = self.now.len().min((page + 1) * PAGE_BYTES);
            self.durable[page * PAGE_BYTES..end].copy_from_slice(&self.now[page * PAGE_BYTES..end]);
            self.abandoned.remove(&page);
        }
    }

    /// A sync that fails: the system gives up the pages that it could not write, and counts them as written.
    pub(super) fn fail_sync(&mut self) {
        self.abandoned.append(&mut self.dirty);
    }

    /// What is found after a power failure. `fate` is told which of how many uncertain pages it is; a length that was made
    /// shorter and not synced counts as one more, the last.
    pub(super) fn left(&self, fate: impl Fn(usize, usize) -> Fate) -> Self {
        let uncertain = self.uncertain();
        let shorter = self.now.len() < self.durable.len();
        let count = uncertain.len() + usize::from(shorter);
        let mut left = self.durable.clone();
        for (number, page) in uncertain.iter().enumerate() {
            let begin = page * PAGE_BYTES;
            let written = &self.now[begin..self.now.len().min(begin + PAGE_BYTES)];
            let kept = match fate(number, count) {
                Fate::Lost => continue,
                Fate::Kept => written.len(),
                Fate::Torn(eighths) => {
                    let part = written.len() * eighths / 8;
                    if written.len() > SECTOR_BYTES { part - part % SECTOR_BYTES } else { part }
                }
            };
            if left.len() < begin + kept {
                left.resize(begin + kept, 0);
            }
            left[begin..begin + kept].copy_from_slice(&written[..kept]);
        }
        if shorter && fate(count - 1, count) == Fate::Kept {
            left.truncate(self.now.len());
        }
        Self { now: left.clone(), durable: left, ..Self::default() }
    }

    fn touch(&mut self, from: usize, to: usize) {
        if from < to {
            self.dirty.extend(from / PAGE_BYTES..=(to - 1) / PAGE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: usize = 3;

    /// A synced file of ones, over which twos were written.
    fn rewritten() -> Content {
        let mut content = Content::unsynced(vec![1; PAGES * PAGE_BYTES]);
        content.sync();
        content.write_at(&[2; PAGES * PAGE_BYTES], 0).unwrap();
        content
    }

    #[test]
    fn each_page_that_was_not_synced_has_a_fate_of_its_own() {
        let left = rewritten().left(|page, _| [Fate::Kept, Fate::Lost, Fate::Torn(3)][page]);
        let pages: Vec<&[u8]> = left.now().chunks(PAGE_BYTES).collect();
        assert_eq!(pages[0], [2; PAGE_BYTES], "kept");
        assert_eq!(pages[1], [1; PAGE_BYTES], "lost");
        assert_eq!(pages[2][..3 * SECTOR_BYTES], [2; 3 * SECTOR_BYTES], "torn: its beginning");
        assert_eq!(pages[2][3 * SECTOR_BYTES..], [1; 5 * SECTOR_BYTES], "torn: its end");
    }

    #[test]
    fn what_a_failed_sync_has_left_is_read_back_and_not_written_by_the_next_sync() {
        let mut content = rewritten();
        content.fail_sync();
        content.write_at(&[3], 0).unwrap();
        content.sync();
        assert_eq!(content.now()[PAGE_BYTES], 2, "it is read back");
        let left = content.left(|_, _| Fate::Lost);
        assert_eq!(left.now()[..2], [3, 2], "the page that was written again is on the disk");
        assert_eq!(left.now()[PAGE_BYTES], 1, "the others are not");
    }

    #[test]
    fn a_shorter_length_may_be_forgotten() {
        let mut content = rewritten();
        content.sync();
        content.truncate(5);
        assert_eq!(content.left(|_, _| Fate::Kept).now().len(), 5);
        assert_eq!(content.left(|_, _| Fate::Lost).now().len(), PAGES * PAGE_BYTES);
        content.sync();
        assert_eq!(content.left(|_, _| Fate::Lost).now().len(), 5);
    }

    #[test]
    fn no_byte_is_read_beyond_the_end() {
        let read = |at| Content::unsynced(vec![1; 4]).read_at(&mut [0; 2], at).map_err(|error| error.kind());
        assert_eq!(read(2), Ok(()));
        assert_eq!(read(3), Err(ErrorKind::UnexpectedEof));
        assert_eq!(read(u64::MAX), Err(ErrorKind::UnexpectedEof));
    }
}
