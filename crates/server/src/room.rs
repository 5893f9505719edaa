//! How much room is left on the disk of a replica. A database that meets a full disk in the middle of its work has failed,
//! and nothing can be read from it before it is repaired; so writes are refused while there is room left.

use crate::config::DATABASE_FILE;
use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is kept free unless the settings say otherwise, in bytes: on a small disk, a sixteenth of it, but room for a few
/// batches.
const RESERVE: u64 = 64 << 20;
const RESERVE_AT_LEAST: u64 = 8 << 20;
const SHARE_OF_A_SMALL_DISK: u64 = 16;

/// For how long it is left open whether another replica is better off: those on the same disk find out at about the same
/// time, and say so.
const DECIDED_AFTER: Duration = Duration::from_secs(3);

/// The room on the disk that holds a folder.
#[derive(Debug)]
pub(crate) struct Room {
    folder: PathBuf,
    reserve: Option<u64>,
    short_since: Option<Instant>,
}

/// The same room for the threads that fill it: what one of them found too little is too little for all of them.
#[derive(Clone, Debug)]
pub(crate) struct SharedRoom(Arc<Mutex<Room>>);

impl SharedRoom {
    pub(crate) fn new(room: Room) -> Self {
        Self(Arc::new(Mutex::new(room)))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomLeft {
    Enough,
    /// Too little, since a moment.
    Short,
    /// Too little, since [`DECIDED_AFTER`]: the replicas that share the disk have said so by now.
    ShortForLong,
}

impl RoomLeft {
    /// What holds for a batch that is executed now. What it writes is refused for want of room only if the core knew of the
    /// full disk before it began the batch, and leads on: until then a replica that has room may be about to take over.
    pub(crate) const fn for_a_batch(self, decided: bool) -> store::Room {
        match (self, decided) {
            (Self::Enough, _) => store::Room::Enough,
            (Self::Short | Self::ShortForLong, false) => store::Room::Undecided,
            (Self::Short | Self::ShortForLong, true) => store::Room::TooLittle,
        }
    }
}

impl Room {
    /// `reserve` is what must stay free, in bytes.
    pub(crate) fn new(folder: &Path, reserve: Option<u64>) -> Self {
        Self { folder: folder.to_owned(), reserve, short_since: None }
    }

    /// How much there is now. Once there is too little, a quarter more than the reserve must be free before that is over.
    pub(crate) fn look(&mut self) -> RoomLeft {
        self.look_at(Instant::now(), 0)
    }

    /// The same, while `owed` bytes are still to be written. If these alone leave too little, that is over as soon as they are
    /// written: what is free decides whether a quarter more is waited for.
    pub(crate) fn look_beside(&mut self, owed: u64) -> RoomLeft {
        self.look_at(Instant::now(), owed)
    }

    fn look_at(&mut self, now: Instant, owed: u64) -> RoomLeft {
        let Some((left, reserve)) = self.left_and_reserve() else { return RoomLeft::Enough };
        if is_short(left, reserve, self.short_since.is_some()) {
            let since = *self.short_since.get_or_insert(now);
            return if now.duration_since(since) < DECIDED_AFTER {
                RoomLeft::Short
            } else {
                RoomLeft::ShortForLong
            };
        }
        self.short_since = None;
        if is_short(left.saturating_sub(owed), reserve, false) { RoomLeft::Short } else { RoomLeft::Enough }
    }

    /// What is free and what must stay so, in bytes. A disk that can't be looked at has room: whether it takes what is written will
    /// be seen.
    fn left_and_reserve(&self) -> Option<(u64, u64)> {
        let disk = statvfs(&self.folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let (free, size) = (bytes(disk.f_bavail), bytes(disk.f_blocks));
        // A limit on the size of files is a small disk too, of which each file has its own.
        let limit = getrlimit(Resource::Fsize).current;
        let left = limit.map_or(free, |limit| free.min(limit.saturating_sub(self.largest_file())));
        let size = limit.map_or(size, |limit| size.min(limit));
        Some((left, self.reserve.unwrap_or_else(|| default_reserve(size))))
    }

    /// The size of the largest file of the database, in bytes.
    fn largest_file(&self) -> u64 {
        let sizes = [DATABASE_FILE.to_owned(), format!("{DATABASE_FILE}-wal")]
            .map(|name| self.folder.join(name).metadata().map_or(0, |file| file.len()));
        sizes.into_iter().max().unwrap_or(0)
    }
}

/// The size of the disk that holds a folder, in bytes; as large as can be where it can't be looked at, or says that it has none
/// (as a file system in memory without a limit does).
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    let size = statvfs(folder).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    let size = if size == 0 { u64::MAX } else { size };
    getrlimit(Resource::Fsize).current.map_or(size, |limit| size.min(limit))
}

fn default_reserve(size: u64) -> u64 {
    (size / SHARE_OF_A_SMALL_DISK).clamp(RESERVE_AT_LEAST, RESERVE)
}

const fn is_short(free: u64, reserve: u64, was_short: bool) -> bool {
    free < if was_short { reserve.saturating_add(reserve / 4) } else { reserve }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_too_little_below_the_reserve_until_a_quarter_more_is_free() {
        let looks = [100, 99, 100, 124, 125, 100, 0];
        let mut short = false;
        let told = looks.map(|free| {
            short = is_short(free, 100, short);
            short
        });
        assert_eq!(told, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn a_batch_is_refused_for_want_of_room_only_when_it_was_begun_after_the_decision() {
        for (left, decided, told) in [
            (RoomLeft::Enough, false, store::Room::Enough),
            (RoomLeft::Enough, true, store::Room::Enough),
            (RoomLeft::Short, false, store::Room::Undecided),
            // The core does not know it yet, and may give the lead to a replica that has room.
            (RoomLeft::ShortForLong, false, store::Room::Undecided),
            (RoomLeft::ShortForLong, true, store::Room::TooLittle),
            // It was too little until a moment ago, and is again.
            (RoomLeft::Short, true, store::Room::TooLittle),
        ] {
            assert_eq!(left.for_a_batch(decided), told, "{left:?}, decided: {decided}");
        }
    }

    #[test]
    fn the_reserve_of_a_small_disk_is_small() {
        for (size, reserve) in [(32 << 20, 8 << 20), (256 << 20, 16 << 20), (1 << 40, 64 << 20)] {
            assert_eq!(default_reserve(size), reserve);
        }
    }

    #[test]
    fn what_is_too_little_for_a_while_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let now = Instant::now();
        assert_eq!(Room::new(folder.path(), Some(0)).look_at(now, 0), RoomLeft::Enough);
        let mut room = Room::new(folder.path(), Some(1));
        assert_eq!(room.look_at(now, u64::MAX), RoomLeft::Short, "all of it is owed");
        assert_eq!(room.look_at(now, 0), RoomLeft::Enough, "it was written, and there is room");
        let mut room = Room::new(folder.path(), Some(u64::MAX));
        assert_eq!(room.look_at(now, 0), RoomLeft::Short);
        assert_eq!(room.look_at(now + DECIDED_AFTER, 0), RoomLeft::ShortForLong);
        room.reserve = Some(0);
        assert_eq!(room.look_at(now + DECIDED_AFTER, 0), RoomLeft::Enough);
        assert_eq!(Room::new(Path::new("/nowhere"), Some(u64::MAX)).look_at(now, 0), RoomLeft::Enough);
    }
}
