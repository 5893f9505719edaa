//! The batch: gathered once there are requests, sent to all that must log it and logged here at the same time, committed when
//! all have it (`PacificA` §2.2). Several are in flight, one behind the other; their answers are given in their order.

use super::{Primary, Waiting};
use crate::bounds::Bounds;
use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::Token;
use crate::log::{Chain, Entry, Op, Position, Record};
use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A batch that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Batch<R> {
    token: Token,
    /// What was executed before it.
    previous: Position,
    entries: Vec<Entry<R>>,
    /// Where the log ends with it. Of a batch without entries: everything that its answers may rest on.
    end: Position,
}

impl<R: Record> Batch<R> {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.record.encoded().len()).sum()
    }
}

/// The batches of one primacy: those in flight, and the newest of those that were committed, for newcomers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batches<R> {
    /// Each follows the one before: the newest are in flight.
    all: VecDeque<Batch<R>>,
    /// How many of them are in flight.
    in_flight: usize,
    /// Bytes of records in those in flight.
    bytes_in_flight: usize,
    /// Bytes of records in all of them.
    bytes: usize,
    /// The end of everything that was executed.
    executed: Position,
}

impl<R: Record> Batches<R> {
    pub(super) const fn after(executed: Position) -> Self {
        Self { all: VecDeque::new(), in_flight: 0, bytes_in_flight: 0, bytes: 0, executed }
    }

    pub(super) const fn executed(&self) -> Position {
        self.executed
    }

    pub(super) const fn any_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    const fn have_room(&self, bounds: &Bounds) -> bool {
        self.in_flight < bounds.batches_in_flight && self.bytes_in_flight < bounds.bytes_in_flight
    }

    fn push(&mut self, batch: Batch<R>, bounds: &Bounds) {
        self.executed = batch.end;
        self.in_flight += 1;
        self.bytes_in_flight += batch.bytes();
        self.bytes += batch.bytes();
        self.all.push_back(batch);
        self.let_go(bounds);
    }

    /// Keeps no more for newcomers than the bounds allow; what is in flight is kept in any case.
    fn let_go(&mut self, bounds: &Bounds) {
        while self.all.len() > self.in_flight
            && (self.all.len() > bounds.batches_kept || self.bytes > bounds.bytes_kept)
            && let Some(oldest) = self.all.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    /// The next batch in flight, if all of it is logged up to here; it is in flight no longer.
    fn commit_next(&mut self, logged: Op) -> Option<(Token, Position, bool)> {
        let place = self.all.len() - self.in_flight;
        let batch = self.all.get(place).filter(|batch| batch.end.op <= logged)?;
        self.in_flight -= 1;
        self.bytes_in_flight -= batch.bytes();
        Some((batch.token, batch.end, !batch.entries.is_empty()))
    }

    /// The chain at an op, where these batches reach back to it.
    pub(super) fn chain_at(&self, op: Op) -> Option<Chain> {
        if op == self.executed.op {
            return Some(self.executed.chain);
        }
        let first = self.all.front()?.previous;
        if op == first.op {
            return Some(first.chain);
        }
        self.all.iter().flat_map(|batch| &batch.entries).find(|entry| entry.op == op).map(|entry| entry.chain)
    }

    /// What was executed after a place, as far as these batches reach back to it: a piece for each batch.
    pub(super) fn after_place(&self, place: Position) -> Option<Vec<(Position, Vec<Entry<R>>)>> {
        if self.chain_at(place.op) != Some(place.chain) {
            return None;
        }
        let later = self.all.iter().filter(|batch| batch.end.op > place.op && !batch.entries.is_empty());
        let pieces = later.map(|batch| {
            let missing: Vec<_> = batch.entries.iter().filter(|entry| entry.op > place.op).cloned().collect();
            (if place.op > batch.previous.op { place } else { batch.previous }, missing)
        });
        Some(pieces.collect())
    }
}

impl<R: Record> Primary<R> {
    pub(crate) fn on_requests_waiting(&mut self) {
        self.requests_waiting = true;
    }

    /// Whether serving, or the next batch, waits until the tables show more.
    pub(crate) fn awaits_the_tables(&self, common: &Common<R>) -> bool {
        !self.serving
            || (self.requests_waiting
                && (common.applied.op < self.barrier || common.apply_lag() > common.bounds.apply_lag))
    }

    pub(super) fn execute(&mut self, common: &mut Common<R>, now: Time) {
        let free = self.serving
            && common.work.may_execute()
            && common.remembers()
            && !self.retiring()
            && self.hold_until.is_none()
            && common.impairment().is_none()
            && self.batches.have_room(&common.bounds)
            && common.applied.op >= self.barrier
            && common.apply_lag() <= common.bounds.apply_lag;
        if free && self.requests_waiting {
            self.requests_waiting = false;
            let token = common.token();
            common.work.execute(token, now);
            self.executing = Some(token);
            // A replica that is being removed will hardly hold it.
            let copies = self.view.in_sync.difference(self.removing).len();
            common.emit(Effect::Execute { token, copies });
        }
    }

    pub(crate) fn on_executed(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        entries: Vec<Entry<R>>,
        barrier: bool,
    ) {
        if self.executing.take_if(|mine| *mine == token).is_none() {
            // A primacy of this replica before this one had asked for it.
            return;
        }
        let previous = self.batches.executed();
        let end =
            previous.extend(&entries).expect("a batch follows what was executed before it, without holes");
        if barrier {
            self.barrier = end.op;
        }
        if !entries.is_empty() {
            let followers = self.followers.iter_mut().filter(|(_, follower)| follower.gets_each_batch());
            for (peer, follower) in followers {
                let committed = follower.commit_point(common.committed());
                follower.sends(end, now);
                let (view, entries) = (self.view.clone(), entries.clone());
                common.send(*peer, Message::Append { view, previous, entries, committed });
            }
            self.commit_point_due = None;
            common.log(entries.clone(), end, now);
        }
        self.batches.push(Batch { token, previous, entries, end }, &common.bounds);
    }

    /// Commits every batch that is in the log of all that are required, this replica included.
    pub(super) fn commit(&mut self, common: &mut Common<R>, now: Time) {
        if !self.serving || !common.remembers() || self.retiring() {
            return;
        }
        let confirmed = self.required(common.me).iter().map(|peer| {
            let follower = self.followers.get(&peer).filter(|follower| follower.is_level());
            follower.map_or(Op(0), |follower| follower.confirmed.op)
        });
        let logged = confirmed.fold(common.logged.op, Op::min);
        while let Some((token, end, changed)) = self.batches.commit_next(logged) {
            if end.op > common.committed().op {
                common.commit_point.reached(end);
                if !self.followers.is_empty() {
                    self.commit_point_due.get_or_insert(now + super::COMMIT_POINT_WITHIN);
                }
            }
            // What changed nothing is a read, and waits for the lease like one.
            self.waiting.push(if changed { Waiting::Changed(token) } else { Waiting::Unchanged(token) });
        }
    }
}
