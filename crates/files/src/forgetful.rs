//! A disk that forgets what was not synced, for the tests of everyone who writes files.

mod content;

use self::content::{Content, Fate};
use crate::{Files, OpenFile, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory that forgets what was not synced, for tests. The power may fail before any of its calls, and any call
/// may fail.
#[derive(Clone, Debug, Default)]
pub struct ForgetfulFiles(Arc<Mutex<Disk>>);

/// A change of names that a power failure keeps as a whole or not at all.
type Renaming = Vec<(PathBuf, Option<usize>)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Which of the names are folders; those that `create_folder` did not make have been there for ever.
    folders: BTreeSet<PathBuf>,
    /// Changes of names since their folder was synced, in their order.
    pending: Vec<Renaming>,
    /// Changes that are still carried out; then the power is gone.
    changes_left: Option<usize>,
    /// How many changes are carried out before the one that fails, and how it fails.
    failing: Option<(usize, ErrorKind)>,
}

/// What a power failure does to a page, told by its number among those of a file that are not certainly on the disk, and
/// by their count.
type Fates = fn(usize, usize) -> Fate;

const FATES: [Fates; 7] = [
    |_, _| Fate::Lost,
    |page, count| match page.cmp(&(count / 2)) {
        std::cmp::Ordering::Less => Fate::Kept,
        std::cmp::Ordering::Equal => Fate::Torn(4),
        std::cmp::Ordering::Greater => Fate::Lost,
    },
    |_, _| Fate::Kept,
    |page, _| if page == 0 { Fate::Lost } else { Fate::Kept },
    |page, count| if page + 1 == count { Fate::Lost } else { Fate::Kept },
    |page, _| if page == 0 { Fate::Torn(1) } else { Fate::Kept },
    |page, _| if page % 2 == 0 { Fate::Lost } else { Fate::Kept },
];

impl ForgetfulFiles {
    /// A disk whose power fails after `changes` changes.
    pub fn failing_after(changes: usize) -> Self {
        let files = Self::default();
        files.lock().changes_left = Some(changes);
        files
    }

    /// The power fails after `changes` more changes.
    pub fn fail_after(&self, changes: usize) {
        self.lock().changes_left = Some(changes);
    }

    /// After `changes` more changes one fails, once: a sync leaves pages that are read back and that no later sync writes, a
    /// write stops half way, a file that was to be made is left shorter; anything else has no effect.
    pub fn fail_one_after(&self, changes: usize, how: ErrorKind) {
        self.lock().failing = Some((changes, how));
    }

    /// No change fails any more, if the power is not gone.
    pub fn fail_no_more(&self) {
        self.lock().failing = None;
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.lock().changes_left == Some(0)
    }

    /// Every disk that may be found when the power is back: of the changes of names since the last sync, the first n have
    /// been kept, for each n; of the pages that were not synced, none, all, or some, one of them in part.
    pub fn after_power_loss(&self) -> Vec<Self> {
        let disk = self.lock();
        let mut found: Vec<Disk> = Vec::new();
        for kept in 0..=disk.pending.len() {
            for fates in FATES {
                let disk = disk.left(kept, |_, page, count| fates(page, count));
                if !found.contains(&disk) {
                    found.push(disk);
                }
            }
        }
        found.into_iter().map(|disk| Self(Arc::new(Mutex::new(disk)))).collect()
    }

    /// One disk that may be found when the power is back, drawn by this number.
    #[must_use]
    pub fn one_after_power_loss(&self, draw: u64) -> Self {
        let disk = self.lock();
        let below = |number: u64, limit: usize| {
            usize::try_from(mixed(draw ^ mixed(number)) % limit as u64).unwrap_or(0)
        };
        let kept = below(0, disk.pending.len() + 1);
        let left = disk.left(kept, |content, page, _| {
            let number = ((content as u64) << 32) + page as u64 + 1;
            match below(number, 5) {
                0 | 1 => Fate::Lost,
                2 | 3 => Fate::Kept,
                _ => Fate::Torn(1 + below(!number, 7)),
            }
        });
        Self(Arc::new(Mutex::new(left)))
    }

    /// Another disk with the same files, all of them durable as they are now.
    #[must_use]
    pub fn durable_copy(&self) -> Self {
        let disk = self.lock();
        Self(Arc::new(Mutex::new(disk.left(disk.pending.len(), |_, _, _| Fate::Kept))))
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        self.change_or(change, |_| Ok(()))
    }

