//! The nemesis: hurts processes, disks and connections, in an order that a seed draws, and mends what it broke.
//!
//! What it does to disks stands in [`super::disks`], to the view register in [`super::registers`], to clocks in
//! [`super::clocks`].

use super::disks::SmallDisk;
use super::fault::Fault;
use super::faulty_machine::FaultyMachine;
use super::panic::Panic;
use super::proxy::Mode;
use super::{Narrator, Paths};
use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::Supervisor;
use client::Client;
use people::Ledger;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Nemesis {
    pub(super) supervisor: Supervisor,
    paths: Paths,
    pub(super) observer: Client,
    pub(super) ledger: Arc<Ledger>,
    pub(super) narrator: Narrator,
    pub(super) random: StdRng,
    struck: BTreeMap<Fault, u64>,
    /// What was found in logs before they were wiped.
    pub(super) panics: Vec<Panic>,
    /// The small disk that one replica has for a while.
    pub(super) small: Option<SmallDisk>,
    /// Where there is a C compiler.
    pub(super) faulty: Option<FaultyMachine>,
}

impl Nemesis {
    pub(crate) fn new(
        supervisor: Supervisor,
        paths: Paths,
        observer: Client,
        ledger: Arc<Ledger>,
        narrator: Narrator,
        faulty: Option<FaultyMachine>,
        seed: u64,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            supervisor,
            paths,
            observer,
            ledger,
            narrator,
            random,
            struck: BTreeMap::new(),
            panics: Vec::new(),
            small: None,
            faulty,
        }
    }

    /// How often each kind of fault struck.
    pub(crate) const fn struck(&self) -> &BTreeMap<Fault, u64> {
        &self.struck
    }

    /// Lets faults strike, one after the other.
    pub(crate) async fn strike_for(&mut self, span: Duration) -> Result<(), Failure> {
        let until = Instant::now() + span;
        let mut beginning = Fault::BEGINNING.into_iter();
        while Instant::now() < until {
            self.pause_between(100, 2_500).await;
            let times = |fault: &Fault| self.struck.get(fault).copied().unwrap_or(0);
            // Every kind comes before any comes for the second time more than another.
            let fewest = Fault::ALL.iter().map(times).min().unwrap_or(0);
            let due: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| times(fault) <= fewest + 1).collect();
            let Some(fault) = beginning.next().or_else(|| due.choose(&mut self.random).copied()) else {
                continue;
            };
            let before = self.ledger.total();
            self.strike(fault).await?;
            *self.struck.entry(fault).or_default() += 1;
            self.mend().await?;
            self.narrator
                .say(&format!("  {} messages were acknowledged meanwhile", self.ledger.total() - before))?;
        }
        Ok(())
    }

    async fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        let replica = self.random.random_range(0..3);
        let other = (replica + self.random.random_range(1..3)) % 3;
        match fault {
            Fault::KillThePrimary => {
                let primary = self.primary().await.unwrap_or(0);
                self.say(fault, &format!("replica {primary}"))?;
                self.kill(primary).await?;
                self.pause_between(200, 2_000).await;
            }
            Fault::EndThePrimary => {
                let primary = self.primary().await.unwrap_or(0);
                self.say(fault, &format!("replica {primary} hands over and ends"))?;
                self.supervisor.signal(primary, Signal::TERM)?;
                self.pause_between(200, 2_000).await;
            }
            Fault::KillOne => {
                self.say(fault, &format!("replica {replica}"))?;
                self.kill(replica).await?;
                self.pause_between(0, 3_000).await;
            }
            Fault::KillTwo => self.kill_two(fault, replica, other).await?,
            Fault::PauseOne => {
                self.say(fault, &format!("replica {replica}"))?;
                self.supervisor.pause(replica)?;
                self.pause_between(50, 4_000).await;
            }
            Fault::PauseTwo => {
                self.say(fault, &format!("replicas {replica} and {other}"))?;
                self.supervisor.pause(replica)?;
                self.supervisor.pause(other)?;
                self.pause_between(50, 4_000).await;
            }
            Fault::PauseOneKillAnother => {
                self.say(fault, &format!("replica {replica} hangs, replica {other} is killed"))?;
                self.supervisor.pause(replica)?;
                self.pause_between(0, 2_500).await;
                self.kill(other).await?;
                self.pause_between(0, 1_500).await;
                self.supervisor.resume(replica)?;
                self.pause_between(0, 1_500).await;
            }
            Fault::RestartOne => {
                self.say(fault, &format!("replica {replica}"))?;
                for _ in 0..self.random.random_range(1..4) {
                    self.kill(replica).await?;
                    self.supervisor.start(replica)?;
                    self.pause_between(0, 300).await;
                }
            }
            Fault::WipeOne => self.wipe(replica).await?,
            Fault::FillOneDisk => self.fill(replica).await?,
            Fault::FailAllSyncs => self.fail_syncs().await?,
            Fault::PowerFailure => self.lose_power().await?,
            Fault::PutTheRegisterBack => self.put_register_back(replica).await?,
            Fault::OneWrongClock => self.set_clocks_wrong(Some(replica)).await?,
            Fault::WrongClocks => self.set_clocks_wrong(None).await?,
            Fault::EndTheSupervisor => self.end_supervisor(fault).await?,
            Fault::CutOffOne => self.cut_off(fault, replica).await?,
            Fault::SlowLinks => {
                let slow = Mode::Slow(Duration::from_millis(self.random.random_range(2..150)));
                self.strike_links(fault, slow).await?;
            }
            Fault::StalledLinks => self.strike_links(fault, Mode::Stalled).await?,
            Fault::TruncatedLinks => self.strike_links(fault, Mode::Truncating).await?,
            Fault::HalfOpenLinks => self.strike_links(fault, Mode::OneWay).await?,
            Fault::BrokenLinks => self.strike_links(fault, Mode::Broken).await?,
        }
        Ok(())
    }

    fn say(&self, fault: Fault, what: &str) -> Result<(), Failure> {
        self.narrator.say(&format!("{fault}: {what}"))
    }

    async fn kill_two(&mut self, fault: Fault, one: usize, other: usize) -> Result<(), Failure> {
        self.say(fault, &format!("replicas {one} and {other}"))?;
        let primary = self.primary().await;
        for index in [one, other] {
            self.note_kill(index, primary);
            self.supervisor.signal(index, Signal::KILL)?;
        }
        for index in [one, other] {
            self.supervisor.kill(index).await?;
        }
        self.pause_between(100, 3_000).await;
        Ok(())
    }

    async fn end_supervisor(&mut self, fault: Fault) -> Result<(), Failure> {
        self.say(fault, "all replicas end, and start again")?;
        // A process that hangs would not notice.
        for index in 0..3 {
            self.supervisor.resume(index)?;
        }
        self.supervisor.let_go().await;
        self.pause_between(0, 500).await;
        Ok(())
    }

    async fn cut_off(&mut self, fault: Fault, replica: usize) -> Result<(), Failure> {
        self.say(fault, &format!("replica {replica}, from the others and from its clients"))?;
        for peer in (0..3).filter(|peer| *peer != replica) {
            self.link(replica, peer, Mode::Stalled);
            self.link(peer, replica, Mode::Stalled);
        }
        self.paths.clients[replica].set(Mode::Stalled);
        self.pause_between(300, 4_000).await;
        Ok(())
    }

    async fn strike_links(&mut self, fault: Fault, mode: Mode) -> Result<(), Failure> {
        let victims = self.break_links(mode);
        self.say(fault, &victims)?;
        self.pause_between(100, 3_000).await;
        Ok(())
    }

    /// No sync of any replica comes through for a while.
    async fn fail_syncs(&mut self) -> Result<(), Failure> {
        let Some(faulty) = self.faulty.clone() else {
            return self.narrator.say("fail all syncs: left alone, because there is no C compiler");
        };
        let (of, which) = match self.random.random_range(0..3) {
            0 => ("", "of all files"),
            1 => ("chat.db", "of the databases"),
            _ => ("/log/", "of the logs"),
        };
        self.narrator.say(&format!("fail all syncs: those {which}; what is written is on no disk"))?;
        faulty.fail_syncs(Some(of))?;
        self.pause_between(200, 3_000).await;
        faulty.fail_syncs(None)
    }

    /// All replicas end at once, and their files are what their syncs have made of them.
    async fn lose_power(&mut self) -> Result<(), Failure> {
        let Some(faulty) = self.faulty.clone() else {
            return self.narrator.say("power failure: left alone, because there is no C compiler");
        };
        self.narrator.say("power failure: all replicas end, and their disks have what was synced")?;
        for index in 0..3 {
            self.supervisor.signal(index, Signal::KILL)?;
        }
        for index in 0..3 {
            self.supervisor.kill(index).await?;
        }
        faulty.lose_power(&self.supervisor.settings().data)?;
        self.start_all()
    }

    /// Some of the paths between replicas and towards clients; says which.
    fn break_links(&mut self, mode: Mode) -> String {
        let mut broken = Vec::new();
        for i in 0..3 {
            for j in (0..3).filter(|j| *j != i) {
                if self.random.random_bool(0.4) {
                    self.link(i, j, mode);
                    broken.push(format!("{i} to {j}"));
                }
            }
            if self.random.random_bool(0.3) {
                self.paths.clients[i].set(mode);
                broken.push(format!("clients to {i}"));
            }
        }
        if broken.is_empty() { "none, by chance".into() } else { broken.join(", ") }
    }

    /// Mends most of what is broken, not always all of it at once: faults may meet.
    async fn mend(&mut self) -> Result<(), Failure> {
        for i in 0..3 {
            for j in (0..3).filter(|j| *j != i) {
                self.link(i, j, Mode::Open);
            }
            self.paths.clients[i].set(Mode::Open);
        }
        self.reap().await?;
        for index in 0..3 {
            if self.supervisor.is_paused(index) && self.random.random_bool(0.8) {
                self.supervisor.resume(index)?;
            }
            if !self.supervisor.runs(index) && self.random.random_bool(0.7) {
                self.supervisor.start(index)?;
            }
        }
        // A replica must run: not all three may be down or hang for long.
        if (0..3).all(|index| self.supervisor.is_paused(index) || !self.supervisor.runs(index)) {
            self.heal().await?;
        }
        Ok(())
    }

    /// Mends everything.
    pub(crate) async fn heal(&mut self) -> Result<(), Failure> {
        for i in 0..3 {
            for j in (0..3).filter(|j| *j != i) {
                self.link(i, j, Mode::Open);
            }
            self.paths.clients[i].set(Mode::Open);
            if self.supervisor.is_paused(i) {
                self.supervisor.resume(i)?;
            }
            self.limit_files(i, None)?;
        }
        self.give_disk_back().await?;
        self.reap().await?;
        self.start_all()
    }

    /// Starts each replica that does not run.
    pub(crate) fn start_all(&mut self) -> Result<(), Failure> {
        for index in 0..3 {
            if !self.supervisor.runs(index) {
                self.supervisor.start(index)?;
            }
        }
        Ok(())
    }

    /// Takes note of replicas that have ended by themselves.
    async fn reap(&mut self) -> Result<(), Failure> {
        while let Ok((index, status)) =
            tokio::time::timeout(Duration::from_millis(50), self.supervisor.ended()).await
        {
            let status = status.map_err(Failure::of)?;
            let words = self.supervisor.last_words(index).unwrap_or_default();
            self.narrator.say(&format!("replica {index} has ended by itself ({status}): {words}"))?;
        }
        Ok(())
    }

    /// The panics that the replicas' logs tell of, those that were wiped among them.
    pub(crate) fn panics(&self) -> Vec<Panic> {
        self.panics.iter().cloned().chain((0..3).filter_map(|index| self.panic_of(index))).collect()
    }

    pub(super) fn panic_of(&self, replica: usize) -> Option<Panic> {
        Panic::find(replica, &self.supervisor.log_text(replica))
    }

    pub(crate) async fn end(self) {
        self.supervisor.end(std::future::pending()).await;
    }

    async fn primary(&self) -> Option<usize> {
        ClusterSummary::of(&self.observer.replicas().await).primary()
    }

    fn link(&self, from: usize, to: usize, mode: Mode) {
        if let Some(proxy) = &self.paths.between[from][to] {
            proxy.set(mode);
        }
    }

    pub(super) async fn kill(&mut self, index: usize) -> Result<(), Failure> {
        let primary = self.primary().await;
        self.note_kill(index, primary);
        self.supervisor.kill(index).await
    }

    /// The death of a primary that was well begins a gap, which the next acknowledgement ends.
    fn note_kill(&self, index: usize, primary: Option<usize>) {
        if primary == Some(index) && self.supervisor.runs(index) && !self.supervisor.is_paused(index) {
            self.ledger.primary_killed();
        }
    }

    pub(super) async fn pause_between(&mut self, from: u64, to: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(from..to))).await;
    }
}
