//! The file layer: everything outside of `SQLite` that must outlive a power failure goes through here.
//!
//! A file's content is durable once the file was synced, its name once its folder was. Between the two a power failure
//! leaves whatever it likes: so a file gets its real name only when its content is durable, and no caller learns of it before
//! its name is too. [`ForgetfulFiles`] is a disk that forgets what was not synced, for the tests of everyone who writes here.

use crate::ownership::NO_FOLLOW;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

/// Which file it is, as the file system tells: a copy of it has another one, wherever it lies and whatever it is called.
///
/// An inode's number is used again, so that what is removed and copied back at once may get the same; its time of birth, in
/// nanoseconds, is not, and no program can set it. The device is a property of the mount, which another one may get after a
/// restart of the machine: it counts only where the file system keeps no times of birth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// The device's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970; 0 if the file system does not tell.
    pub born: u64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), born })
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        let made = |stamp: &Self| (stamp.inode, stamp.born);
        made(self) == made(other) && (self.born > 0 || self.device == other.device)
    }
}

/// What is done with files.
pub trait Files: Debug + Send + Sync {
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Whether there is a file of that name.
    fn exists(&self, path: &Path) -> bool;
    /// The content of a file, and which file it is.
    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Stamp)>;
    /// Writes a new file (0600) whose content may tell which file it is. Not durable.
    fn write_stamped(&self, path: &Path, content: &dyn Fn(Stamp) -> Vec<u8>) -> io::Result<()>;

    /// Writes a new file (0600). Not durable.
    fn write_new(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.write_stamped(path, &|_| content.to_vec())
    }
    /// Makes a file's content durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Gives a file a second name; fails if it is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, taking it from the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name; it is no error if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder (0700) in a folder that is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes a folder (0700) where there is none, with those above it, and makes their names durable. An earlier run may have
    /// made it and not come to that, so its name is made durable in any case.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let found = self.exists(folder);
        if !found {
            if let Some(parent) = parent.filter(|parent| !self.exists(parent)) {
                self.make_folder(parent)?;
            }
            match self.create_folder(folder) {
                // Another was quicker.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        match self.sync_folder(parent.unwrap_or(Path::new("."))) {
            // Another user has made it, in a folder that is not this user's to look into.
            Err(error) if found && error.kind() == ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    /// Writes a new file under its real name, durably and all at once. False if there is one of that name already, which is
    /// then durable too.
    fn publish(&self, path: &Path, draft: &Path, content: &[u8]) -> io::Result<bool> {
        self.publish_stamped(path, draft, &|_| content.to_vec())
    }

    /// Publishes a file whose content may tell which file it is.
    fn publish_stamped(
        &self,
        path: &Path,
        draft: &Path,
        content: &dyn Fn(Stamp) -> Vec<u8>,
    ) -> io::Result<bool> {
        let written = self.write_stamped(draft, content).and_then(|()| self.sync(draft));
        let linked = written.and_then(|()| match self.link(draft, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
        // The draft goes in any case; what went wrong first is what is told.
        let removed = self.remove(draft);
        let linked = linked?;
        removed?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(linked)
    }
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::options().read(true).custom_flags(NO_FOLLOW).open(path)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
        let mut file = File::open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((content, Stamp::of(&file)?))
    }

    fn write_stamped(&self, path: &Path, content: &dyn Fn(Stamp) -> Vec<u8>) -> io::Result<()> {
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
        let stamp = Stamp::of(&file)?;
        file.write_all(&content(stamp))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(folder)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// A disk in memory that forgets what was not synced, for tests. The power may fail before any of its calls.
#[derive(Clone, Debug, Default)]
pub struct ForgetfulFiles(Arc<Mutex<Disk>>);

#[derive(Clone, Debug, Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Which of the names are folders; those that `create_folder` did not make have been there for ever.
    folders: BTreeSet<PathBuf>,
    /// Changes of names since their folder was synced, in their order.
    pending: Vec<(PathBuf, Option<usize>)>,
    /// Changes that are still carried out; then the power is gone.
    changes_left: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

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

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.lock().changes_left == Some(0)
    }

    /// Every disk that may be found when the power is back: of the changes of names since the last sync, the first n have
    /// been kept, for each n; of a content that was not synced, nothing, or half.
    pub fn after_power_loss(&self) -> Vec<Self> {
        let disk = self.lock();
        let mut found = Vec::new();
        for kept in 0..=disk.pending.len() {
            for torn in [false, true] {
                let mut names = disk.durable_names.clone();
                for (path, content) in &disk.pending[..kept] {
                    match content {
                        Some(content) => drop(names.insert(path.clone(), *content)),
                        None => drop(names.remove(path)),
                    }
                }
                // Without a folder, nothing in it is found.
                let there = names.clone();
                names.retain(|path, _| {
                    let mut above = path.ancestors().skip(1);
                    above.all(|above| !disk.folders.contains(above) || there.contains_key(above))
                });
                let contents = disk.contents.iter().map(|content| {
                    let mut left = content.durable.clone();
                    if torn && content.now != content.durable {
                        left = content.now[..content.now.len() / 2].to_vec();
                    }
                    Content { now: left.clone(), durable: left }
                });
                let contents = contents.collect();
                let durable_names = names.clone();
                let folders = disk.folders.clone();
                let disk =
                    Disk { contents, names, durable_names, folders, pending: Vec::new(), changes_left: None };
                found.push(Self(Arc::new(Mutex::new(disk))));
            }
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.lock();
        match &mut disk.changes_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        change(&mut disk)
    }
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
        match content {
            Some(content) => drop(self.names.insert(path.to_owned(), content)),
            None => drop(self.names.remove(path)),
        }
        self.pending.push((path.to_owned(), content));
    }
}

impl Files for ForgetfulFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let disk = self.lock();
        Ok(disk.contents[disk.find(path)?].now.clone())
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
        Ok((disk.contents[content].now.clone(), stamp_of(content)))
    }

    fn write_stamped(&self, path: &Path, content: &dyn Fn(Stamp) -> Vec<u8>) -> io::Result<()> {
        self.change(|disk| {
            if disk.names.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let now = content(stamp_of(disk.contents.len()));
            disk.contents.push(Content { now, durable: Vec::new() });
            let content = disk.contents.len() - 1;
            disk.name(path, Some(content));
            Ok(())
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            let content = disk.find(path)?;
            disk.contents[content].durable = disk.contents[content].now.clone();
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            let (durable, pending) = std::mem::take(&mut disk.pending)
                .into_iter()
                .partition(|(path, _): &(PathBuf, _)| path.parent() == Some(folder));
            disk.pending = pending;
            for (path, content) in durable {
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
            if disk.names.contains_key(folder) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            disk.contents.push(Content::default());
            disk.folders.insert(folder.to_owned());
            let content = disk.contents.len() - 1;
            disk.name(folder, Some(content));
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
            // One change, not two: a rename is atomic.
            disk.names.remove(from);
            disk.names.insert(to.to_owned(), content);
            disk.pending.push((to.to_owned(), Some(content)));
            disk.pending.push((from.to_owned(), None));
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
    fn a_copy_is_another_file_even_in_the_place_of_the_first_and_a_moved_file_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy, moved) =
            (folder.path().join("file"), folder.path().join("copy"), folder.path().join("moved"));
        RealFiles.write_stamped(&path, &|_| b"content".to_vec()).unwrap();
        let (_, first) = RealFiles.read_stamped(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        assert_eq!(RealFiles.read_stamped(&moved).unwrap().1, first, "moved");
        std::fs::copy(&moved, &copy).unwrap();
        assert_ne!(RealFiles.read_stamped(&copy).unwrap().1, first, "copied");
        // Removed and copied back: on many file systems the inode's number is given again.
        std::fs::remove_file(&moved).unwrap();
        std::fs::copy(&copy, &path).unwrap();
        assert_ne!(RealFiles.read_stamped(&path).unwrap().1, first, "copied back");
        let other_mount = |born| Stamp { device: first.device + 1, born, ..first };
        assert_eq!(other_mount(first.born) == first, first.born > 0, "a device is a property of the mount");
        assert_ne!(other_mount(0), Stamp { born: 0, ..first }, "it counts where nothing better is known");
    }

    #[test]
    fn a_folder_that_was_made_is_there_with_what_was_published_in_it() {
        let (folder, path, draft) = (
            Path::new("/data/replica-0/inner"),
            Path::new("/data/replica-0/inner/file"),
            Path::new("/data/replica-0/inner/draft"),
        );
        let mut done = 0;
        for changes in 0..16 {
            let files = ForgetfulFiles::failing_after(changes);
            let made = files.make_folder(folder);
            let published = made.and_then(|()| files.publish(path, draft, b"content")).is_ok();
            done += usize::from(published);
            for disk in files.after_power_loss() {
                assert!(
                    !published || disk.read(path).is_ok(),
                    "after {changes} changes the file was said to be durable"
                );
                // The next run goes on from whatever is there.
                disk.make_folder(folder).unwrap();
                assert!(disk.after_power_loss().iter().all(|found| found.exists(folder)));
            }
        }
        assert!(done > 0, "it comes to its end at times");
    }

    #[test]
    fn what_was_published_is_there_whole_and_before_that_there_is_nothing() {
        let (path, draft) = (Path::new("/d/file"), Path::new("/d/draft"));
        for changes in 0..10 {
            let files = ForgetfulFiles::failing_after(changes);
            let published = files.publish(path, draft, b"content").is_ok();
            for disk in files.after_power_loss() {
                match disk.read(path) {
                    Ok(content) => assert_eq!(content, b"content", "after {changes} changes"),
                    Err(_) => assert!(!published, "after {changes} changes it was said to be durable"),
                }
            }
        }
    }
}
