//! What the nemesis does to disks: empties one, fills one, puts an older one back.
//!
//! It leaves one thing alone, because no service survives it: the last database that holds what was acknowledged. So a
//! database goes away only while all three are in sync, and only once the others serve without it.

use super::nemesis::Nemesis;
use crate::failure::Failure;
use crate::status::ClusterSummary;
use rand::RngExt;
use rustix::process::{Resource, Rlimit, prlimit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `SQLite` needs to read a database, and hardly anything to write to it.
const FULL_DISK_BYTES: u64 = 36 * 1024;
/// A small disk has room for an empty database, and for a while of writes.
const SMALL_DISK_BYTES: u64 = 1024 * 1024;
const OTHERS_SERVE_WITHIN: Duration = Duration::from_secs(20);

impl Nemesis {
    /// Empties the folder of one replica, which comes back as a newcomer.
    pub(super) async fn wipe(&mut self, index: usize) -> Result<(), Failure> {
        if !self.all_in_sync().await {
            return self.narrator.say("wipe one: left alone, because not all are in sync");
        }
        self.narrator.say(&format!("wipe one: the folder of replica {index}"))?;
        if !self.others_serve_without(index).await? {
            return self.bring_back(index).await;
        }
        // Its log goes with it.
        self.keep_panic(index);
        let folder = self.supervisor.settings().replica_folder(index);
        std::fs::remove_dir_all(&folder)
            .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
        // Until it is back, the others are all there is.
        self.bring_back(index).await
    }

    /// Lets one disk run full: a small one, where this user may mount it, or by a limit on the size of files.
    pub(super) async fn fill(&mut self, index: usize) -> Result<(), Failure> {
        if self.random.random_bool(0.5) && self.all_in_sync().await {
            self.narrator.say(&format!("fill one disk: replica {index} gets a small one"))?;
            if !self.others_serve_without(index).await? {
                return self.bring_back(index).await;
            }
            self.small = SmallDisk::over(index, &self.supervisor.settings().replica_folder(index));
            if self.small.is_some() {
                self.supervisor.start(index)?;
                self.pause_between(500, 4_000).await;
                return self.give_disk_back().await;
            }
            self.supervisor.start(index)?;
        }
        self.narrator.say(&format!("fill one disk: no file of replica {index} may grow"))?;
        self.limit_files(index, Some(FULL_DISK_BYTES))?;
        self.pause_between(500, 3_000).await;
        self.limit_files(index, None)
    }

    /// Puts the old disk back where there is a small one now.
    pub(super) async fn give_disk_back(&mut self) -> Result<(), Failure> {
        let Some(index) = self.small.as_ref().map(|disk| disk.index) else { return Ok(()) };
        // It may have come in sync on the small one, and even be the last that is: then it helps the others first.
        while !self.others_serve_without(index).await? {
            self.small.as_ref().map_or(Ok(()), SmallDisk::grow)?;
            self.bring_back(index).await?;
        }
        self.keep_panic(index);
        if let Some(disk) = self.small.take() {
            disk.end()?;
        }
        self.narrator.say(&format!("replica {index} has its old disk back, as it was"))?;
        self.bring_back(index).await
    }

    /// From now on no file of that replica can grow beyond `bytes`.
    pub(super) fn limit_files(&self, index: usize, bytes: Option<u64>) -> Result<(), Failure> {
        let Some(process) = self.supervisor.process(index) else { return Ok(()) };
        prlimit(Some(process), Resource::Fsize, Rlimit { current: bytes, maximum: None })
            .map(drop)
            .map_err(Failure::of)
    }

    fn keep_panic(&mut self, index: usize) {
        if let Some(panic) = self.panic_of(index) {
            self.panics.push(panic);
            let kept = self.supervisor.settings().data.join(format!("replica-{index}.panicked.log"));
            // Its folder goes away, and this with it; that it has panicked is known in any case.
            if let Err(error) = std::fs::write(&kept, self.supervisor.log_text(index)) {
                crate::failure::complain(&format!("{}: {error}", kept.display()));
            }
        }
    }

    pub(super) async fn all_in_sync(&self) -> bool {
        ClusterSummary::of(&self.observer.replicas().await).all_in_sync()
    }

    /// Ends one replica, and says whether the others then serve without it: whether its database may go.
    pub(super) async fn others_serve_without(&mut self, index: usize) -> Result<bool, Failure> {
        self.kill(index).await?;
        let without = |now: &ClusterSummary| {
            now.serving && !now.replicas.iter().any(|replica| replica.index == index && replica.in_sync)
        };
        Ok(self.wait_until(OTHERS_SERVE_WITHIN, without).await)
    }

    /// Starts one replica and waits until all are in sync.
    async fn bring_back(&mut self, index: usize) -> Result<(), Failure> {
        self.supervisor.start(index)?;
        if self.wait_until(super::HEALED_WITHIN, |now| now.in_sync.len() == now.replicas.len()).await {
            return Ok(());
        }
        Err(Failure::Failed(format!("replica {index} did not come back after its disk was changed")))
    }

    pub(super) async fn wait_until(&self, span: Duration, is_so: impl Fn(&ClusterSummary) -> bool) -> bool {
        let deadline = Instant::now() + span;
        while !is_so(&ClusterSummary::of(&self.observer.replicas().await)) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

/// A small file system in memory, mounted over a replica's folder, which it hides; gone when this value is.
#[derive(Debug)]
pub(super) struct SmallDisk {
    index: usize,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn over(index: usize, folder: &Path) -> Option<Self> {
        let options = format!("size={SMALL_DISK_BYTES},mode=0700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], folder);
        mounted.then(|| Self { index, folder: folder.to_owned() })
    }

    /// Gives it all the room there is.
    fn grow(&self) -> Result<(), Failure> {
        self.check("mount", &["-o", "remount,size=50%"])
    }

    fn end(self) -> Result<(), Failure> {
        self.check("umount", &[])
    }

    fn check(&self, program: &str, arguments: &[&str]) -> Result<(), Failure> {
        if run(program, arguments, &self.folder) {
            return Ok(());
        }
        Err(Failure::Failed(format!("{program} failed for {}", self.folder.display())))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // After an error it is still there, and so may be the replica on it.
        if run("mountpoint", &["--quiet"], &self.folder) {
            run("umount", &["--lazy"], &self.folder);
        }
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    for variable in crate::password::VARIABLES {
        command.env_remove(variable);
    }
    command.args(arguments).arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
