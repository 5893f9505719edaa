//! Disks whose syncs fail and whose power goes, and clocks that are wrong: a library in C that the replicas are started
//! with, compiled here and now.

use crate::failure::Failure;
use rustix::process::Pid;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the library does, and how it is told, stands in it.
const SOURCE: &str = include_str!("faults.c");

/// The library, and the folder by which it is told what to do.
#[derive(Clone, Debug)]
pub(crate) struct FaultyMachine {
    folder: PathBuf,
}

impl FaultyMachine {
    /// Compiles the library into that folder. `None` where there is no C compiler.
    pub(crate) fn make(folder: &Path) -> Result<Option<Self>, Failure> {
        let made = Self { folder: folder.to_owned() };
        std::fs::create_dir(made.disk())?;
        let source = folder.join("faults.c");
        std::fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-fPIC", "-shared", "-o"]).arg(made.library()).arg(&source);
        match compiler.args(["-ldl", "-lpthread"]).output() {
            Ok(output) if output.status.success() => Ok(Some(made)),
            Ok(output) => Err(Failure::Failed(format!(
                "the C compiler rejects what makes disks fail and clocks wrong: {}",
                String::from_utf8_lossy(&output.stderr)
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn library(&self) -> PathBuf {
        self.folder.join("faults.so")
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// What a replica must find in its environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("LD_PRELOAD", self.library()), ("TRIALOGUE_FAULTS", self.folder.clone())]
    }

    /// From now on no sync comes through of a file whose path contains this; without one, each does again.
    pub(crate) fn fail_syncs(&self, of: Option<&str>) -> Result<(), Failure> {
        self.order("syncs-fail", of)
    }

    /// From now on the wall clock of a process, or of all, is `ahead` seconds ahead (behind, if negative); without a number
    /// it is right.
    pub(crate) fn set_clock(&self, process: Option<Pid>, ahead: Option<i64>) -> Result<(), Failure> {
        let name = process.map_or_else(|| "clock".to_owned(), |process| format!("clock.{process}"));
        self.order(&name, ahead.map(|seconds| seconds.to_string()).as_deref())
    }

    fn order(&self, name: &str, says: Option<&str>) -> Result<(), Failure> {
        let order = self.folder.join(name);
        match says {
            Some(says) => {
                // All at once: half of the word would be another.
                let draft = self.folder.join("draft");
                std::fs::write(&draft, says)?;
                std::fs::rename(draft, order)?;
            }
            None => std::fs::remove_file(order)?,
        }
        Ok(())
    }

    /// Makes every file below `folder` what its syncs have made of it. No process may have one open.
    pub(crate) fn lose_power(&self, folder: &Path) -> Result<(), Failure> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let found = std::fs::symlink_metadata(&path)?;
            if found.is_dir() {
                self.lose_power(&path)?;
                continue;
            }
            let name: OsString = format!("{}-{}", found.dev(), found.ino()).into();
            match std::fs::read(self.disk().join(name)) {
                // In place: the file keeps its number.
                Ok(content) => std::fs::write(&path, content)?,
                // No replica has ever written to it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
