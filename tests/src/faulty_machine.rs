//! Disks and clocks that can be told to fail: a library that is loaded into processes, made of the C source that `prove`
//! carries.

use crate::cluster::Cluster;
use rustix::process::Pid;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What a cluster's replicas run on: the syncs fail on demand, the power can fail, and the wall clocks can be wrong.
#[derive(Debug)]
pub struct FaultyMachine {
    folder: TempDir,
    data: PathBuf,
}

impl FaultyMachine {
    /// Loads the library into every replica that this cluster starts from now on. `None`, with a word on stderr, where
    /// there is no C compiler.
    ///
    /// # Panics
    /// If the compiler rejects the source.
    pub fn under(cluster: &mut Cluster) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/trialogue/src/prove/faults.c");
        let mut compiler = Command::new("cc");
        let made = compiler
            .args(["-O1", "-fPIC", "-shared", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"]);
        let Ok(status) = made.status() else {
            eprintln!("SKIPPED: there is no C compiler");
            return None;
        };
        assert!(status.success(), "the C compiler rejects the library");
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        cluster.set_environment("LD_PRELOAD", &library);
        cluster.set_environment("TRIALOGUE_FAULTS", folder.path());
        Some(Self { data: cluster.data().to_owned(), folder })
    }

    /// From now on no sync of any replica's log or database succeeds, or each does again.
    ///
    /// # Panics
    /// If the order can't be given.
    pub fn fail_syncs(&self, fail: bool) {
        let order = self.folder.path().join("syncs-fail");
        if fail { std::fs::write(order, "/replica-").unwrap() } else { std::fs::remove_file(order).unwrap() }
    }

    /// The wall clocks of all processes, or of one, are `ahead` seconds ahead (behind, if negative; right, if 0).
    ///
    /// # Panics
    /// If the order can't be given.
    pub fn set_clock(&self, process: Option<Pid>, ahead: i64) {
        let name = process.map_or_else(|| "clock".to_owned(), |process| format!("clock.{process}"));
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, ahead.to_string()).unwrap();
        std::fs::rename(draft, self.folder.path().join(name)).unwrap();
    }

    /// What another program must find in its environment to run on a machine whose clock is `ahead` seconds ahead.
    ///
    /// # Panics
    /// If that machine can't be made.
    pub fn another_machine(&self, ahead: i64) -> (TempDir, [(&'static str, PathBuf); 2]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        std::fs::write(folder.path().join("clock"), ahead.to_string()).unwrap();
        let environment = [
            ("LD_PRELOAD", self.folder.path().join("faults.so")),
            ("TRIALOGUE_FAULTS", folder.path().to_owned()),
        ];
        (folder, environment)
    }

    /// The power fails: every file is what its syncs have made of it. No replica may run.
    ///
    /// # Panics
    /// If a file can't be put back.
    pub fn lose_power(&self) {
        self.put_back(&self.data);
    }

    fn put_back(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = std::fs::symlink_metadata(&path).unwrap();
            if found.is_dir() {
                self.put_back(&path);
                continue;
            }
            let on_disk = self.folder.path().join(format!("disk/{}-{}", found.dev(), found.ino()));
            if on_disk.exists() {
                // In place: the file keeps its number.
                std::fs::write(&path, std::fs::read(on_disk).unwrap()).unwrap();
            }
        }
    }
}
