//! Whose files these are: a folder that holds secrets and messages is used by the user it belongs to, and by no other user.
//!
//! Two things go wrong otherwise. One start as root leaves files that its owner can't open any more. And a user who may write
//! to a folder can put a link into it, so that what is written there goes elsewhere. So before a folder is used, it is looked
//! through: what is in it belongs to the user who runs this process, and is no symbolic link. The folder's own path may be
//! one, as long as the folder that it leads to belongs to the user. What this process opens afterwards it opens with
//! [`files::NO_FOLLOW`].

use nix::unistd::{Uid, User};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What a file system keeps at the root of a disk, whichever user the disk is for.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a folder is not used.
#[derive(Debug, Error)]
pub enum OwnershipError {
    /// It, or something in it, belongs to another user.
    #[error("{path} belongs to {owner}, and this process runs as {user}; {}", remedy(*owner, *user, folder))]
    Foreign {
        /// What does.
        path: PathBuf,
        /// The folder that it is in.
        folder: PathBuf,
        /// Whose it is.
        owner: Owner,
        /// Who runs this process.
        user: Owner,
    },
    /// Something in it is a symbolic link.
    #[error(
        "{path} is a symbolic link, and links in this folder are not followed; put there what it leads to, or mount it there"
    )]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// It can't be looked at.
    #[error("{path}: {source}")]
    File {
        /// What can't.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn remedy(owner: Owner, user: Owner, folder: &Path) -> String {
    let folder = folder.display();
    if user.0 == 0 {
        format!("run it as that user; or, to give the folder to root, run: chown -R root {folder}")
    } else {
        format!(
            "if it was once started as {} by mistake, run: sudo chown -R {} {folder}",
            owner.name(),
            user.name()
        )
    }
}

/// A user, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u32);

impl Owner {
    /// Who runs this process.
    pub fn of_this_process() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }

    /// The name, or the number of a user who has none.
    fn name(self) -> String {
        let user = User::from_uid(Uid::from_raw(self.0)).ok().flatten();
        user.map_or_else(|| self.0.to_string(), |user| user.name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = (self.name(), self.0.to_string());
        if name == number { write!(f, "uid {number}") } else { write!(f, "{name} (uid {number})") }
    }
}

/// Looks whether a folder belongs to the user who runs this process, with those entries that are `ours` and everything below
/// them; entries that `may_be_roots` may be root's too. A folder that does not exist belongs to no user.
pub fn check_ownership(
    folder: &Path,
    ours: impl Fn(&str) -> bool,
    may_be_roots: impl Fn(&str) -> bool,
) -> Result<(), OwnershipError> {
    check_as(Owner::of_this_process(), folder, ours, may_be_roots)
}

/// Looks whether a file by itself belongs to the user who runs this process, and is no symbolic link. A file that does not
/// exist belongs to no user.
pub fn check_file_ownership(path: &Path) -> Result<(), OwnershipError> {
    Check { user: Owner::of_this_process(), folder: path }.entry(path, false)
}

fn check_as(
    user: Owner,
    folder: &Path,
    ours: impl Fn(&str) -> bool,
    may_be_roots: impl Fn(&str) -> bool,
) -> Result<(), OwnershipError> {
    let check = Check { user, folder };
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OwnershipError::File { path: folder.to_owned(), source }),
        Ok(metadata) => check.owner(folder, metadata.uid())?,
    }
    for (name, path) in entries(folder)? {
        if ours(&name) {
            check.entry(&path, may_be_roots(&name))?;
        }
    }
    Ok(())
}

struct Check<'a> {
    user: Owner,
    folder: &'a Path,
}

impl Check<'_> {
    fn owner(&self, path: &Path, owner: u32) -> Result<(), OwnershipError> {
        if Owner(owner) == self.user {
            return Ok(());
        }
        Err(OwnershipError::Foreign {
            path: path.to_owned(),
            folder: self.folder.to_owned(),
            owner: Owner(owner),
            user: self.user,
        })
    }

    fn entry(&self, path: &Path, may_be_roots: bool) -> Result<(), OwnershipError> {
        let metadata = match std::fs::symlink_metadata(path) {
            // Another process of this user has removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(OwnershipError::File { path: path.to_owned(), source }),
            Ok(metadata) => metadata,
        };
        if metadata.is_symlink() {
            return Err(OwnershipError::Link { path: path.to_owned() });
        }
        if !(may_be_roots && metadata.uid() == 0) {
            self.owner(path, metadata.uid())?;
        }
        if metadata.is_dir() {
            for (name, path) in entries(path)? {
                if name != LOST_AND_FOUND {
                    self.entry(&path, false)?;
                }
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, OwnershipError> {
    let fault = |source| OwnershipError::File { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(fault)?;
    let named = entries.map(|entry| {
        let entry = entry.map_err(fault)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_is_its_owners_with_everything_in_it_and_links_are_only_on_the_way_to_it() {
        let parent = tempfile::tempdir().unwrap();
        let (real, link) = (parent.path().join("real"), parent.path().join("link"));
        let check = |user| check_as(user, &link, |name| name != "others", |name| name == "settings");
        let me = Owner::of_this_process();
        let another = Owner(me.0 + 1);
        check(another).unwrap();
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        check(me).unwrap();
        let told = check(another).unwrap_err().to_string();
        assert!(told.contains(&format!("belongs to {me}, and this process runs as {another}")), "{told}");
        assert!(told.contains(&format!("chown -R {}", another.name())), "{told}");
        std::fs::create_dir_all(real.join("inner/lost+found")).unwrap();
        std::fs::write(real.join("inner/file"), "").unwrap();
        symlink("/etc", real.join("others")).unwrap();
        symlink("/etc", real.join("inner/lost+found/anything")).unwrap();
        check(me).unwrap();
        symlink("file", real.join("inner/link")).unwrap();
        let told = check(me).unwrap_err().to_string();
        assert!(told.contains("inner/link is a symbolic link"), "{told}");
    }

    #[test]
    fn the_sentence_says_what_helps() {
        let told = |owner, user| remedy(Owner(owner), Owner(user), Path::new("/data"));
        assert_eq!(
            told(1_234_567, 0),
            "run it as that user; or, to give the folder to root, run: chown -R root /data"
        );
        assert_eq!(
            told(0, 1_234_567),
            "if it was once started as root by mistake, run: sudo chown -R 1234567 /data"
        );
        assert_eq!(Owner(1_234_567).to_string(), "uid 1234567");
        assert_eq!(Owner(0).to_string(), "root (uid 0)");
    }
}
