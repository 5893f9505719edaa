//! The write-ahead log of a connection that writes: how long it is, and whether a checkpoint worked all of it into the database.

use rusqlite::hooks::Wal as Written;
use rusqlite::{Connection, Error};
use rustix::fs::statvfs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// It is worked into the database whenever it has this many pages (16 MiB): rarely enough that a page which many messages
/// change is written once for all of them.
const CHECKPOINT_PAGES: i32 = 4096;
/// But no more than this share of a small disk: what it adds to the database must find room there.
const SHARE_OF_THE_DISK: u64 = 16;
/// It is synced whenever this many pages (512 KiB) were added. A checkpoint begins with that sync, and the log beside it on the same
/// disk, for whose syncs clients wait, stood still while 16 MiB were written.
const SYNC_PAGES: i32 = 128;
const PAGE_BYTES: u64 = 4096;
/// A page with what is written before it (<https://sqlite.org/fileformat2.html>, "WAL File Format").
const FRAME_BYTES: i64 = 4096 + 24;

/// How a checkpoint treats others that have the database open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Checkpoint {
    /// It does as much as it can beside them.
    Passive,
    /// Where they let it, the file is empty after it.
    Truncate,
}

/// The write-ahead log of one connection.
#[derive(Debug)]
pub(crate) struct Wal {
    /// How long it was after the last commit.
    pages: Arc<AtomicI32>,
    /// How long it may become.
    pages_max: i32,
    /// How long it was when it was synced last.
    synced: i32,
}

impl Wal {
    /// Follows the commits of a connection, which makes no checkpoints by itself from then on: `SQLite`'s own keep it to
    /// themselves when a sync fails, and the next attempt would pass for whole.
    pub(crate) fn of(connection: &mut Connection, path: &Path) -> Result<Self, Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // A disk that can't be looked at is as large as any.
        let disk = statvfs(folder.unwrap_or(Path::new(".")));
        let bytes = disk.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let wal = Self { pages: Arc::default(), pages_max: pages_max(bytes), synced: 0 };
        connection.pragma_update(None, "journal_size_limit", wal.bytes_kept())?;
        let pages = Arc::clone(&wal.pages);
        connection.wal_hook(Some(move |_: &mut Written, written| {
            pages.store(written, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(wal)
    }

    /// Where a long read, a snapshot or a migration has made it longer than this, it gives the room back when it begins anew: a start
    /// writes all of the file once more. It has twice the room that it needs otherwise, the last transaction included.
    fn bytes_kept(&self) -> i64 {
        2 * i64::from(self.pages_max) * FRAME_BYTES
    }

    /// Its connection is closed.
    pub(crate) fn ends(&mut self) {
        (self.pages, self.synced) = (Arc::default(), 0);
    }

    /// Whether so much was added that it is time to sync it, which the caller does.
    pub(crate) fn begin_sync(&mut self) -> bool {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.synced {
            // A checkpoint has worked it into the database, and it began anew.
            self.synced = 0;
        }
        let is_due = pages - self.synced >= SYNC_PAGES;
        if is_due {
            self.synced = pages;
        }
        is_due
    }

    /// Whether it is so long that a checkpoint is worth it.
    pub(crate) fn is_long(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= self.pages_max
    }
}

/// How many pages are worth a checkpoint on a disk of this size.
fn pages_max(disk_bytes: u64) -> i32 {
    let share = disk_bytes / SHARE_OF_THE_DISK / PAGE_BYTES;
    i32::try_from(share).map_or(CHECKPOINT_PAGES, |share| share.clamp(1, CHECKPOINT_PAGES))
}

/// Works the write-ahead log into the database, and says whether all that was committed is in it now, durably. Another program
/// that checkpoints, or reads what would be overwritten, is no error: there is time.
pub(crate) fn checkpoint(connection: &Connection, how: Checkpoint) -> Result<bool, Error> {
    let pragma = match how {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    // Where it was not even begun, both are -1.
    let (pages, copied): (i32, i32) =
        connection.query_row(pragma, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(pages >= 0 && pages == copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_synced_whenever_much_was_added_also_after_it_began_anew() {
        let mut wal = Wal { pages: Arc::default(), pages_max: CHECKPOINT_PAGES, synced: 0 };
        let lengths = [1, 127, 128, 129, 255, 256, 900, 3, 127, 128, 900, 200, 328];
        let due = lengths.map(|pages| {
            wal.pages.store(pages, Ordering::Relaxed);
            wal.begin_sync()
        });
        let as_told = [false, false, true, false, false, true, true, false, false, true, true, true, true];
        assert_eq!(due, as_told);
    }

    #[test]
    fn what_a_long_read_made_of_it_is_given_back_when_it_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let open = || {
            let connection = Connection::open(&path).unwrap();
            connection.pragma_update(None, "journal_mode", "WAL").unwrap();
            connection
        };
        let (mut writer, mut reader) = (open(), open());
        let wal = Wal::of(&mut writer, &path).unwrap();
        let limit = u64::try_from(wal.bytes_kept()).unwrap();
        let length = || std::fs::metadata(folder.path().join("chat.db-wal")).unwrap().len();
        writer.execute_batch("CREATE TABLE t (content BLOB)").unwrap();
        let read = reader.transaction().unwrap();
        read.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [wal.bytes_kept()]).unwrap();
        assert!(!checkpoint(&writer, Checkpoint::Passive).unwrap(), "what the reader has not seen stays");
        assert!(wal.is_long() && length() > limit);
        read.commit().unwrap();
        assert!(checkpoint(&writer, Checkpoint::Passive).unwrap());
        writer.execute("DELETE FROM t", []).unwrap();
        assert!(length() <= limit, "{} of {limit}", length());
    }

    #[test]
    fn on_a_small_disk_a_checkpoint_comes_sooner() {
        let cases = [(u64::MAX, 4096), (1 << 40, 4096), (256 << 20, 4096), (40 << 20, 640), (0, 1)];
        for (bytes, pages) in cases {
            assert_eq!(pages_max(bytes), pages, "a disk of {bytes} bytes");
        }
    }
}
