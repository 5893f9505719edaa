//! The nemesis: hurts processes, disks and connections, in an order that a seed draws, and mends what it broke.
//!
//! What it does to disks stands in [`super::disks`], to the view register in [`super::registers`], to clocks in
//! [`super::clocks`].

use super::disks::SmallDisk;
use super::faulty_machine::FaultyMachine;
use super::ledger::Ledger;
use super::proxy::Mode;
use super::{Narrator, Paths};
use crate::failure::Failure;
use crate::status::summary;
use crate::supervisor::Supervisor;
use client::Client;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kinds of faults, each by the name that people read.
const KINDS: [&str; 21] = [
    "kill the primary",
    "kill one",
    "kill two at once",
    "pause one",
    "pause two",
    "pause one, kill another, resume the first",
    "restart one at once",
    "wipe one",
    "fill one disk",
    "fail all syncs",
    "power failure",
    "put the register back",
    "one wrong clock",
    "wrong clocks",
    "end the supervisor",
    "slow links",
    "stalled links",
    "broken links",
    "truncated links",
    "half-open links",
    "cut off one",
];
/// What every proof begins with, however short it is.
const BEGINNING: [&str; 4] = ["kill the primary", "pause one", "wipe one", "cut off one"];

#[derive(Debug)]
pub(crate) struct Nemesis {
    pub(super) supervisor: Supervisor,
    paths: Paths,
    pub(super) observer: Client,
    pub(super) ledger: Arc<Ledger>,
    pub(super) narrator: Narrator,
    pub(super) random: StdRng,
    struck: BTreeMap<&'static str, u64>,
    /// Replicas whose logs told of a panic before they were wiped.
    pub(super) panicked: Vec<usize>,
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
            panicked: Vec::new(),
            small: None,
            faulty,
        }
    }

    /// How often each kind of fault struck.
    pub(crate) fn struck(&self) -> &BTreeMap<&'static str, u64> {
        &self.struck
    }

    /// Lets faults strike, one after the other.
    pub(crate) async fn strike_for(&mut self, span: Duration) -> Result<(), Failure> {
        let until = Instant::now() + span;
        let mut beginning = BEGINNING.into_iter();
        while Instant::now() < until {
            self.pause_between(100, 2_500).await;
            // Every kind comes before any comes for the second time more than another.
            let fewest =
                KINDS.iter().map(|kind| self.struck.get(kind).copied().unwrap_or(0)).min().unwrap_or(0);
            let due: Vec<&'static str> = KINDS
                .iter()
                .copied()
                .filter(|kind| self.struck.get(kind).copied().unwrap_or(0) <= fewest + 1)
                .collect();
            let Some(kind) = beginning.next().or_else(|| due.choose(&mut self.random).copied()) else {
                continue;
            };
            let before = self.ledger.total();
            self.strike(kind).await?;
            *self.struck.entry(kind).or_default() += 1;
            self.mend().await?;
            self.narrator
                .say(&format!("  {} messages were acknowledged meanwhile", self.ledger.total() - before))?;
        }
        Ok(())
    }

    async fn strike(&mut self, kind: &'static str) -> Result<(), Failure> {
        let one = self.random.random_range(0..3);
        let other = (one + self.random.random_range(1..3)) % 3;
        let say = |this: &Self, what: String| this.narrator.say(&format!("{kind}: {what}"));
        match kind {
            "kill the primary" => {
                let primary = self.primary().await.unwrap_or(0);
                say(self, format!("replica {primary}"))?;
                self.kill(primary).await?;
                self.pause_between(200, 2_000).await;
            }
            "kill one" => {
                say(self, format!("replica {one}"))?;
                self.kill(one).await?;
                self.pause_between(0, 3_000).await;
            }
            "kill two at once" => {
                say(self, format!("replicas {one} and {other}"))?;
                let primary = self.primary().await;
                for index in [one, other] {
                    self.note_kill(index, primary);
                    self.supervisor.signal(index, Signal::KILL)?;
                }
                for index in [one, other] {
                    self.supervisor.kill(index).await?;
                }
                self.pause_between(100, 3_000).await;
            }
            "pause one" => {
                say(self, format!("replica {one}"))?;
                self.supervisor.pause(one)?;
                self.pause_between(50, 4_000).await;
            }
            "pause two" => {
                say(self, format!("replicas {one} and {other}"))?;
                self.supervisor.pause(one)?;
                self.supervisor.pause(other)?;
                self.pause_between(50, 4_000).await;
            }
            "pause one, kill another, resume the first" => {
                say(self, format!("replica {one} hangs, replica {other} is killed"))?;
                self.supervisor.pause(one)?;
                self.pause_between(0, 2_500).await;
                self.kill(other).await?;
                self.pause_between(0, 1_500).await;
                self.supervisor.resume(one)?;
                self.pause_between(0, 1_500).await;
            }
            "restart one at once" => {
                say(self, format!("replica {one}"))?;
                for _ in 0..self.random.random_range(1..4) {
                    self.kill(one).await?;
                    self.supervisor.start(one)?;
                    self.pause_between(0, 300).await;
                }
            }
            "wipe one" => self.wipe(one).await?,
            "fill one disk" => self.fill(one).await?,
            "fail all syncs" => self.fail_syncs().await?,
            "power failure" => self.lose_power().await?,
            "put the register back" => self.put_register_back(one).await?,
            "one wrong clock" => self.set_clocks_wrong(Some(one)).await?,
            "wrong clocks" => self.set_clocks_wrong(None).await?,
            "end the supervisor" => {
                say(self, "all replicas end, and start again".into())?;
                // A process that hangs would not notice.
                for index in 0..3 {
                    self.supervisor.resume(index)?;
                }
                self.supervisor.let_go().await;
                self.pause_between(0, 500).await;
            }
            "cut off one" => {
                say(self, format!("replica {one}, from the others and from its clients"))?;
                for peer in (0..3).filter(|peer| *peer != one) {
                    self.link(one, peer, Mode::Stalled);
                    self.link(peer, one, Mode::Stalled);
                }
                self.paths.clients[one].set(Mode::Stalled);
                self.pause_between(300, 4_000).await;
            }
            links => {
                let mode = match links {
                    "slow links" => Mode::Slow(Duration::from_millis(self.random.random_range(2..150))),
                    "stalled links" => Mode::Stalled,
                    "truncated links" => Mode::Truncating,
                    "half-open links" => Mode::OneWay,
                    _ => Mode::Broken,
                };
                let victims = self.break_links(mode);
                say(self, victims)?;
                self.pause_between(100, 3_000).await;
            }
        }
        Ok(())
    }

    /// No sync of any replica comes through for a while.
    async fn fail_syncs(&mut self) -> Result<(), Failure> {
        let Some(faulty) = self.faulty.clone() else {
            return self.narrator.say("fail all syncs: left alone, because there is no C compiler");
        };
        let of = if self.random.random_bool(0.5) { "" } else { "chat.db" };
        let which = if of.is_empty() { "of all files" } else { "of the databases" };
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

    /// The replicas that have panicked.
    pub(crate) fn panicked(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.panicked.iter().copied().chain(self.panicked_now())
    }

    pub(super) fn panicked_now(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..3).filter(|index| self.supervisor.log_text(*index).contains("panicked"))
    }

    pub(crate) async fn end(self) {
        self.supervisor.end(std::future::pending()).await;
    }

    async fn primary(&self) -> Option<usize> {
        usize::try_from(summary(&self.observer.replicas().await)["primary"].as_u64()?).ok()
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
