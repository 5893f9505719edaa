//! The file layer: everything outside of `SQLite` that must outlive a power failure goes through here.
//!
//! A file's content is durable once the file was synced, its name once its folder was. Between the two a power failure
//! leaves whatever it likes: so a file gets its real name only when its content is durable, and no caller learns of it before
//! its name is too. After a sync has failed nothing is certain that was written since the last one that succeeded: the system
//! counts the pages as written, they read well from memory, and the next sync has nothing to do. [`ForgetfulFiles`] is a disk
//! that does all this to its callers, for the tests of everyone who writes here.

mod forgetful;
mod open_file;
mod real;
mod stamp;

pub use self::forgetful::ForgetfulFiles;
pub use self::open_file::OpenFile;
pub use self::real::RealFiles;
pub use self::stamp::Stamp;
use rustix::fs::OFlags;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// For `OpenOptionsExt::custom_flags`: a file that is a symbolic link is not opened.
pub const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

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
    /// Makes a new file (0600) of this length in bytes, all of them written as zeros: as long as it keeps that length, no
    /// write needs more room, and no sync has more to write than content. Not durable; after an error a part of it may be
    /// there.
    fn create(&self, path: &Path, length: u64) -> io::Result<Arc<dyn OpenFile>>;
    /// Opens a file.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>>;
    /// Opens a file that may lie where nothing can be written.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>>;

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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(done > 0, "it ends at times");
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
