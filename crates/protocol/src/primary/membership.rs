//! Membership: how the primary changes who is in sync (`PacificA` §2.3, reconfiguration).
//!
//! One proposal is in flight at a time, and it is repeated, nonce and all, until the register says what became of it: a
//! swap may succeed while its answer is lost, and may take effect long after it was sent. From the moment of proposing, the
//! replicas of both views are required (see `required` in `primary.rs`).

use super::follower::Stage;
use super::{Primary, Swap};
use crate::common::Common;
use crate::event::{Effect, Message, SwapOutcome};
use crate::identity::{ReplicaIndex, Token};
use crate::log::Record;
use crate::next::{Next, Patience};
use crate::note::{HaltReason, Note, StepDownReason};
use crate::time::Time;
use crate::view::View;

impl<R: Record> Primary<R> {
    pub(crate) fn on_swap_answered(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: SwapOutcome,
    ) -> Next<R> {
        if self.swap.as_ref().is_none_or(|swap| swap.asked != Some(token)) {
            return Next::Stay;
        }
        match (outcome, self.swap.take()) {
            (SwapOutcome::Foreign, _) => Next::Halt(HaltReason::RegisterReplaced),
            (SwapOutcome::Superseded(view), _) if view.number < self.view.number => {
                Next::Halt(HaltReason::RegisterOlder)
            }
            (SwapOutcome::Superseded(view), _) => {
                self.step_down(common, StepDownReason::Superseded);
                common.adopt(&view);
                Next::Follow(Patience::fresh(now))
            }
            (SwapOutcome::Unknown, swap) => {
                // The same proposal again: whichever attempt takes effect, it is the same view. Until then the
                // replicas of both views are required.
                self.swap =
                    swap.map(|swap| Swap { asked: None, again_at: now + common.timing.retry_every, ..swap });
                Next::Stay
            }
            (SwapOutcome::Installed, Some(swap)) => self.on_installed(common, now, swap),
            (SwapOutcome::Installed, None) => Next::Stay,
        }
    }

    pub(super) fn on_installed(&mut self, common: &mut Common<R>, now: Time, swap: Swap) -> Next<R> {
        common.adopt(&swap.proposal);
        let removed = self.view.in_sync.difference(swap.proposal.in_sync);
        self.view = swap.proposal;
        for peer in removed.iter() {
            common.probation.removed(peer, now);
            // What was said on a stream of its old membership is forgotten with the stream; a new one can stay.
            if self.followers.get(&peer).is_some_and(|follower| !matches!(follower.stage, Stage::Waiting)) {
                common.disconnect(peer);
                self.followers.remove(&peer);
            }
        }
        self.removing = self.removing.intersection(self.view.in_sync);
        if let Some(newcomer) = swap.newcomer {
            common.probation.admitted(newcomer, now);
        }
        if self.view.primary() == common.me {
            self.beat_at = now;
            return Next::Stay;
        }
        for peer in common.connected().iter() {
            common.send(peer, Message::HandedOver { view: self.view.clone() });
        }
        self.step_down(common, StepDownReason::HandedOver);
        Next::Follow(Patience::until(now, now + common.timing.patience))
    }

    pub(super) fn propose(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        mut proposal: View,
        newcomer: Option<ReplicaIndex>,
    ) {
        proposal.number = self.view.number.next();
        // Not where the log ends: a member that remains need not have what is in flight.
        proposal.op = common.committed().op;
        proposal.proposed_by = common.proposer();
        self.swap = Some(Swap { proposal, asked: None, again_at: now, newcomer });
        self.retry_swap(common, now);
    }

    pub(super) fn propose_removal(&mut self, common: &mut Common<R>, now: Time) {
        if self.swap.is_some() || self.removing.is_empty() {
            return;
        }
        let mut proposal = self.view.clone();
        proposal.in_sync = self.view.in_sync.difference(self.removing);
        common.note(Note::Removing { peers: self.removing, reason: self.removal_reason });
        self.propose(common, now, proposal, None);
    }

    pub(super) fn retry_swap(&mut self, common: &mut Common<R>, now: Time) {
        if let Some(swap) = &mut self.swap
            && swap.asked.is_none()
            && now >= swap.again_at
        {
            let token = common.token();
            swap.asked = Some(token);
            let view = swap.proposal.clone();
            common.emit(Effect::Swap { token, register: common.register(), view });
        }
    }

    /// Lets a newcomer into the in-sync set that has everything committed, and gets each batch. If its index is lower than mine,
    /// it is thereby the primary of the view that I propose: that is the orderly handover, with nothing in flight, so that no
    /// client is left without an answer.
    pub(super) fn admit(&mut self, common: &mut Common<R>, now: Time) {
        if self.hold_until.is_some_and(|until| now >= until) {
            self.hold_until = None;
        }
        if !self.serving || self.swap.is_some() || !self.removing.is_empty() {
            return;
        }
        let ready = self.followers.iter().find(|(peer, follower)| {
            follower.stage == Stage::Joining
                && follower.confirmed.op >= common.committed().op
                && follower.database.is_some()
                && common.probation.not_before(**peer, now).is_none()
        });
        let Some((peer, database)) = ready.and_then(|(peer, follower)| Some((*peer, follower.database?)))
        else {
            return;
        };
        if peer < common.me && !self.nothing_in_flight() {
            if self.hold_until.is_none() && now >= self.hold_again_at {
                self.hold_until = Some(now + common.timing.hold_limit);
                self.hold_again_at = now + common.timing.hold_limit * 4;
            }
            return;
        }
        common.note(Note::Admitting { peer, op: common.committed().op });
        if let Some(follower) = self.followers.get_mut(&peer) {
            follower.stage = Stage::Level { since: now };
        }
        self.told_to_cut.remove(&peer);
        self.hold_until = None;
        let mut proposal = self.view.clone();
        proposal.in_sync = proposal.in_sync.with(peer);
        proposal.set_member(peer, database);
        self.propose(common, now, proposal, Some(peer));
    }
}
