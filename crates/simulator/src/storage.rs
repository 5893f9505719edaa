//! Store effects: carried out after a while, durable at one moment, answered at a later one. A crash in between leaves
//! what was durable and nothing else. Stores fail before they have written, or after; they hang; snapshots break off.

use crate::agenda::Happening;
use crate::checks;
use crate::disk::{Dates, Disk};
use crate::fact::{Action, Fact};
use crate::node::{Asker, Batch, Decided, Executing, LogWrite, Node, Waiter};
use crate::world::World;
use protocol::{Effect, Entry, Event, Forgetting, Memory, Op, Position, ReplicaIndex, Token, Verdict};

/// A batch takes at most this many requests.
pub(crate) const BATCH_MAX: usize = 4;

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
        if self.health[i].syncs_fail {
            self.disks[i].rows.fail_to_sync();
            self.later(START_AGAIN, Happening::Start { node: i });
            return false;
        }
        self.disks[i].read_back();
        true
    }

    /// A process ends. What it was writing to the log may have been written and not synced.
    pub(crate) fn end_in_the_middle_of_a_write(&mut self, i: usize, node: &Node) {
        let Health { full, stuck, .. } = self.health[i];
        if node.log_queue.is_empty() || node.log_failed || full || stuck {
            return;
        }
        if self.random.percent(self.profile.ends_before_syncs) {
            let written = self.random.index(node.log_queue.len()) + 1;
            let writes = node.log_queue.iter().take(written);
            self.disks[i].unseen = writes.flat_map(|write| write.entries.clone()).collect();
        }
    }

    /// Entries wait to be written to the log, behind those that wait already.
    pub(crate) fn log_later(
        &mut self,
        i: usize,
        token: Token,
        entries: Vec<Entry<Fact>>,
        committed: Position,
    ) {
        let Some(node) = &mut self.nodes[i] else { return };
        node.log_queue.push_back(LogWrite { token, entries, committed });
        if node.log_queue.len() == 1 {
            self.write_log_later(i);
        }
        checks::queues_for_the_log(self, i);
    }

    fn write_log_later(&mut self, i: usize) {
        let (incarnation, delay) = (self.incarnation(i), self.store_delay());
        self.later(delay, Happening::WriteLog { at: i, incarnation });
    }

    fn store_delay(&mut self) -> u64 {
        let slow = self.random.in_ten_thousand(self.profile.store_slow);
        if slow { self.micros(20_000, 4_000_000) } else { self.micros(300, 6_000) }
    }

    /// Writes some of what waits for the log as one group, with one sync: all of it is durable, or none is known to be.
    pub(crate) fn write_log(&mut self, i: usize, incarnation: u64) {
        if !self.alive(i, incarnation) {
            return;
        }
        let Health { full, stuck, syncs_fail, .. } = self.health[i];
        if stuck {
            self.later(50_000, Happening::WriteLog { at: i, incarnation });
            return;
        }
        let fails = self.random.in_ten_thousand(self.profile.store_fails);
        // At times everything was written, and only the sync has failed: it reads well from then on.
        let written = !full && (syncs_fail || (fails && self.random.percent(40)));
        let Some(node) = &mut self.nodes[i] else { return };
        let waiting = node.log_queue.len();
        let group = if self.profile.jitter { self.random.index(waiting) + 1 } else { waiting };
        let group: Vec<LogWrite> = node.log_queue.drain(..group).collect();
        let failed_before = node.log_failed;
        let failed = failed_before || fails || full || syncs_fail;
        node.log_failed = failed;
        let more = !node.log_queue.is_empty();
        let committed = group.last().expect("what is written was waiting").committed;
        let tokens: Vec<Token> = group.iter().map(|write| write.token).collect();
        let entries: Vec<_> = group.into_iter().flat_map(|write| write.entries).collect();
        let disk = &mut self.disks[i];
        if !failed {
            disk.append(entries);
            disk.committed = committed;
        } else if written && !failed_before {
            disk.unseen = entries;
        }
        for token in tokens {
            let event = if failed { Event::StoreFailed { token } } else { Event::Logged { token } };
            self.answer_of_the_log(i, event);
        }
        if more {
            self.write_log_later(i);
        }
    }

    /// Answers of the log keep their order.
    fn answer_of_the_log(&mut self, i: usize, event: Event<Fact>) {
        let at = self.now + self.micros(20, 400);
        let Some(node) = &mut self.nodes[i] else { return };
        let at = at.max(node.log_answered_at + 1);
        node.log_answered_at = at;
        let incarnation = node.incarnation;
        self.later(at - self.now, Happening::Tell { to: i, incarnation, event: Box::new(event) });
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
        if matches!(effect, Effect::Execute { .. }) {
            let Some(node) = &mut self.nodes[at] else { return };
            // What turns the page ends its batch: what stands behind it is decided on the next one.
            let turns = node.queue.iter().position(|waiter| waiter.request.action == Action::TurnPage);
            let taken = turns.map_or(node.queue.len(), |place| place + 1).min(BATCH_MAX);
            let waiters = node.queue.drain(..taken).collect();
            let more = !node.queue.is_empty();
            node.executing = Some(Executing { waiters, primacy: node.primacy });
            if more {
                let event = Box::new(Event::RequestsWaiting);
                self.later(1, Happening::Tell { to: at, incarnation, event });
            }
        }
        let slow = matches!(effect, Effect::Apply { .. }) && self.random.percent(self.profile.applies_slow);
        let delay = if slow { self.micros(6_000, 500_000) } else { self.store_delay() };
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

    /// What the tables show leaves the overlay.
    fn trim_the_overlay(&mut self, i: usize) {
        let applied = self.disks[i].applied().op;
        let Some(node) = &mut self.nodes[i] else { return };
        node.overlay.retain(|entry| entry.op > applied);
    }

    fn carry_out(&mut self, i: usize, effect: Effect<Fact>) -> Event<Fact> {
        let fails = self.random.in_ten_thousand(self.profile.store_fails);
        let Health { full, syncs_fail, removed, .. } = self.health[i];
        let written = fails && self.random.percent(40);
        let checkpoints = self.random.percent(self.profile.checkpoints);
        let piece = if self.profile.jitter { self.random.below(6) + 1 } else { u64::MAX / 2 };
        if self.disks[i].differs.is_some() && !self.another_holds_as_much(i) {
            // No protocol mends the rows of the last that holds everything: a person has.
            self.disks[i].differs = None;
        }
        match &effect {
            Effect::Apply { up_to, .. } => checks::applies_what_is_committed(self, i, *up_to),
            Effect::Cut { to, .. } => checks::cut_keeps_what_is_committed(self, i, *to),
            _ => {}
        }
        let disk = &mut self.disks[i];
        match effect {
            Effect::Execute { token, .. } if fails => {
                if let Some(node) = &mut self.nodes[i] {
                    node.executing = None;
                }
                Event::StoreFailed { token }
            }
            Effect::Execute { token, copies } => self.execute(i, token, copies),
            Effect::Apply { token, up_to } => {
                let up_to = Op(up_to.op.0.min(disk.applied().op.0 + piece));
                let applied = !full && (!fails || written) && disk.apply(up_to);
                if !applied || fails {
                    return Event::StoreFailed { token };
                }
                if checkpoints {
                    if syncs_fail {
                        disk.rows.fail_to_sync();
                        return Event::StoreFailed { token };
                    }
                    disk.rows.sync();
                    let checkpointed = disk.rows.durable().applied.op;
                    if let Some(node) = &mut self.nodes[i] {
                        node.checkpointed = checkpointed;
                    }
                    disk.prune(self.profile.log_entries_max, checkpointed);
                }
                Event::Applied { token, applied: disk.applied() }
            }
            Effect::Cut { token, to } => {
                if fails || full || syncs_fail {
                    // The new end may have its name, and the folder was not synced.
                    if written {
                        self.disks[i].cut(to);
                    }
                    return Event::StoreFailed { token };
                }
                disk.cut(to);
                Event::LogCut { token }
            }
            Effect::Remember { token, memory } => {
                if full || fails || syncs_fail {
                    if syncs_fail || written {
                        disk.memory.stop_syncing();
                        *disk.memory = Some(memory);
                        disk.memory.fail_to_sync();
                    }
                    return Event::StoreFailed { token };
                }
                *disk.memory = Some(memory);
                disk.memory.sync();
                Event::Remembered { token }
            }
            Effect::RepairStore { token } => {
                if fails || full || syncs_fail || removed {
                    return Event::StoreFailed { token };
                }
                disk.repair();
                let (logged, applied) = (disk.position(), disk.applied());
                if let Some(node) = &mut self.nodes[i] {
                    node.log_failed = false;
                }
                Event::StoreRepaired { token, logged, applied }
            }
            other => panic!("not a store effect: {other:?}"),
        }
    }

    fn execute(&mut self, i: usize, token: Token, copies: usize) -> Event<Fact> {
        let Some(node) = &mut self.nodes[i] else { unreachable!("only a living process executes") };
        let Some(Executing { waiters, primacy }) = node.executing.take() else {
            unreachable!("what is executed was taken from the queue")
        };
        if !node.serving || node.primacy != primacy {
            // The primacy that wanted this batch is over, and its clients were told so.
            return Event::BatchExecuted { token, entries: Vec::new(), barrier: false };
        }
        self.trim_the_overlay(i);
        checks::overlay_is_what_the_tables_lack(self, i);
        let dates = self.dates(i);
        let decided: Vec<(Waiter, Decided)> =
            waiters.into_iter().map(|waiter| (waiter, self.decide(i, &waiter, copies, &dates))).collect();
        let placed = decided.iter().filter(|(_, decided)| *decided == Decided::Placed);
        let Some(node) = &mut self.nodes[i] else { unreachable!("it was alive above") };
        let disk = &self.disks[i];
        let entries = disk.execute(&node.overlay, placed.map(|(waiter, _)| waiter.request), &dates);
        node.overlay.extend(entries.iter().cloned());
        node.executed = entries.last().map_or(node.executed, Entry::position);
        let end = node.executed;
        let messages = entries.iter().filter_map(|entry| {
            let request = entry.record.request()?;
            match request.action {
                Action::Send { to } => Some((entry.op, to, request.id)),
                Action::Set { .. } | Action::TurnPage => None,
            }
        });
        let place = |waiter: &Waiter| {
            let id = waiter.request.id;
            let carries = |entry: &&Entry<Fact>| entry.record.request().is_some_and(|other| other.id == id);
            node.overlay.iter().find(carries).map(|entry| entry.op).or_else(|| disk.state().effect(id))
        };
        let waiters = decided.iter().map(|(waiter, decided)| (*waiter, *decided, place(waiter))).collect();
        node.batches.push(Batch { token, waiters, messages: messages.collect(), end });
        let barrier = entries.iter().any(|entry| entry.record.is_barrier());
        if barrier {
            node.barrier = end.op;
        }
        Event::BatchExecuted { token, entries, barrier }
    }

    /// What a batch of replica `i` is executed by.
    fn dates(&mut self, i: usize) -> Dates {
        let (now, wall, rule) = (self.local(i), self.wall(i), self.profile.remembering);
        let forgotten = self.disks[i].state().forgotten;
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
        let state = self.disks[i].state();
        let in_date = state.verdict(&waiter.request, dates) == Verdict::New;
        let executed =
            |entry: &Entry<Fact>| entry.record.request().is_some_and(|other| other.id == waiter.request.id);
        if state.remembers(waiter.request.id)
            || node.overlay.iter().any(executed)
            || (in_date && copies >= wanted)
        {
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
            let rows = self.disks[source].rows.clone();
            let copy = Box::new(Disk::at(
                self.disks[source].database,
                (*rows).clone(),
                memory.map(|memory| *memory),
            ));
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
            self.disks[to] = Disk { database, ..copy };
            let position = self.disks[to].position();
            if let Some(node) = &mut self.nodes[to] {
                // Its log is a new one, and its tables are durable.
                (node.log_failed, node.checkpointed) = (false, position.op);
                node.committed = None;
            }
            Event::SnapshotInstalled { token, database, position }
        };
        let delay = self.micros(20, 400);
        self.later(delay, Happening::Tell { to, incarnation, event: Box::new(event) });
    }
}
