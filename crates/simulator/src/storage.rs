//! Store effects: carried out after a while, durable at one moment, answered at a later one. A crash in between leaves
//! what was durable and nothing else. Stores fail before they have written, or after; they hang; snapshots break off.

use crate::agenda::Happening;
use crate::checks;
use crate::disk::{Dates, Disk};
use crate::fact::{Action, Fact};
use crate::node::{Asker, Batch, Decided, Waiter};
use crate::world::World;
use protocol::{Effect, Event, Forgetting, Memory, ReplicaIndex, Token, Verdict};

/// A batch takes at most this many requests.
const BATCH_MAX: usize = 4;

/// How a replica's disk is doing.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and any of them may meet")]
pub struct Health {
    /// Every write fails.
    pub full: bool,
    /// Writes take for ever.
    pub stuck: bool,
    /// What is written can be read, and no sync succeeds.
    pub syncs_fail: bool,
    /// No path leads to the files that its process has open.
    pub removed: bool,
}

/// How soon a process whose store could not be opened is started again.
const START_AGAIN: u64 = 500_000;

impl World {
    /// Opens the store of a process that starts. False if that fails: then it is started again later.
    pub(crate) fn open_store(&mut self, i: usize) -> bool {
        self.disks[i].open = None;
        if self.health[i].syncs_fail {
            self.disks[i].fail_to_sync();
            self.disks[i].read_back();
            self.later(START_AGAIN, Happening::Start { node: i });
            return false;
        }
        self.make_certain(i);
        true
    }

    /// A process ends. What it was writing may have been written and not synced.
    pub(crate) fn end_in_the_middle_of_a_write(&mut self, i: usize, ended: u64) {
        let open = self.disks[i].open.take();
        let written = self.planned().find_map(|happening| match happening {
            Happening::Store { at, incarnation, effect } if (*at, *incarnation) == (i, ended) => {
                match (&**effect, &open) {
                    (Effect::Commit { .. }, Some(entries)) | (Effect::Persist { entries, .. }, _) => {
                        Some(entries.clone())
                    }
                    _ => None,
                }
            }
            _ => None,
        });
        let Some(entries) = written else { return };
        if self.health[i].full || self.health[i].stuck || self.disks[i].refuses(&entries) {
            return;
        }
        if self.random.percent(self.profile.ends_before_syncs) {
            self.disks[i].stop_syncing();
            self.disks[i].unseen = Some(entries);
        }
    }

    pub(crate) fn store_later(&mut self, at: usize, effect: Effect<Fact>) {
        let incarnation = self.incarnation(at);
        if let Effect::InstallSnapshot { token, from, memory } = effect {
            let delay = self.micros(300, 100_000);
            self.later(
                delay,
                Happening::CopySnapshot { to: at, incarnation, token, from, memory: memory.map(Box::new) },
            );
            return;
        }
        let slow = self.random.in_ten_thousand(self.profile.store_slow);
        let delay = if slow { self.micros(20_000, 4_000_000) } else { self.micros(300, 6_000) };
        self.later(delay, Happening::Store { at, incarnation, effect: Box::new(effect) });
    }

    pub(crate) fn store(&mut self, at: usize, incarnation: u64, effect: Box<Effect<Fact>>) {
        if !self.alive(at, incarnation) {
            return;
        }
        if self.health[at].stuck {
            self.later(50_000, Happening::Store { at, incarnation, effect });
            return;
        }
        let event = self.carry_out(at, *effect);
        let delay = self.micros(20, 400);
        self.later(delay, Happening::Tell { to: at, incarnation, event: Box::new(event) });
    }