    /// Carries out a change, or what is left of it if it is the one that fails.
    fn change_or<T>(
        &self,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
        or: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<T> {
        let mut disk = self.lock();
        match &mut disk.changes_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut disk.failing {
            Some((0, how)) => {
                let how = *how;
                disk.failing = None;
                or(&mut disk)?;
                return Err(how.into());
            }
            Some((before, _)) => *before -= 1,
            None => {}
        }
        change(&mut disk)
    }
}

/// Any number from any other, equal ones from equal ones (the finalizer of `SplitMix64`).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Contents are never removed, so the place of one says which it is.
fn stamp_of(content: usize) -> Stamp {
    let number = content as u64 + 1;
    Stamp { device: 1, inode: number, born: number }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }

    fn name(&mut self, path: &Path, content: Option<usize>) {
        self.change_names(vec![(path.to_owned(), content)]);
    }

    fn change_names(&mut self, changes: Renaming) {
        for (path, content) in &changes {
            match content {
                Some(content) => drop(self.names.insert(path.clone(), *content)),
                None => drop(self.names.remove(path)),
            }
        }
        self.pending.push(changes);
    }

    fn make(&mut self, path: &Path, content: Content) -> io::Result<usize> {
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.contents.push(content);
        let content = self.contents.len() - 1;
        self.name(path, Some(content));
        Ok(content)
    }

    /// The disk after a power failure that keeps the first `kept` changes of names.
    fn left(&self, kept: usize, fate: impl Fn(usize, usize, usize) -> Fate) -> Self {
        let mut names = self.durable_names.clone();
        for (path, content) in self.pending[..kept].iter().flatten() {
            match content {
                Some(content) => drop(names.insert(path.clone(), *content)),
                None => drop(names.remove(path)),
            }
        }
        // Without a folder, nothing in it is found.
        let there = names.clone();
        names.retain(|path, _| {
            let mut above = path.ancestors().skip(1);
            above.all(|above| !self.folders.contains(above) || there.contains_key(above))
        });
        let named: BTreeSet<usize> = names.values().copied().collect();
        let contents = self.contents.iter().enumerate().map(|(number, content)| {
            if named.contains(&number) {
                content.left(|page, count| fate(number, page, count))
            } else {
                Content::default()
            }
        });
        Self {
            contents: contents.collect(),
            durable_names: names.clone(),
            names,
            folders: self.folders.clone(),
            ..Self::default()
        }
    }
}

