//! What the nemesis does to the view register: puts an older copy in its place for a while.
//!
//! By the copy a replica is in sync that has missed messages since. No replica may serve by it; and once the register is moved
//! back where it was, everything goes on as if nothing had happened.

use super::nemesis::Nemesis;
use crate::failure::Failure;
use crate::status::ClusterSummary;
use std::path::Path;
use std::time::Duration;

const HALTED_WITHIN: Duration = Duration::from_secs(20);

impl Nemesis {
    /// Puts a register back as it was before this replica fell out of the in-sync set, and then the right one.
    pub(super) async fn put_register_back(&mut self, stale: usize) -> Result<(), Failure> {
        if !self.all_in_sync().await {
            return self.narrator.say("put the register back: left alone, because not all are in sync");
        }
        self.narrator.say(&format!("put the register back: as it was when replica {stale} was in sync"))?;
        let data = self.supervisor.settings().data.clone();
        let [register, older, right] = [
            self.supervisor.settings().register_folder(),
            data.join("register.older"),
            data.join("register.right"),
        ];
        copy_files(&register, &older)?;
        // Whether or not the others go on without it, no replica may believe the copy.
        self.others_serve_without(stale).await?;
        self.pause_between(100, 1_000).await;
        for index in 0..3 {
            self.supervisor.kill(index).await?;
        }
        move_to(&register, &right)?;
        move_to(&older, &register)?;
        self.start_all()?;
        let all_halted = |now: &ClusterSummary| {
            now.replicas.iter().all(|replica| replica.role.as_deref() == Some("halted"))
        };
        let halted = self.wait_until(HALTED_WITHIN, all_halted).await;
        let serving = ClusterSummary::of(&self.observer.replicas().await).serving;
        if serving || !halted {
            return Err(Failure::Failed("a replica believes a view register that was put back".into()));
        }
        for index in 0..3 {
            self.supervisor.kill(index).await?;
        }
        std::fs::remove_dir_all(&register)
            .map_err(|error| Failure::Failed(format!("{}: {error}", register.display())))?;
        move_to(&right, &register)?;
        self.start_all()
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<(), Failure> {
    let copy = || {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            match std::fs::copy(entry.path(), to.join(entry.file_name())) {
                // A draft that has become a view meanwhile, or an old view that was pruned.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
        Ok::<(), std::io::Error>(())
    };
    copy().map_err(|error| Failure::Failed(format!("{}: {error}", to.display())))
}

fn move_to(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::rename(from, to).map_err(|error| Failure::Failed(format!("{}: {error}", from.display())))
}