    fn carry_out(&mut self, i: usize, effect: Effect<Fact>) -> Event<Fact> {
        let fails = self.random.in_ten_thousand(self.profile.store_fails);
        let full = self.health[i].full && !matches!(effect, Effect::RollBack { .. });
        if let Effect::RepairStore { token } = effect {
            return self.repair(i, token, fails);
        }
        let disk = &mut self.disks[i];
        let (Effect::Execute { token, .. }
        | Effect::Commit { token, .. }
        | Effect::RollBack { token }
        | Effect::Persist { token, .. }
        | Effect::Remember { token, .. }) = effect
        else {
            panic!("not a store effect: {effect:?}")
        };
        let writes =
            matches!(effect, Effect::Commit { .. } | Effect::Persist { .. } | Effect::Remember { .. });
        let unsynced = writes && self.health[i].syncs_fail;
        if fails || full || unsynced {
            // At times everything was written, and only the sync has failed: it reads well from then on.
            let written = unsynced || (fails && self.random.percent(40));
            let open = disk.open.take();
            match (effect, open) {
                (Effect::Commit { memory, .. }, Some(entries)) if written && !disk.refuses(&entries) => {
                    disk.stop_syncing();
                    disk.remember(memory);
                    disk.unseen = Some(entries);
                    disk.fail_to_sync();
                }
                (Effect::Persist { entries, .. }, _) if written && !disk.refuses(&entries) => {
                    disk.stop_syncing();
                    disk.unseen = Some(entries);
                    disk.fail_to_sync();
                }
                (Effect::Remember { memory, .. }, _) if written => {
                    disk.stop_syncing();
                    disk.remember(Some(memory));
                    disk.fail_to_sync();
                }
                _ => {}
            }
            return Event::StoreFailed { token };
        }
        let event = match effect {
            Effect::Execute { copies, .. } => return self.execute(i, token, copies),
            Effect::Commit { memory, .. } => {
                let entries = disk.open.take().expect("a commit needs an open transaction");
                disk.append(entries);
                disk.remember(memory);
                disk.sync();
                Event::BatchCommitted { token }
            }
            Effect::Persist { entries, .. } => {
                assert!(disk.open.is_none(), "a secondary persists while a transaction is open");
                if disk.refuses(&entries) {
                    return Event::StoreFailed { token };
                }
                disk.append(entries);
                disk.sync();
                Event::EntriesPersisted { token }
            }
            Effect::Remember { memory, .. } => {
                assert!(disk.open.is_none(), "a view is to be remembered while a transaction is open");
                disk.remember(Some(memory));
                disk.sync();
                Event::Remembered { token }
            }
            _ => {
                disk.open.take().expect("a roll-back needs an open transaction");
                Event::BatchRolledBack { token }
            }
        };
        disk.prune(self.profile.log_entries_max);
        event
    }

    /// What was written is there when the database is opened again; writing all of it anew makes it durable.
    fn make_certain(&mut self, i: usize) {
        let disk = &mut self.disks[i];
        disk.read_back();
        disk.rewrite();
    }

    /// Everything that can be read is written anew and synced, or something of that fails.
    fn repair(&mut self, i: usize, token: Token, fails: bool) -> Event<Fact> {
        let Health { full, syncs_fail, removed, .. } = self.health[i];
        if fails || full || syncs_fail || removed {
            return Event::StoreFailed { token };
        }
        self.make_certain(i);
        Event::StoreRepaired { token, position: self.disks[i].position() }
    }

    fn execute(&mut self, i: usize, token: Token, copies: usize) -> Event<Fact> {
        let dates = self.dates(i);
        let Some(node) = &mut self.nodes[i] else { unreachable!("only a living process executes") };
        let taken = node.queue.len().min(BATCH_MAX);
        let waiters: Vec<Waiter> = node.queue.drain(..taken).collect();
        let more = !node.queue.is_empty();
        let waiters: Vec<(Waiter, Decided)> =
            waiters.into_iter().map(|waiter| (waiter, self.decide(i, &waiter, copies, &dates))).collect();
        let placed = waiters.iter().filter(|(_, decided)| *decided == Decided::Placed);
        let entries = self.disks[i].execute(placed.map(|(waiter, _)| waiter.request), &dates);
        let Some(node) = &mut self.nodes[i] else { unreachable!("it was alive above") };
        let end = entries.last().map_or(self.disks[i].position(), protocol::Entry::position);
        let messages = entries.iter().filter_map(|entry| {
            let request = entry.record.request()?;
            match request.action {
                Action::Send { to } => Some((entry.op, to, request.id)),
                Action::Set { .. } => None,
            }
        });
        node.batches.push(Batch { token, waiters, messages: messages.collect(), end });
        if more {
            let incarnation = node.incarnation;
            let event = Box::new(Event::RequestsWaiting);
            self.later(1, Happening::Tell { to: i, incarnation, event });
        }
        Event::BatchExecuted { token, entries }
    }

