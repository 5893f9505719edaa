//! Lock files: which process holds one, and what stands in it.

use protocol::{FileIdentity, Incarnation, LockRecord};

/// The lock file that a folder has.
#[derive(Clone, Debug)]
pub(crate) struct LockFile {
    pub(crate) file: FileIdentity,
    record: Option<LockRecord>,
}

impl LockFile {
    pub(crate) const fn new(number: u64) -> Self {
        Self { file: FileIdentity { device: 1, inode: number, born: 0 }, record: None }
    }

    /// A process has started here.
    pub(crate) fn take(&mut self, process: Incarnation) {
        self.record = Some(LockRecord::next(self.record.take(), self.file, process));
    }

    /// Another file takes its place: one with the same content, or an empty one.
    pub(crate) fn replace(&mut self, number: u64, copied: bool) {
        let record = self.record.take().filter(|_| copied);
        *self = Self { record, ..Self::new(number) };
    }

    /// Whether this file's lock, once it is obtained, proves the death of that process.
    pub(crate) fn proves_death(&self, process: Incarnation) -> bool {
        self.record.as_ref().is_some_and(|record| record.proves_death(self.file, process))
    }
}
