//! Takeover: how a replica becomes primary (`PacificA` §2.4, primary failure and reconciliation).
//!
//! Every primacy begins here, after a restart too, and ends the doubt about the old one in this order:
//!
//! 1. **Asking.** Does someone with a lower index live? Is my view the newest? Can the old lease still be valid? The
//!    last is answered by time, by proof of death, or by the old primary's own word.
//! 2. **Calling.** The in-sync replicas above me stop listening to the old view and show where their logs end.
//!    A replica that does not answer is left out: it may be dead, and what it alone has was never acknowledged.
//! 3. **Swapping.** The register installs `{me + those that answered}`, or someone else was quicker.
//!
//! What follows (taking the longest tail, levelling the others) is the new primary's work: see [`crate::primary`].

use crate::common::Common;
use crate::event::{Effect, Message, RegisterRead, SwapOutcome};
use crate::identity::{ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber};
use crate::log::Record;
use crate::next::{Next, Patience, Shown};
use crate::note::{HaltReason, Note};
use crate::time::Time;
use crate::view::{Proposer, View};
use core::time::Duration;

/// A killed process lets go of its sockets and of its lock one after the other, within moments: so the first attempts
/// to prove its death follow each other closely.
const PROOF_AGAIN_FIRST: Duration = Duration::from_millis(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Takeover {
    /// The view whose primary is lost.
    base: View,
    /// When the old lease can't be valid any more.
    lease_over_at: Time,
    /// The old lease is over already: its holder is dead, has said so, or was this process.
    released: bool,
    /// The stream that this replica followed, for as long as it has not called: a false alarm then changes nothing.
    following: Option<(ReplicaIndex, StreamId)>,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// May I take over? `base` must be the newest view, no lower index in sync may live, the old lease must be over.
    Asking(Asking),
    /// The others in sync above me are called, and show where their logs end.
    Calling {
        /// Called, connected, and silent so far: `waiting ∩ shown = ∅`.
        waiting: ReplicaSet,
        /// Those that answered: they and this replica become the view.
        shown: Shown,
        /// Those that are silent until then are left out.
        until: Time,
    },
    /// The register is asked to install the view.
    Swapping {
        /// `proposal.number == base.number + 1`, `proposal.in_sync ⊆ base.in_sync`.
        proposal: View,
        shown: Shown,
        /// The swap that is under way; `None` while its outcome is unknown and it waits to be tried again.
        asked: Option<Token>,
        /// When it is tried again.
        again_at: Time,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asking {
    /// Those in sync below me that were probed and have not answered: `probed ⊆ base.in_sync.below(me)`.
    probed: ReplicaSet,
    /// Until then their answers are waited for.
    probe_until: Time,
    /// The register is being read.
    register: Option<Token>,
    /// The register has confirmed that `base` is the newest view.
    confirmed: bool,
    /// When it is read again, if the last try failed.
    register_again_at: Time,
    /// The death of the old primary's process is being proven.
    proof: Option<Token>,
    /// When that is tried again.
    proof_again_at: Time,
    /// The pause after the next failure; it doubles, up to `retry_every`.
    proof_wait: Duration,
}

impl Takeover {
    pub(crate) fn start<R: Record>(
        common: &mut Common<R>,
        now: Time,
        patience: Patience,
        released: bool,
    ) -> Self {
        let base = common.view.clone().expect("only a replica that is in sync by some view runs for primary");
        assert!(
            common.work.log_at_rest(),
            "replica {} runs while its log is written, and may not know where it ends: {:?}",
            common.me,
            common.work
        );
        common.note(Note::Runs { after: base.number });
        let register = common.read_register();
        let probed = base.in_sync.below(common.me).intersection(common.connected());
        for peer in probed.iter() {
            common.send(peer, Message::Probe);
        }
        Self {
            lease_over_at: patience.heard_at + common.timing.grace,
            // A primary that hands over gives up its lease before it proposes that view, and the view's primary leads no view but
            // one that it has proposed itself.
            released: released
                || (base.proposed_by.index, base.proposed_by.incarnation) == (common.me, common.incarnation)
                || base.proposed_by.index != base.primary(),
            following: patience.following,
            stage: Stage::Asking(Asking {
                probed,
                probe_until: now + common.timing.probe_wait,
                register: Some(register),
                confirmed: false,
                register_again_at: now,
                proof: None,
                proof_again_at: now,
                proof_wait: PROOF_AGAIN_FIRST,
            }),
            base,
        }
    }

    pub(crate) fn on_message<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) -> Next<R> {
        let asking = matches!(self.stage, Stage::Asking(_));
        let swapping = matches!(self.stage, Stage::Swapping { .. });
        match message {
            Message::Alive { view: Some(view), .. } | Message::Refused { known: Some(view), .. }
                if view.number > self.base.number =>
            {
                learn(common, now, &view)
            }
            Message::Alive { able: true, .. }
                if asking && self.base.in_sync.below(common.me).contains(peer) =>
            {
                common.note(Note::Deferred { to: peer });
                self.give_way(common, now)
            }
            Message::Alive { .. } => {
                if let Stage::Asking(asking) = &mut self.stage {
                    asking.probed = asking.probed.without(peer);
                }
                Next::Stay
            }
            Message::Shown { number, database, position } => {
                if let Stage::Calling { waiting, shown, .. } = &mut self.stage
                    && number == self.base.number.next()
                    && waiting.contains(peer)
                {
                    *waiting = waiting.without(peer);
                    // One that lacks what is committed has lost it: it is left out, and brought level as a newcomer.
                    let lost = position.op < common.committed().op;
                    if self.base.holds(peer, database, position) && !lost {
                        shown.insert(peer, (stream, position));
                    }
                }
                Next::Stay
            }
            Message::Refused { .. } | Message::Leaving { .. } => {
                if let Stage::Calling { waiting, .. } = &mut self.stage {
                    *waiting = waiting.without(peer);
                }
                Next::Stay
            }
            Message::Resigned { number } => {
                self.released |= number == self.base.number && peer == self.base.primary();
                Next::Stay
            }
            // Another candidate, with a lower index: it comes before me, unless my swap may already have taken effect.
            Message::Call { ref base, .. }
                if base.number > self.base.number
                    || (common.all.below(common.me).contains(peer) && !swapping) =>
            {
                self.follow_then(common, now, peer, stream, message)
            }
            // The primary that I took for lost speaks. Once I have called, I no longer listen to its view.
            Message::Beat { ref view, .. } | Message::Append { ref view, .. }
                if view.number > self.base.number || (view.number == self.base.number && asking) =>
            {
                self.follow_then(common, now, peer, stream, message)
            }
            Message::Fetch { ref view, .. }
            | Message::Cut { ref view, .. }
            | Message::TakeSnapshot { ref view }
            | Message::HandedOver { ref view }
                if view.number > self.base.number =>
            {
                self.follow_then(common, now, peer, stream, message)
            }
            Message::Beat { .. }
            | Message::Append { .. }
            | Message::Fetch { .. }
            | Message::Cut { .. }
            | Message::TakeSnapshot { .. } => {
                common.refuse(peer);
                Next::Stay
            }
            Message::Call { .. }
            | Message::Probe
            | Message::HandedOver { .. }
            | Message::BeatAnswered { .. }
            | Message::Confirmed { .. }
            | Message::NeedsSnapshot { .. }
            | Message::Tail { .. } => Next::Stay,
        }
    }

    fn follow_then<R: Record>(
        &self,
        common: &Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) -> Next<R> {
        Next::FollowThen { patience: self.patience(common, now), peer, stream, message }
    }

    /// Leaves the lead to someone lower, for a whole grace; what is known of the old lease stays known.
    fn give_way<R: Record>(&self, common: &Common<R>, now: Time) -> Next<R> {
        Next::Follow(self.patience(common, now + common.timing.grace))
    }

    /// That of a secondary that knows of the old primary what this candidate knows.
    fn patience<R: Record>(&self, common: &Common<R>, run_not_before: Time) -> Patience {
        let begin = Time::from_micros(0);
        let heard_at = begin + (self.lease_over_at - begin).saturating_sub(common.timing.grace);
        Patience { heard_at, run_not_before, following: self.following }
    }

    pub(crate) fn on_stream_opened<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
    ) {
        if let Stage::Asking(asking) = &mut self.stage
            && self.base.in_sync.below(common.me).contains(peer)
        {
            asking.probed = asking.probed.with(peer);
            asking.probe_until = now + common.timing.probe_wait;
            common.send(peer, Message::Probe);
        }
    }

    pub(crate) fn on_stream_closed(&mut self, peer: ReplicaIndex, stream: StreamId) {
        self.following = self.following.filter(|followed| *followed != (peer, stream));
        match &mut self.stage {
            Stage::Asking(asking) => asking.probed = asking.probed.without(peer),
            Stage::Calling { waiting, shown, .. } => {
                *waiting = waiting.without(peer);
                shown.remove(&peer);
            }
            // The proposal may be installed already: the new primary will find the stream gone, and remove the peer.
            Stage::Swapping { .. } => {}
        }
    }

    pub(crate) fn on_death_answered(&mut self, token: Token, proven: bool) {
        if let Stage::Asking(asking) = &mut self.stage
            && asking.proof == Some(token)
        {
            asking.proof = None;
            self.released |= proven;
        }
    }

    pub(crate) fn on_register_read<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: &RegisterRead,
    ) -> Next<R> {
        let Stage::Asking(asking) = &mut self.stage else { return Next::Stay };
        if asking.register != Some(token) {
            return Next::Stay;
        }
        asking.register = None;
        match outcome {
            RegisterRead::Current { view, .. } if view.number > self.base.number => {
                return learn(common, now, view);
            }
            // Not an older one, and not none: that was judged before.
            RegisterRead::Current { .. } => asking.confirmed = true,
            RegisterRead::Empty | RegisterRead::Failed => {
                asking.register_again_at = now + common.timing.retry_every;
            }
        }
        Next::Stay
    }

    pub(crate) fn on_swap_answered<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: SwapOutcome,
    ) -> Next<R> {
        let Stage::Swapping { proposal, shown, asked, again_at } = &mut self.stage else { return Next::Stay };
        if *asked != Some(token) {
            return Next::Stay;
        }
        match outcome {
            SwapOutcome::Installed => Next::Lead { view: proposal.clone(), shown: core::mem::take(shown) },
            SwapOutcome::Superseded(view) if view.number < self.base.number => {
                Next::Halt(HaltReason::RegisterOlder)
            }
            SwapOutcome::Superseded(view) => learn(common, now, &view),
            SwapOutcome::Foreign => Next::Halt(HaltReason::RegisterReplaced),
            SwapOutcome::Unknown => {
                // The same proposal again, nonce and all: whichever attempt takes effect, it is the same view.
                *asked = None;
                *again_at = now + common.timing.retry_every;
                Next::Stay
            }
        }
    }

    /// Does what is due.
    pub(crate) fn advance<R: Record>(&mut self, common: &mut Common<R>, now: Time) -> Next<R> {
        self.released |= now >= self.lease_over_at;
        if !common.store.is_sound() && !matches!(self.stage, Stage::Swapping { .. }) {
            return self.give_way(common, now);
        }
        match &mut self.stage {
            Stage::Asking(asking) => {
                if asking.register.is_none() && !asking.confirmed && now >= asking.register_again_at {
                    asking.register = Some(common.read_register());
                }
                asking.prove(common, now, self.base.proposed_by, self.released);
                let nobody_below = asking.probed.is_empty() || now >= asking.probe_until;
                if nobody_below && asking.confirmed && self.released {
                    self.call(common, now);
                    return self.advance(common, now);
                }
            }
            Stage::Calling { waiting, shown, until } => {
                if waiting.is_empty() || now >= *until {
                    let shown = core::mem::take(shown);
                    self.propose(common, now, shown);
                }
            }
            Stage::Swapping { proposal, asked, again_at, .. } => {
                if asked.is_none() && now >= *again_at {
                    let token = common.token();
                    *asked = Some(token);
                    common.emit(Effect::Swap { token, register: common.register(), view: proposal.clone() });
                }
            }
        }
        Next::Stay
    }

    fn call<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        let number = self.base.number.next();
        // From here on I answer no beat and take no entry of the old view, like those whom I call.
        common.promised = common.promised.max(number);
        self.following = None;
        let waiting = self.base.in_sync.above(common.me).intersection(common.connected());
        for peer in waiting.iter() {
            let register = common.register();
            common.send(peer, Message::Call { base: self.base.clone(), number, register });
        }
        self.stage = Stage::Calling { waiting, shown: Shown::new(), until: now + common.timing.call_wait };
    }

    fn propose<R: Record>(&mut self, common: &mut Common<R>, now: Time, shown: Shown) {
        let mut proposal = self.base.clone();
        proposal.number = self.base.number.next();
        proposal.in_sync = shown.keys().copied().collect::<ReplicaSet>().with(common.me);
        // `op` is the shortest of their positions: each of them already has every acknowledged entry, and a higher `op`
        // would make the shorter ones count as out of sync.
        proposal.op = shown
            .values()
            .map(|(_, position)| position.op)
            .chain([common.logged.op])
            .min()
            .expect("one at least");
        proposal.proposed_by = common.proposer();
        assert_eq!(proposal.primary(), common.me, "a candidate proposes itself: {proposal}");
        let token = common.token();
        common.emit(Effect::Swap { token, register: common.register(), view: proposal.clone() });
        self.stage = Stage::Swapping { proposal, shown, asked: Some(token), again_at: now };
    }

    pub(crate) fn deadlines(&self) -> [Option<Time>; 4] {
        match &self.stage {
            Stage::Asking(asking) => [
                Some(self.lease_over_at),
                Some(asking.probe_until),
                (asking.proof.is_none() && !self.released).then_some(asking.proof_again_at),
                asking.register.is_none().then_some(asking.register_again_at),
            ],
            Stage::Calling { until, .. } => [Some(*until), None, None, None],
            Stage::Swapping { asked, again_at, .. } => {
                [asked.is_none().then_some(*again_at), None, None, None]
            }
        }
    }

    pub(crate) fn proposed_number(&self) -> ViewNumber {
        self.base.number.next()
    }
}

fn learn<R: Record>(common: &mut Common<R>, now: Time, view: &View) -> Next<R> {
    common.adopt(view);
    Next::Follow(Patience::fresh(now))
}

impl Asking {
    /// Asks for proof that the process which led the old view is dead, again and again, while its stream is closed. That is
    /// the process that proposed it, and not whichever process of that replica there may be by now.
    fn prove<R: Record>(&mut self, common: &mut Common<R>, now: Time, leader: Proposer, released: bool) {
        let silent = !common.streams.contains_key(&leader.index);
        if !released && silent && self.proof.is_none() && now >= self.proof_again_at {
            let token = common.token();
            self.proof = Some(token);
            self.proof_again_at = now + self.proof_wait;
            self.proof_wait = (self.proof_wait * 2).min(common.timing.retry_every);
            common.emit(Effect::ProveDeath { token, peer: leader.index, incarnation: leader.incarnation });
        }
    }
}
