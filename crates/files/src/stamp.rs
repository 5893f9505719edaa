//! Which file a file is.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
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
    pub(crate) fn of(file: &File) -> io::Result<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Files, RealFiles};

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
}
