//! What a disk holds, in three parts: written (a reader sees it), synced (a power failure leaves it), and lost (a reader sees
//! it, and no later sync will make it durable).
//!
//! After a sync has failed, the system counts the pages that it could not write as clean: they read well for as long as they
//! stay in memory, the next sync has nothing to do and succeeds, and a power failure shows what was there before. Only
//! writing them anew helps (Rebello and others: Can Applications Recover from fsync Failures?, USENIX ATC 2020).
//!
//! What is stored does not matter here: it is any value that can be copied.

use std::ops::{Deref, DerefMut};

/// A content in its three parts. It reads as what was written; changing it in place is a write that is synced with it,
/// unless [`Layers::stop_syncing`] was called before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layers<C> {
    written: C,
    /// What a power failure leaves, where that is not all that was written.
    synced: Option<Box<C>>,
    /// A sync has failed since: the next one that succeeds makes nothing of the difference durable.
    lost: bool,
}

impl<C: Clone> Layers<C> {
    /// From here on what is written is not synced.
    pub fn stop_syncing(&mut self) {
        if self.synced.is_none() {
            self.synced = Some(Box::new(self.written.clone()));
        }
    }

    /// A sync has failed: what was written and not synced is lost to all later syncs.
    pub fn fail_to_sync(&mut self) {
        self.lost |= self.synced.is_some();
    }

    /// A sync has succeeded: it makes durable what was written, unless an earlier one has failed.
    pub fn sync(&mut self) {
        if !self.lost {
            self.synced = None;
        }
    }

    /// All of it was written anew, and synced.
    pub fn rewrite(&mut self) {
        (self.synced, self.lost) = (None, false);
    }

    /// What a power failure leaves.
    pub fn durable(&self) -> &C {
        self.synced.as_deref().unwrap_or(&self.written)
    }

    /// The power fails.
    pub fn lose_power(&mut self) {
        if let Some(synced) = self.synced.take() {
            self.written = *synced;
        }
        self.lost = false;
    }
}

impl<C> From<C> for Layers<C> {
    /// All of it is durable.
    fn from(content: C) -> Self {
        Self { written: content, synced: None, lost: false }
    }
}

impl<C> Deref for Layers<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.written
    }
}

impl<C> DerefMut for Layers<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_sync_left_is_read_and_counts_only_once_it_was_written_anew() {
        let mut disk = Layers::from(vec![1]);
        disk.stop_syncing();
        disk.push(2);
        assert_eq!((&*disk, disk.durable()), (&vec![1, 2], &vec![1]), "written");
        disk.sync();
        assert_eq!(disk.durable(), &[1, 2], "synced");
        disk.stop_syncing();
        disk.push(3);
        disk.fail_to_sync();
        disk.push(4);
        disk.sync();
        assert_eq!((&*disk, disk.durable()), (&vec![1, 2, 3, 4], &vec![1, 2]), "lost");
        let mut found = disk.clone();
        found.lose_power();
        assert_eq!(*found, [1, 2]);
        disk.rewrite();
        disk.lose_power();
        assert_eq!(*disk, [1, 2, 3, 4], "written anew");
    }
}
