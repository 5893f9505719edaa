//! The files of this machine.

use crate::stamp::Stamp;
use crate::{Files, NO_FOLLOW, OpenFile};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// A new file is filled a page at a time: what is written at once may be kept in memory as one piece, and then each small write
/// to it counts as one to the whole piece.
const CHUNK_BYTES: usize = 4096;

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

    fn create(&self, path: &Path, length: u64) -> io::Result<Arc<dyn OpenFile>> {
        let file = File::options().create_new(true).read(true).write(true).mode(0o600).open(path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, length) {
            // Not every file system can; then it finds the room while the zeros are written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            other => other?,
        }
        let zeros = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < length {
            let bytes = usize::try_from(length - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            file.write_all_at(&zeros[..bytes], at)?;
            at += bytes as u64;
        }
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        Ok(Arc::new(File::options().read(true).write(true).custom_flags(NO_FOLLOW).open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        Ok(Arc::new(File::options().read(true).custom_flags(NO_FOLLOW).open(path)?))
    }
}

impl OpenFile for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.metadata()?;
        match std::fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_written_and_read_at_places_and_keeps_its_length() {
        const LENGTH: u64 = CHUNK_BYTES as u64 + 5;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = RealFiles.create(&path, LENGTH).unwrap();
        let again = RealFiles.create(&path, LENGTH).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        file.write_at(b"abc", LENGTH - 3).unwrap();
        file.sync().unwrap();
        assert_eq!(file.length().unwrap(), LENGTH);
        let mut bytes = [1; 5];
        file.read_at(&mut bytes, LENGTH - 5).unwrap();
        assert_eq!(&bytes, b"\0\0abc", "what was not written is zero");
        let beyond = file.read_at(&mut bytes, LENGTH - 4).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
        RealFiles.open(&path).unwrap().truncate(2).unwrap();
        let reader = RealFiles.open_to_read(&path).unwrap();
        assert_eq!(reader.length().unwrap(), 2);
        assert!(reader.write_at(b"a", 0).is_err(), "it was opened to read");
        assert!(file.is_at(&path).unwrap());
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert!(!file.is_at(&path).unwrap());
        RealFiles.create(&path, 1).unwrap();
        assert!(!file.is_at(&path).unwrap(), "another is in its place");
    }
}
