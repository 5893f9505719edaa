//! What people do to the view register, and the operator who mends it: by the very function that the command `recover` runs.
//!
//! A register is altered as a file system is: emptied, its newest view damaged, or an older copy put in its place, which is
//! thereby another register. From then on what it says proves nothing, and who believes it leads by a view that was true once.

use crate::agenda::Happening;
use crate::disk::Disk;
use crate::network::index;
use crate::world::World;
use protocol::recover::{Candidate, Cost, Remains, decide};
use protocol::{Incarnation, Position, Proposer, RegisterId, ViewNumber};

impl World {
    /// The register loses every view.
    pub fn empty_register(&mut self) {
        if !self.register.views.is_empty() {
            self.register.views.clear();
            self.register.altered = true;
        }
    }

    /// An operator (or a backup program) copies the register.
    pub fn copy_register(&mut self) {
        if !self.register.altered && !self.register.views.is_empty() {
            self.register.copy = Some(self.register.views.clone());
        }
    }

    /// A copy is put in the place of the register.
    pub fn put_register_back(&mut self) {
        let Some(copy) = self.register.copy.clone() else { return };
        self.register.altered = true;
        self.register.views = copy;
        self.register.damaged = false;
        self.register.id = self.new_register();
    }

    /// The newest view of the register can't be read any more.
    pub fn damage_register(&mut self) {
        if !self.register.views.is_empty() {
            self.register.damaged = true;
            self.register.altered = true;
        }
    }

    /// The newest views of the register are removed one by one, and it stays the register that it is. Left alone where a
    /// database that does not remember any of them would be in sync by what is left: it can't know.
    pub fn shorten_register(&mut self, views: usize) {
        let kept = self.register.views.len().saturating_sub(views);
        let Some(left) = kept.checked_sub(1).and_then(|last| self.register.views.get(last)) else { return };
        let knows = |disk: &Disk| disk.memory.as_ref().is_some_and(|memory| memory.view.number > left.number);
        if self.register.views.len() > kept && self.disks.iter().all(knows) {
            self.register.views.truncate(kept);
            self.register.damaged = false;
            self.register.altered = true;
        }
    }

    fn new_register(&mut self) -> RegisterId {
        let number = self.new_database();
        RegisterId(number.0)
    }

    /// An operator looks at the register. If it is not what its swaps have made of it, every replica is stopped, and what
    /// to go on with is decided. No fault has destroyed the last database that has everything, so nothing may be lost.
    pub fn look_after_the_register(&mut self) {
        if !self.register.altered {
            return;
        }
        for i in 0..self.nodes.len() {
            self.crash(i);
        }
        let candidates: Vec<Candidate> = self
            .disks
            .iter()
            .enumerate()
            .map(|(i, disk)| Candidate {
                index: index(i),
                database: disk.database,
                position: disk.position(),
                memory: (*disk.memory).clone(),
            })
            .collect();
        let highest = self.register.newest().map_or(ViewNumber(0), |view| view.number);
        if self.register.damaged {
            self.register.views.pop();
        }
        let newest = self.register.newest().map(|view| (self.register.id, view.clone()));
        let remains = Remains { newest, highest, damaged: self.register.damaged };
        let recovery = decide(&candidates, &remains, None).expect("there are databases");
        let chosen = usize::from(recovery.chosen.0);
        self.trace.fault(self.now, &format!("recover: replica {chosen} {}", recovery.cost));
        let Position { op, chain } = self.ledger.acknowledged;
        let disk = &self.disks[chosen];
        let has_everything = disk.chain_at(op) == Some(chain) || op < disk.pruned.op || self.lied[chosen];
        assert!(
            has_everything || !matches!(recovery.cost, Cost::Nothing { .. }),
            "invariant 2: recover says that nothing is lost with replica {chosen}, which lacks op {op}"
        );
        assert!(
            has_everything,
            "invariant 2: recover goes on with replica {chosen} ({}), which lacks op {op}: {candidates:?} {remains:?}",
            disk.position()
        );
        // What no client was told of may be lost.
        self.ledger.committed = self.ledger.acknowledged;
        let proposer =
            Proposer { index: recovery.chosen, incarnation: Incarnation(self.now), attempt: u64::MAX };
        let view = recovery.view(disk.position(), proposer);
        assert!(
            view.number > self.ledger.acted_in,
            "invariant 1: recover gives the number of {view} again, and something was acknowledged in view {}",
            self.ledger.acted_in
        );
        // A view that its primary had no time to act in has left no trace.
        self.ledger.primaries.split_off(&view.number);
        let register = self.new_register();
        for (disk, candidate) in self.disks.iter_mut().zip(&candidates) {
            *disk.memory = Some(recovery.memory(candidate, register, &view));
            // The command writes anew and syncs whatever it leaves.
            disk.memory.rewrite();
            disk.rows.rewrite();
        }
        self.register.id = register;
        self.register.views.push(view);
        self.register.damaged = false;
        self.register.altered = false;
        // A copy of what the register was is of no use any more, and a database that remembers that one neither.
        self.register.copy = None;
        self.backups.iter_mut().for_each(|backup| *backup = None);
        for node in 0..self.nodes.len() {
            let pause = self.micros(100, 1_000_000);
            self.later(pause, Happening::Start { node });
        }
    }
}
