//! The primary: gathers a batch, has everyone persist it, commits it, answers (`PacificA` §2.2).
//!
//! One batch is in flight at a time. Everything that the primary waits for stands in its fields, and after every event
//! [`Primary::advance`] looks at them and does whatever can be done now; so no order of events can leave it waiting for
//! something that has already happened.
//!
//! Who must persist an entry before it is committed: every in-sync secondary of the view that it leads, **and** of the
//! view that it has proposed, from the moment of proposing (a delayed swap may take effect at any time). Removing a
//! replica frees the primary from waiting only once the swap is known to be installed (invariant 2).

mod follower;
mod levelling;
mod membership;

use self::follower::{Follower, Stage};
use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::{ReadId, ReplicaIndex, ReplicaSet, StreamId, Token};
use crate::log::{Entry, Record};
use crate::next::{Next, Patience, Shown};
use crate::note::{Note, RemovalReason, StepDownReason};
use crate::time::Time;
use crate::view::View;
use crate::writer::Writer;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// More reads than this wait for a lease only if something is badly wrong; the rest are refused at once.
const READS_WAITING_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Primary {
    /// The view that I lead; not the same thing as the newest view that I know of.
    view: View,
    /// One for each open stream: `followers.keys() == connected`.
    followers: BTreeMap<ReplicaIndex, Follower>,
    /// All that are required are level, and requests are taken. It stays so until this primary steps down.
    serving: bool,
    /// The driver has requests for the next batch.
    requests_waiting: bool,
    /// When the batch in flight was sent to the secondaries.
    sent_at: Option<Time>,
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
    /// When the next beat is due.
    beat_at: Time,
    /// No batch begins before that, so that a newcomer that is nearly level becomes level.
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

impl Primary {
    /// Begins a primacy whose view the register has just installed.
    pub(crate) fn start<R: Record>(common: &mut Common<R>, now: Time, view: View, shown: Shown) -> Self {
        // A store that failed while this replica stood for primary may be under repair, and holds no batch.
        assert!(
            common.writer.is_idle() || !common.store.is_sound(),
            "replica {} would take a batch of an earlier primacy for its own: {:?}",
            common.me,
            common.writer
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
            sent_at: None,
            waiting: Vec::new(),
            swap: None,
            removing: ReplicaSet::EMPTY,
            removal_reason: RemovalReason::StreamClosed,
            tail: None,
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

    /// Everyone who must persist an entry before it is committed.
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

    /// No change of the view is under way or due, and the store does nothing.
    fn at_rest<R: Record>(&self, common: &Common<R>) -> bool {
        self.swap.is_none() && self.removing.is_empty() && common.writer.is_idle()
    }

    /// Whether a view has been proposed in which another leads: from then on nothing may be answered.
    fn retiring(&self) -> bool {
        self.swap.as_ref().is_some_and(|swap| swap.proposal.primary() != self.view.primary())
    }

    /// The lease: every required secondary has answered something sent less than a lease ago (invariant 4).
    fn may_read<R: Record>(&self, common: &Common<R>, now: Time) -> bool {
        self.serving
            && !self.retiring()
            && common.remembers()
            && self.lease_ends(common).is_none_or(|end| now < end)
    }

    /// When the lease ends; `None` when no other could lead, so that it does not.
    fn lease_ends<R: Record>(&self, common: &Common<R>) -> Option<Time> {
        self.required(common.me)
            .iter()
            .map(|peer| {
                let answered = self.followers.get(&peer).and_then(|follower| follower.answered);
                answered.map_or(Time::from_micros(0), |sent_at| sent_at + common.timing.lease)
            })
            .min()
    }

    pub(crate) fn on_message<R: Record>(
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
            | Message::TakeSnapshot { view }
            | Message::HandedOver { view }
            | Message::Alive { view: Some(view), .. }
            | Message::Refused { known: Some(view), .. } => view.number > self.view.number,
            _ => false,
        };
        if newer && !self.own_proposal_in(&message) {
            // Step down first, think afterwards: the secondary that this replica becomes will look at the message.
            self.step_down(common, now, StepDownReason::Superseded);
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
            Message::Persisted { number, position } if number <= self.view.number => {
                if let Writer::Open { end, .. } = common.writer
                    && position.op >= end.op
                    && position != end
                {
                    self.fail(common, now, peer, RemovalReason::Forked);
                    return Next::Stay;
                }
                // An answered append is as good as an answered beat: it was received after it was sent.
                if let (Some(sent_at), true) = (self.sent_at, position.op > common.position.op) {
                    follower.answered = follower.answered.max(Some(sent_at));
                }
                follower.on_persisted(position);
            }
            Message::BeatAnswered { number, sent_at } if number <= self.view.number => {
                follower.answered = follower.answered.max(Some(sent_at));
            }
            Message::Tail { number, chain, entries } if number == self.view.number => {
                self.on_tail(common, now, peer, chain, entries);
            }
            Message::NeedsSnapshot { number } if number == self.view.number => {
                if self.required(common.me).contains(peer) {
                    self.fail(common, now, peer, RemovalReason::CannotPersist);
                } else if let Some(follower) = self.followers.get_mut(&peer) {
                    follower.on_needs_snapshot(common, now, peer, &self.view);
                }
            }
            Message::Refused { .. } => self.fail(common, now, peer, RemovalReason::Refused),
            Message::Leaving { .. } => self.fail(common, now, peer, RemovalReason::CannotPersist),
            Message::Call { .. } | Message::Beat { .. } | Message::Append { .. } | Message::Fetch { .. } => {
                common.refuse(peer);
            }
            _ => {}
        }
        Next::Stay
    }

    /// Whether the newer view in the message is the one that this primary has proposed and not yet heard of.
    fn own_proposal_in<R>(&self, message: &Message<R>) -> bool {
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

    pub(crate) fn on_stream_closed<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
    ) {
        if self.required(common.me).contains(peer) {
            self.fail(common, now, peer, RemovalReason::StreamClosed);
        } else if !matches!(
            self.followers.get(&peer).map(|follower| &follower.stage),
            Some(Stage::Snapshot { .. } | Stage::Waiting)
        ) {
            common.probation.removed(peer, now);
        }
        self.followers.remove(&peer);
    }

    /// A follower can't go on: who is required leaves the in-sync set, anyone else begins again by another stream.
    fn fail<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        reason: RemovalReason,
    ) {
        if self.required(common.me).contains(peer) {
            self.removing = self.removing.with(peer);
            self.removal_reason = reason;
        } else if self.followers.remove(&peer).is_some() {
            common.probation.removed(peer, now);
            common.disconnect(peer);
        }
    }

    pub(crate) fn on_requests_waiting(&mut self) {
        self.requests_waiting = true;
    }

    pub(crate) fn on_read_waiting<R: Record>(&mut self, common: &mut Common<R>, now: Time, read: ReadId) {
        if self.may_read(common, now) {
            common.emit(Effect::AnswerRead { read });
        } else if self.waiting.len() < READS_WAITING_MAX && self.serving {
            self.waiting.push(Waiting::Read(read));
        } else {
            common.emit(Effect::RefuseRead { read });
        }
    }

    pub(crate) fn on_executed<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        entries: Vec<Entry<R>>,
    ) {
        let previous = common.position;
        let end = previous
            .extend(&entries)
            .expect("a batch follows the position it was executed at, without holes");
        common.writer = Writer::Open { token, end };
        self.sent_at = Some(now);
        if !entries.is_empty() {
            for peer in self.required(common.me).iter() {
                if self.followers.get(&peer).is_some_and(Follower::is_level) {
                    common.send(
                        peer,
                        Message::Append { view: self.view.clone(), previous, entries: entries.clone() },
                    );
                }
            }
        }
    }

    /// The batch is durable here and everywhere. What changed nothing is a read, and waits for the lease like one.
    pub(crate) fn on_committed<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        changed: bool,
    ) {
        self.sent_at = None;
        self.waiting.push(if changed { Waiting::Changed(token) } else { Waiting::Unchanged(token) });
        self.flush_waiting(common, now);
    }

    /// Ends the primacy: nothing is answered any more, and a batch in flight is taken back or left to its commit.
    pub(crate) fn step_down<R: Record>(&mut self, common: &mut Common<R>, now: Time, reason: StepDownReason) {
        common.abandon_batch(now);
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
    pub(crate) fn resign<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        reason: StepDownReason,
    ) -> Next<R> {
        // A view proposed and not yet heard of may be led by this replica too; what it resigns is the one it leads.
        let number = self.view.number;
        self.step_down(common, now, reason);
        for peer in self.view.in_sync.without(common.me).iter() {
            common.send(peer, Message::Resigned { number });
        }
        Next::Follow(Patience::fresh(now))
    }

    /// Does whatever can be done now.
    pub(crate) fn advance<R: Record>(&mut self, common: &mut Common<R>, now: Time) -> Next<R> {
        if !common.store.is_sound() {
            // Its files were lost while it stood for primary, and the swap came through.
            return self.resign(common, now, StepDownReason::StoreFailed);
        }
        if common.writer.busy_for(now) >= common.timing.store_limit {
            common.store.hung(now);
            return self.resign(common, now, StepDownReason::StoreStuck);
        }
        if common.clock_wrong() {
            return self.resign(common, now, StepDownReason::ClockWrong);
        }
        if let Some(impairment) = common.impairment()
            && common.writer.is_idle()
        {
            return self.resign(common, now, StepDownReason::Impaired(impairment));
        }
        self.look_for_failures(common, now);
        self.beat(common, now);
        self.take_tail(common, now);
        self.bring_level(common, now);
        // After whatever may find that a follower can't go on, so that nothing is left for the next event.
        self.propose_removal(common, now);
        self.retry_swap(common, now);
        self.commit(common, now);
        if self.begin_serving(common) {
            // From now on there is time for newcomers too.
            self.bring_level(common, now);
        }
        self.admit(common, now);
        self.flush_waiting(common, now);
        self.execute(common, now);
        Next::Stay
    }

    fn look_for_failures<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
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
    fn silent_at<R: Record>(&self, common: &Common<R>, follower: &Follower) -> Option<Time> {
        let limit = common.timing.confirm_limit;
        let alive_at = follower.alive_at()?;
        let batch = match (common.writer, self.sent_at) {
            (Writer::Open { end, .. }, Some(sent_at)) if follower.persisted < end.op => sent_at,
            _ => alive_at,
        };
        Some(batch.min(alive_at).max(self.awake_since) + limit)
    }

    fn beat<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        if now < self.beat_at {
            return;
        }
        for peer in common.connected().iter() {
            common.send(peer, Message::Beat { view: self.view.clone(), sent_at: now });
        }
        self.beat_at = now + common.timing.beat_every;
    }

    fn commit<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        let Writer::Open { token, end } = common.writer else { return };
        let all_persisted = self.required(common.me).iter().all(|peer| {
            self.followers
                .get(&peer)
                .is_some_and(|follower| follower.is_level() && follower.persisted >= end.op)
        });
        if all_persisted {
            common.writer = Writer::Committing { token, since: now, end };
            // A removal that was installed meanwhile is what this batch is committed by.
            common.remembering = common.due_memory();
            common.emit(Effect::Commit { token, memory: common.remembering.clone() });
        }
    }

    fn flush_waiting<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        if self.waiting.is_empty() || !common.remembers() {
            return;
        }
        let may_read = self.may_read(common, now);
        let copies = self.copies();
        self.waiting.retain(|waiting| {
            if !may_read && !matches!(waiting, Waiting::Changed(_)) {
                return true;
            }
            common.emit(match *waiting {
                Waiting::Read(read) => Effect::AnswerRead { read },
                Waiting::Changed(token) | Waiting::Unchanged(token) => Effect::Answer { token, copies },
            });
            false
        });
    }

    fn execute<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        let free = self.serving
            && common.writer.is_idle()
            && common.remembers()
            && !self.retiring()
            && self.hold_until.is_none()
            && common.impairment().is_none();
        if free && self.requests_waiting {
            self.requests_waiting = false;
            let token = common.token();
            common.writer = Writer::Executing { token, since: now };
            // A replica that is being removed will hardly hold it.
            let copies = self.view.in_sync.difference(self.removing).len();
            common.emit(Effect::Execute { token, copies });
        }
    }

    pub(crate) fn deadlines<R: Record>(&self, common: &Common<R>, now: Time) -> Option<Time> {
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
            self.hold_until,
            self.swap.as_ref().filter(|swap| swap.asked.is_none()).map(|swap| swap.again_at),
            self.tail.as_ref().map(|tail| tail.asked_at + limit),
            common.writer.stuck_at(common.timing.store_limit),
        ];
        followers.chain(own).flatten().filter(|time| *time > now).min()
    }

    /// Asserts what must hold between any two events.
    pub(crate) fn assert_invariants<R: Record>(&self, common: &Common<R>) {
        assert_eq!(self.view.primary(), common.me, "invariant 1: replica {} leads {}", common.me, self.view);
        assert!(
            common.view_number() == self.view.number,
            "a primary steps down before it learns of view {} (it leads {})",
            common.view_number(),
            self.view
        );
        if let Writer::Committing { end, .. } = common.writer {
            for peer in self.view.in_sync.without(common.me).iter() {
                let persisted = self.followers.get(&peer).map(|follower| follower.persisted);
                assert!(
                    persisted.is_some_and(|op| op >= end.op) || self.removing.contains(peer),
                    "invariant 2: op {} is being committed, and replica {peer}, in sync by {}, has persisted {persisted:?}",
                    end.op,
                    self.view
                );
            }
        }
    }
}