impl Files for ForgetfulFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let disk = self.lock();
        Ok(disk.contents[disk.find(path)?].now().to_vec())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let disk = self.lock();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        // The root of all paths is always there.
        path.parent().is_none() || self.lock().names.contains_key(path)
    }

    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
        let disk = self.lock();
        let content = disk.find(path)?;
        Ok((disk.contents[content].now().to_vec(), stamp_of(content)))
    }

    fn write_stamped(&self, path: &Path, content: &dyn Fn(Stamp) -> Vec<u8>) -> io::Result<()> {
        self.change(|disk| {
            let now = content(stamp_of(disk.contents.len()));
            disk.make(path, Content::unsynced(now)).map(drop)
        })
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<Arc<dyn OpenFile>> {
        let zeros = |length| usize::try_from(length).map(|length| Content::unsynced(vec![0; length]));
        let (whole, part) = (zeros(length), zeros(length / 2));
        let content = self.change_or(
            |disk| disk.make(path, whole.map_err(|_| ErrorKind::FileTooLarge)?),
            |disk| disk.make(path, part.map_err(|_| ErrorKind::FileTooLarge)?).map(drop),
        )?;
        Ok(Arc::new(ForgetfulFile { files: self.clone(), content }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        let content = self.lock().find(path)?;
        Ok(Arc::new(ForgetfulFile { files: self.clone(), content }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        self.open(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let content = self.lock().find(path)?;
        ForgetfulFile { files: self.clone(), content }.sync()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            let (durable, pending) =
                std::mem::take(&mut disk.pending).into_iter().partition(|changes: &Renaming| {
                    changes.iter().any(|(path, _)| path.parent() == Some(folder))
                });
            disk.pending = pending;
            for (path, content) in durable.into_iter().flatten() {
                match content {
                    Some(content) => drop(disk.durable_names.insert(path, content)),
                    None => drop(disk.durable_names.remove(&path)),
                }
            }
            Ok(())
        })
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.make(folder, Content::default())?;
            disk.folders.insert(folder.to_owned());
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            if disk.names.contains_key(to) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let content = disk.find(from)?;
            disk.name(to, Some(content));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            let content = disk.find(from)?;
            disk.change_names(vec![(to.to_owned(), Some(content)), (from.to_owned(), None)]);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            if disk.names.contains_key(path) {
                disk.name(path, None);
            }
            Ok(())
        })
    }
}

#[derive(Clone, Debug)]
struct ForgetfulFile {
    files: ForgetfulFiles,
    content: usize,
}

impl OpenFile for ForgetfulFile {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.files.lock().contents[self.content].read_at(bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.files.change_or(
            |disk| disk.contents[self.content].write_at(bytes, at),
            |disk| disk.contents[self.content].write_at(&bytes[..bytes.len() / 2], at),
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.files.change_or(
            |disk| {
                disk.contents[self.content].sync();
                Ok(())
            },
            |disk| {
                disk.contents[self.content].fail_sync();
                Ok(())
            },
        )
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.files.lock().contents[self.content].now().len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.files.change(|disk| {
            disk.contents[self.content].truncate(length);
            Ok(())
        })
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().names.get(path) == Some(&self.content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forgetful_disk_forgets_what_was_not_synced_and_nothing_else() {
        let files = ForgetfulFiles::default();
        let (kept, lost) = (Path::new("/d/kept"), Path::new("/d/lost"));
        files.write_new(kept, b"kept").unwrap();
        files.sync(kept).unwrap();
        files.sync_folder(Path::new("/d")).unwrap();
        files.write_new(lost, b"lost").unwrap();
        let found = files.after_power_loss();
        assert!(found.iter().all(|disk| disk.read(kept).unwrap() == b"kept"));
        assert!(found.iter().any(|disk| !disk.exists(lost)), "its name may be gone");
        assert!(found.iter().any(|disk| disk.read(lost).is_ok_and(|content| content.is_empty())));
        assert!(found.iter().any(|disk| disk.read(lost).is_ok_and(|content| content == b"lo")));
        files.fail_after(0);
        assert!(files.remove(kept).is_err() && files.is_dead());
    }

    #[test]
    fn a_call_that_fails_leaves_what_such_a_call_leaves_and_the_next_one_succeeds() {
        let files = ForgetfulFiles::default();
        let path = Path::new("/d/file");
        let fail = |how| files.fail_one_after(0, how);
        fail(ErrorKind::StorageFull);
        assert_eq!(files.create(path, 8).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(files.read(path).unwrap(), [0; 4], "a part of the file");
        files.remove(path).unwrap();
        let file = files.create(path, 8).unwrap();
        fail(ErrorKind::QuotaExceeded);
        assert_eq!(file.write_at(b"abcd", 2).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        assert_eq!(files.read(path).unwrap(), b"\0\0ab\0\0\0\0", "a part of what was written");
        fail(ErrorKind::Other);
        file.sync().unwrap_err();
        file.sync().unwrap();
        files.sync_folder(Path::new("/d")).unwrap();
        let found = files.after_power_loss();
        let content = |disk: &ForgetfulFiles| disk.read(path).unwrap();
        assert!(found.iter().any(|disk| content(disk) == [0; 8]), "the second sync had nothing to write");
        let drawn = |draw| content(&files.one_after_power_loss(draw));
        assert!(
            (0..64).any(|draw| drawn(draw) == [0; 8]) && (0..64).any(|draw| drawn(draw) == b"\0\0ab\0\0\0\0")
        );
    }

    #[test]
    fn a_file_has_its_old_name_or_its_new_one_and_never_both() {
        let files = ForgetfulFiles::default();
        let (old, new) = (Path::new("/d/old"), Path::new("/d/new"));
        files.write_new(old, b"content").unwrap();
        files.sync(old).unwrap();
        files.sync_folder(Path::new("/d")).unwrap();
        files.rename(old, new).unwrap();
        let found: Vec<_> =
            files.after_power_loss().iter().map(|disk| (disk.exists(old), disk.exists(new))).collect();
        assert_eq!(found, [(true, false), (false, true)]);
    }
}
