//! The primary: gathers batches, has everyone log them, commits them, answers (`PacificA` §2.2).
//!
//! Several batches are in flight at a time, one behind the other. Everything that the primary waits for stands in its fields,
//! and after every event [`Primary::advance`] looks at them and does whatever can be done now; so no order of events can leave
//! it waiting for something that has already happened.
//!
//! Who must have logged an entry before it is committed: this replica, every in-sync secondary of the view that it leads,
//! **and** of the view that it has proposed, from the moment of proposing (a delayed swap may take effect at any time).
//! Removing a replica frees the primary from waiting only once the swap is known to be installed (invariant 2).

mod answering;
mod batch;
mod follower;
mod levelling;
mod membership;

use self::batch::Batches;
use self::follower::{Confirmation, Follower, Stage};
use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::{ReadId, ReplicaIndex, ReplicaSet, StreamId, Token};
use crate::log::{Op, Position, Record};
use crate::next::{Next, Patience, Shown};
use crate::note::{Note, RemovalReason, StepDownReason};
use crate::time::Time;
use crate::view::View;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// The followers hear of what is committed within this time, with the next batch or else with a beat, so that the tables of all
/// replicas are complete soon after the last answer.
pub(crate) const COMMIT_POINT_WITHIN: Duration = Duration::from_millis(3);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Primary<R> {
    /// The view that I lead; not the same thing as the newest view that I know of.
    view: View,
    /// One for each open stream: `followers.keys() == connected`.
    followers: BTreeMap<ReplicaIndex, Follower>,
    /// All that are required are level, and requests are taken. It stays so until this primary steps down.
    serving: bool,
    /// The driver has requests for the next batch.
    requests_waiting: bool,
    /// The batch that is being executed.
    executing: Option<Token>,
    /// What was executed in this primacy; empty before it serves.
    batches: Batches<R>,
    /// No batch is executed before the tables show everything up to here: `barrier <= batches.executed()`.
    barrier: Op,
    /// When the followers are to hear of what was committed since the last append.
    commit_point_due: Option<Time>,
    /// What waits for the lease, or until the view is remembered: nothing is answered in a view before that, so that
    /// `recover` never gives its number to another.
    waiting: Vec<Waiting>,
    /// A change of the view that was proposed and whose outcome is not known yet.
    swap: Option<Swap>,
    /// Those that are to leave the view, as soon as no swap is under way: `removing ⊆ view.in_sync - {me}`.
    removing: ReplicaSet,
    /// Why the last of them is.
    removal_reason: RemovalReason,
    /// The longest tail among the in-sync replicas is being fetched.
    tail: Option<Tail>,
    /// Those that were told to cut their logs in this primacy and were not admitted since, and where those logs ended.
    told_to_cut: BTreeMap<ReplicaIndex, Position>,
    /// When the next beat is due.
    beat_at: Time,
    /// No batch begins before that, so that nothing is in flight when the lead is handed over.
    hold_until: Option<Time>,
    /// No other hold begins before that: `hold_until <= hold_again_at`.
    hold_again_at: Time,
    /// When this was looked at last, and since when it has been looked at without a long break: a process that was
    /// paused must not take its own absence for the others' silence.
    looked_at: Time,
    awake_since: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Swap {
    /// `proposal.number == view.number + 1`.
    proposal: View,
    /// The swap that is under way; `None` while its outcome is unknown and it waits to be tried again.
    asked: Option<Token>,
    /// When it is tried again.
    again_at: Time,
    /// Who enters by it.
    newcomer: Option<ReplicaIndex>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tail {
    /// Of whom it is asked.
    from: ReplicaIndex,
    asked_at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    Read(ReadId),
    /// The answer of a batch that changed nothing: a read too.
    Unchanged(Token),
    /// The answer of a batch that changed something, which needs no lease.
    Changed(Token),
}

impl<R: Record> Primary<R> {
    /// Begins a primacy whose view the register has just installed.
    pub(crate) fn start(common: &mut Common<R>, now: Time, view: View, shown: Shown) -> Self {
        // A store that failed while this replica stood for primary may be under repair.
        assert!(
            common.work.log_at_rest() || !common.store.is_sound(),
            "replica {} leads and does not know where its log ends: {:?}",
            common.me,
            common.work
        );
        common.adopt(&view);
        common.note(Note::Leading(view.clone()));
        common.clocks.forget();
        let mut followers: BTreeMap<_, _> =
            common.streams.keys().map(|peer| (*peer, Follower::new())).collect();
        for (peer, (stream, position)) in shown {
            // A stream that was replaced since then says nothing: the peer is called again, or removed.
            if common.streams.get(&peer) == Some(&stream) {
                followers.insert(peer, Follower::shown(position));
            }
        }
        Self {
            view,
            followers,
            serving: false,
            requests_waiting: false,
            executing: None,
            batches: Batches::after(common.logged),
            barrier: Op(0),
            commit_point_due: None,
            waiting: Vec::new(),
            swap: None,
            removing: ReplicaSet::EMPTY,
            removal_reason: RemovalReason::StreamClosed,
            tail: None,
            told_to_cut: BTreeMap::new(),
            beat_at: now,
            hold_until: None,
            hold_again_at: now,
            looked_at: now,
            awake_since: now,
        }
    }

    pub(crate) const fn view(&self) -> &View {
        &self.view
    }

    pub(crate) const fn serving(&self) -> bool {
        self.serving
    }

    /// Every other replica that must have logged an entry before it is committed.
    fn required(&self, me: ReplicaIndex) -> ReplicaSet {
        let proposed = self.swap.as_ref().map_or(ReplicaSet::EMPTY, |swap| swap.proposal.in_sync);
        self.view.in_sync.union(proposed).without(me)
    }

    /// On how many replicas in sync everything committed is durable, as it is now: one may have left since the batch was
    /// executed, or while its answer waited. A newcomer counts once its view is known to be installed: before that no
    /// replica would take over from it.
    const fn copies(&self) -> usize {
        self.view.in_sync.len()
    }

    /// No change of the view is under way or due, and the log is not being written.
    fn at_rest(&self, common: &Common<R>) -> bool {
        self.swap.is_none() && self.removing.is_empty() && common.log_is_certain()
    }

    /// Nothing is being executed, and everything that was is committed.
    const fn nothing_in_flight(&self) -> bool {
        self.executing.is_none() && !self.batches.any_in_flight()
    }

    /// Whether a view has been proposed in which another leads: from then on nothing may be answered.
    fn retiring(&self) -> bool {
        self.swap.as_ref().is_some_and(|swap| swap.proposal.primary() != self.view.primary())
    }

    pub(crate) fn on_message(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) -> Next<R> {
        let newer = match &message {
            Message::Call { base: view, .. }
            | Message::Beat { view, .. }
            | Message::Append { view, .. }
            | Message::Fetch { view, .. }
            | Message::Cut { view, .. }
            | Message::TakeSnapshot { view }
            | Message::HandedOver { view }
            | Message::Alive { view: Some(view), .. }
            | Message::Refused { known: Some(view), .. } => view.number > self.view.number,
            _ => false,
        };
        if newer && !self.own_proposal_in(&message) {
            // Step down first, think afterwards: the secondary that this replica becomes will look at the message.
            self.step_down(common, StepDownReason::Superseded);
            return Next::FollowThen { patience: Patience::fresh(now), peer, stream, message };
        }
        let Some(follower) = self.followers.get_mut(&peer) else { return Next::Stay };
        match message {
            Message::Shown { number, database, position } if number == self.view.number => {
                follower.on_shown(database, position);
                if self.view.in_sync.contains(peer) && !self.view.holds(peer, database, position) {
                    self.fail(common, now, peer, RemovalReason::Forked);
                }
            }
            Message::Confirmed { number, position }
                if number <= self.view.number && follower.on_confirmed(position) == Confirmation::Forked =>
            {
                self.fail(common, now, peer, RemovalReason::Forked);
            }
            Message::BeatAnswered { number, sent_at } if number <= self.view.number => {
                follower.answered = follower.answered.max(Some(sent_at));
            }
            Message::Tail { number, chain, entries } if number == self.view.number => {
                self.on_tail(common, now, peer, chain, entries);
            }
            Message::NeedsSnapshot { number } if number == self.view.number => {
                if self.required(common.me).contains(peer) {
                    self.fail(common, now, peer, RemovalReason::Leaves);
                } else if let Some(follower) = self.followers.get_mut(&peer) {
                    follower.on_needs_snapshot(common, now, (peer, &self.view));
                }
            }
            Message::Refused { .. } => self.fail(common, now, peer, RemovalReason::Refused),
            Message::Leaving { .. } => self.fail(common, now, peer, RemovalReason::Leaves),
            Message::Call { .. } | Message::Beat { .. } | Message::Append { .. } | Message::Fetch { .. } => {
                common.refuse(peer);
            }
            _ => {}
        }
        Next::Stay
    }

    /// Whether the newer view in the message is the one that this primary has proposed and not yet heard of.
    fn own_proposal_in(&self, message: &Message<R>) -> bool {
        let Some(swap) = &self.swap else { return false };
        match message {
            Message::Alive { view: Some(view), .. } | Message::Refused { known: Some(view), .. } => {
                *view == swap.proposal
            }
            _ => false,
        }
    }

    pub(crate) fn on_stream_opened(&mut self, peer: ReplicaIndex) {
        self.followers.insert(peer, Follower::new());
    }

    pub(crate) fn on_stream_closed(&mut self, common: &mut Common<R>, now: Time, peer: ReplicaIndex) {
        if self.required(common.me).contains(peer) {
            self.fail(common, now, peer, RemovalReason::StreamClosed);
        } else if !matches!(
            self.followers.get(&peer).map(|follower| &follower.stage),
            Some(Stage::Snapshot { .. } | Stage::Cutting { .. } | Stage::Waiting)
        ) {
            common.probation.removed(peer, now);
        }
        self.followers.remove(&peer);
    }

    /// A follower can't go on: who is required leaves the in-sync set, anyone else begins again by another stream.
    fn fail(&mut self, common: &mut Common<R>, now: Time, peer: ReplicaIndex, reason: RemovalReason) {
        if self.required(common.me).contains(peer) {
            self.removing = self.removing.with(peer);
            self.removal_reason = reason;
        } else if self.followers.remove(&peer).is_some() {
            common.probation.removed(peer, now);
            common.disconnect(peer);
        }
    }

    /// Ends the primacy: nothing is answered any more. What is in flight is in the log or on its way to it, and is committed or cut
    /// off by a later primary.
    pub(crate) fn step_down(&mut self, common: &mut Common<R>, reason: StepDownReason) {
        common.note(Note::SteppedDown(reason));
        common.emit(Effect::StopServing);
        for waiting in core::mem::take(&mut self.waiting) {
            if let Waiting::Read(read) = waiting {
                common.emit(Effect::RefuseRead { read });
            }
        }
        self.serving = false;
    }

    /// The store failed or hangs: say so, so that the next one need not wait for the lease to run out.
    pub(crate) fn resign(&mut self, common: &mut Common<R>, now: Time, reason: StepDownReason) -> Next<R> {
        // A view proposed and not yet heard of may be led by this replica too; what it resigns is the one it leads.
        let number = self.view.number;
        self.step_down(common, reason);
        for peer in self.view.in_sync.without(common.me).iter() {
            common.send(peer, Message::Resigned { number });
        }
        Next::Follow(Patience::fresh(now))
    }

    /// Does whatever can be done now.
    pub(crate) fn advance(&mut self, common: &mut Common<R>, now: Time) -> Next<R> {
        if !common.store.is_sound() {
            // Its files were lost while it stood for primary, and the swap came through.
            return self.resign(common, now, StepDownReason::StoreFailed);
        }
        if common.work.busy_for(now) >= common.timing.store_limit {
            common.store.hung(now);
            return self.resign(common, now, StepDownReason::StoreStuck);
        }
        if common.clock_wrong() {
            return self.resign(common, now, StepDownReason::ClockWrong);
        }
        self.look_for_failures(common, now);
        self.beat(common, now);
        self.take_tail(common, now);
        self.bring_level(common, now);
        // After whatever may find that a follower can't go on, so that nothing is left for the next event.
        self.propose_removal(common, now);
        self.retry_swap(common, now);
        self.hold_slow_newcomers(common);
        self.commit(common, now);
        // Before a newcomer may be handed the lead.
        self.flush_waiting(common, now);
        if self.begin_serving(common) {
            // From now on there is time for newcomers too.
            self.bring_level(common, now);
        }
        self.admit(common, now);
        self.flush_waiting(common, now);
        if let Some(impairment) = common.impairment()
            && self.nothing_in_flight()
        {
            return self.resign(common, now, StepDownReason::Impaired(impairment));
        }
        self.execute(common, now);
        Next::Stay
    }

    fn look_for_failures(&mut self, common: &mut Common<R>, now: Time) {
        let limit = common.timing.confirm_limit;
        let required = self.required(common.me);
        for peer in required.difference(common.connected()).iter() {
            self.fail(common, now, peer, RemovalReason::StreamClosed);
        }
        if now - self.looked_at > common.timing.beat_every * 3 {
            self.awake_since = now;
        }
        self.looked_at = now;
        let overdue: Vec<ReplicaIndex> = self
            .followers
            .iter()
            .filter(|(peer, follower)| {
                let silent =
                    required.contains(**peer) && self.silent_at(common, follower).is_some_and(|at| now >= at);
                silent || follower.is_overdue(now, limit)
            })
            .map(|(peer, _)| *peer)
            .collect();
        for peer in overdue {
            self.fail(common, now, peer, RemovalReason::Silent);
        }
    }

    /// When a level follower has left something unanswered for too long: the batch in flight, or the beats.
    fn silent_at(&self, common: &Common<R>, follower: &Follower) -> Option<Time> {
        let limit = common.timing.confirm_limit;
        let alive_at = follower.alive_at()?;
        let since = follower.owes_since().unwrap_or(alive_at);
        Some(since.min(alive_at).max(self.awake_since) + limit)
    }

    fn beat(&mut self, common: &mut Common<R>, now: Time) {
        let commit_point_due = self.commit_point_due.is_some_and(|due| now >= due);
        if now < self.beat_at && !commit_point_due {
            return;
        }
        self.commit_point_due = None;
        for peer in common.connected().iter() {
            let follower = self.followers.get(&peer);
            let committed =
                follower.map_or(Position::ORIGIN, |follower| follower.commit_point(common.committed()));
            common.send(peer, Message::Beat { view: self.view.clone(), sent_at: now, committed });
        }
        self.beat_at = now + common.timing.beat_every;
    }

    pub(crate) fn deadlines(&self, common: &Common<R>, now: Time) -> Option<Time> {
        let limit = common.timing.confirm_limit;
        let required = self.required(common.me);
        let followers = self.followers.iter().flat_map(|(peer, follower)| {
            let silent = required.contains(*peer).then(|| self.silent_at(common, follower)).flatten();
            let probation = matches!(follower.stage, Stage::Waiting | Stage::Shown { .. })
                .then(|| common.probation.not_before(*peer, now))
                .flatten();
            [follower.overdue_at(limit), silent, probation]
        });
        let own = [
            Some(self.beat_at),
            self.commit_point_due,
            self.hold_until,
            self.swap.as_ref().filter(|swap| swap.asked.is_none()).map(|swap| swap.again_at),
            self.tail.as_ref().map(|tail| tail.asked_at + limit),
            common.work.stuck_at(common.timing.store_limit),
        ];
        followers.chain(own).flatten().filter(|time| *time > now).min()
    }

    /// Asserts what must hold between any two events.
    pub(crate) fn assert_invariants(&self, common: &Common<R>) {
        assert_eq!(self.view.primary(), common.me, "invariant 1: replica {} leads {}", common.me, self.view);
        assert!(
            common.view_number() == self.view.number,
            "a primary steps down before it learns of view {} (it leads {})",
            common.view_number(),
            self.view
        );
        if self.serving {
            assert!(
                self.batches.executed() == common.log_end() || !common.store.is_sound(),
                "replica {} has executed up to {} and given its log entries up to {}",
                common.me,
                self.batches.executed(),
                common.log_end()
            );
            for peer in self.view.in_sync.without(common.me).iter() {
                let confirmed = self.followers.get(&peer).map(|follower| follower.confirmed);
                assert!(
                    confirmed.is_some_and(|confirmed| confirmed.op >= common.committed().op)
                        || self.removing.contains(peer),
                    "invariant 2: op {} is committed, and replica {peer}, in sync by {}, has confirmed {confirmed:?}",
                    common.committed().op,
                    self.view
                );
            }
        }
    }
}
