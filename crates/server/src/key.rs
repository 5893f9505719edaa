//! The cluster's key: who has it is a replica of this cluster. Kept in a file that only its owner can read, and never sent
//! to anyone: `proof.rs` proves that one has it.

use data_encoding::HEXLOWER;
use files::{Files, NO_FOLLOW, RealFiles};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};
use store::{OwnershipError, check_file_ownership};
use thiserror::Error;

const KEY_BYTES: usize = 32;

/// 256 secret bits that the replicas of one cluster share.
#[derive(Clone)]
pub struct ClusterKey([u8; KEY_BYTES]);

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path} does not hold a cluster key (64 hexadecimal digits); restore it, or remove it to have a new one made"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The file is another user's, or a symbolic link.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// Others can read the file.
    #[error("{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Public {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl ClusterKey {
    /// Reads the key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        check_file_ownership(path)?;
        let fault = |source| KeyError::File { path: path.into(), source };
        let mut file = File::options().read(true).custom_flags(NO_FOLLOW).open(path).map_err(fault)?;
        let mode = file.metadata().map_err(fault)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Public { path: path.into(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fault)?;
        let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| KeyError::Malformed { path: path.into() })
    }

    /// Reads the key, or makes one (0600) if there is none.
    pub fn read_or_make(path: &Path) -> Result<Self, KeyError> {
        let fault = |source: io::Error| KeyError::File { path: path.into(), source };
        if path.exists() {
            return Self::read(path);
        }
        Self::make(&RealFiles, path).map_err(fault)?;
        Self::read(path)
    }

    /// Makes a key, all at once: half a key would keep every replica from starting. If another was quicker, its key counts.
    fn make(files: &dyn Files, path: &Path) -> io::Result<()> {
        let key: [u8; KEY_BYTES] = rand::random();
        let draft = path.with_extension(format!("draft-{}", uuid::Uuid::new_v4().simple()));
        let text = format!("{}\n", HEXLOWER.encode(&key));
        files.publish(path, &draft, text.as_bytes()).map(drop)
    }

    #[cfg(test)]
    pub(crate) const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::ForgetfulFiles;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_power_failure_leaves_a_whole_key_or_none() {
        let path = Path::new("/data/cluster.key");
        for changes in 0..8 {
            let files = ForgetfulFiles::failing_after(changes);
            let made = ClusterKey::make(&files, path).is_ok();
            for found in files.after_power_loss() {
                match found.read(path) {
                    Ok(text) => assert_eq!(text.len(), 2 * KEY_BYTES + 1, "after {changes} changes"),
                    Err(_) => assert!(!made, "after {changes} changes"),
                }
            }
        }
    }

    #[test]
    fn a_key_is_made_once_kept_private_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        let made = ClusterKey::read_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = ClusterKey::read_or_make(&path).unwrap();
        assert_eq!(read.bytes(), made.bytes());
        assert!(!format!("{made:?}").contains(&HEXLOWER.encode(made.bytes())));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Public { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(ClusterKey::read(&link), Err(KeyError::Ownership(_))));
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Malformed { .. })));
    }
}
