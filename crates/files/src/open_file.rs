//! A file that stays open.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// A file that stays open: read and written at places, by any number of threads.
pub trait OpenFile: Debug + Send + Sync {
    /// Fills `bytes` with what lies from byte `at` on; fails with `UnexpectedEof` if the file ends before.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` from byte `at` on. Not durable; after an error any part of it may be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the content and the length durable (`fdatasync`). After an error nothing that was written since the last sync is
    /// certain, whatever later reads and syncs say.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts off what lies beyond `length` bytes and gives its room back. Not durable.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Whether this path leads to this file: it may have been removed, or another may be in its place.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}