    /// What a batch of replica `i` is executed by.
    fn dates(&mut self, i: usize) -> Dates {
        let (now, wall, rule) = (self.local(i), self.wall(i), self.profile.remembering);
        let forgotten = self.disks[i].state.forgotten;
        let Some(node) = &mut self.nodes[i] else { unreachable!("only a living process executes") };
        let forgetting = node.forgetting.get_or_insert_with(|| Forgetting::begin(forgotten, now, wall));
        Dates { wall, may_forget: forgetting.look(now, wall, &rule), rule }
    }

    /// What becomes of a request in a batch that `copies` replicas will hold: the rules of the store in the server.
    fn decide(&mut self, i: usize, waiter: &Waiter, copies: usize, dates: &Dates) -> Decided {
        let wanted = self.wanted(waiter);
        let Some(node) = &mut self.nodes[i] else { unreachable!("only a living process executes") };
        if let Asker::Stream(stream) = waiter.asker
            && node.broken.contains(&stream)
        {
            return Decided::PassedOver;
        }
        let state = &self.disks[i].state;
        let in_date = state.verdict(&waiter.request, dates) == Verdict::New;
        if state.remembers(waiter.request.id) || (in_date && copies >= wanted) {
            return Decided::Placed;
        }
        if let Asker::Stream(stream) = waiter.asker {
            node.broken.insert(stream);
        }
        if in_date {
            return Decided::TooFewInSync;
        }
        checks::refused_for_its_date(self, i, waiter.request);
        Decided::OutOfDate
    }

    /// On how many replicas a request must be before it is done.
    pub(crate) fn wanted(&self, waiter: &Waiter) -> usize {
        waiter.min_copies.max(self.profile.min_in_sync)
    }

    /// A snapshot is copied as its source is at this moment.
    pub(crate) fn copy_snapshot(
        &mut self,
        to: usize,
        incarnation: u64,
        token: Token,
        from: ReplicaIndex,
        memory: Option<Box<Memory>>,
    ) {
        let source = usize::from(from.0);
        let reachable = self.nodes[source].as_ref().is_some_and(|node| !node.paused)
            && !self.network.cut.contains(&(source, to))
            && !self.network.cut.contains(&(to, source));
        let breaks = self.random.percent(self.profile.snapshots_break);
        let delay = self.micros(200, 200_000);
        if reachable && !breaks {
            let mut copy = Box::new((*self.disks[source]).clone());
            copy.open = None;
            copy.memory = memory.map(|memory| *memory);
            copy.unseen = None;
            // Both have the same rows from then on.
            copy.differs = None;
            self.later(delay, Happening::SwapSnapshot { to, incarnation, token, copy });
        } else {
            let event = Box::new(Event::SnapshotFailed { token });
            self.later(delay, Happening::Tell { to, incarnation, event });
        }
    }

    /// A snapshot takes the place of the database, all of it or nothing.
    pub(crate) fn swap_snapshot(&mut self, to: usize, incarnation: u64, token: Token, copy: Disk) {
        if !self.alive(to, incarnation) {
            return;
        }
        let Health { full, syncs_fail, removed, .. } = self.health[to];
        let event = if full || syncs_fail || removed {
            Event::SnapshotFailed { token }
        } else {
            let database = self.new_database();
            self.disks[to] = Disk { database, ..copy }.into();
            Event::SnapshotInstalled { token, database, position: self.disks[to].position() }
        };
        let delay = self.micros(20, 400);
        self.later(delay, Happening::Tell { to, incarnation, event: Box::new(event) });
    }
}
