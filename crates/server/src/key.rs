//! The cluster's key: who has it is a replica of this cluster. Kept in a file that only its owner can read.

use data_encoding::HEXLOWER;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use subtle::ConstantTimeEq;
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
        let fault = |source| KeyError::File { path: path.into(), source };
        let mut file = File::open(path).map_err(fault)?;
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
        let key: [u8; KEY_BYTES] = rand::random();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| fault(error.into()))?;
        let mut file = File::from(file);
        file.write_all(HEXLOWER.encode(&key).as_bytes()).map_err(fault)?;
        file.write_all(b"\n").map_err(fault)?;
        file.sync_all().map_err(fault)?;
        Ok(Self(key))
    }

    /// As it travels in the metadata between replicas.
    pub fn as_metadata(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Whether this metadata value is the key; takes the same time whatever differs.
    pub fn matches(&self, metadata: &[u8]) -> bool {
        self.as_metadata().as_bytes().ct_eq(metadata).into()
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_kept_private_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        let made = ClusterKey::read_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = ClusterKey::read_or_make(&path).unwrap();
        assert!(read.matches(made.as_metadata().as_bytes()));
        assert!(!read.matches(b"") && !read.matches(&[b'0'; 64]));
        assert!(!format!("{made:?}").contains(&made.as_metadata()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Public { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(ClusterKey::read(&path), Err(KeyError::Malformed { .. })));
    }
}
