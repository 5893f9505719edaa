//! Levelling: how the primary brings its followers to its own position, step by step (`PacificA` §2.4).
//!
//! Before it serves, a new primary takes over the longest tail among the in-sync replicas, then brings the others level.
//! While it serves, it does the same for newcomers, without being held up by them.

use super::follower::{Follower, Read, Stage};
use super::{Primary, Tail};
use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::{ReplicaIndex, Token};
use crate::log::{Chain, Entry, Op, Position, Record};
use crate::note::{Note, RemovalReason};
use crate::time::Time;
use alloc::vec::Vec;

impl Primary {
    pub(crate) fn on_log_read<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        chain: Option<Chain>,
        entries: Vec<Entry<R>>,
    ) {
        let reader = self.followers.iter_mut().find_map(|(peer, follower)| match follower.stage {
            Stage::Reading { token: mine, .. } if mine == token => Some((*peer, follower)),
            _ => None,
        });
        let Some((peer, follower)) = reader else { return };
        match follower.on_log_read(common, now, peer, &self.view, token, chain, entries) {
            Read::NotMine => {}
            Read::Sent { to_the_end } => {
                let newcomer = !self.required(common.me).contains(peer);
                if newcomer && to_the_end && self.serving && self.swap.is_none() && now >= self.hold_again_at
                {
                    self.hold_until = Some(now + common.timing.hold_limit);
                    self.hold_again_at = now + common.timing.hold_limit * 4;
                }
            }
            Read::NeedsSnapshot { forked } => self.order_snapshot(common, now, peer, forked),
        }
    }

    pub(super) fn order_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        forked: bool,
    ) {
        if self.required(common.me).contains(peer) {
            self.fail(common, now, peer, RemovalReason::Forked);
        } else if let Some(follower) = self.followers.get_mut(&peer) {
            follower.order_snapshot(common, now, peer, &self.view, forked);
        }
    }

    pub(super) fn on_tail<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        chain: Option<Chain>,
        entries: Vec<Entry<R>>,
    ) {
        if self.tail.as_ref().is_none_or(|tail| tail.from != peer) {
            return;
        }
        self.tail = None;
        if !common.writer.is_idle() {
            // A newer view is being remembered: the tail is fetched again after that.
            return;
        }
        match common.position.extend(&entries) {
            Some(end) if chain == Some(common.position.chain) && !entries.is_empty() => {
                // A follower that was level with me until now is behind from here on (story level_before_the_tail).
                for follower in self.followers.values_mut().filter(|follower| follower.is_level()) {
                    follower.stage = Stage::Shown { position: common.position };
                }
                common.persist(entries, end, now);
            }
            // It has what no client was told of, on top of something else than what I have.
            _ => self.fail(common, now, peer, RemovalReason::Forked),
        }
    }

    /// Takes over the longest tail among the in-sync replicas, before anyone is brought level with anything.
    pub(super) fn take_tail<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        if self.serving || !common.writer.is_idle() || !common.remembers() {
            return;
        }
        if let Some(tail) = &self.tail {
            let (from, overdue) = (tail.from, now >= tail.asked_at + common.timing.confirm_limit);
            let removed = self.removing.contains(from);
            if !removed && !overdue {
                return;
            }
            // Another one is asked at once, not with the next event.
            self.tail = None;
            if !removed {
                self.fail(common, now, from, RemovalReason::Silent);
            }
        }
        if let Some((from, until)) = self.longest_tail(common)
            && until > common.position.op
        {
            common.note(Note::TakingTail { from, until });
            self.tail = Some(Tail { from, asked_at: now });
            common.send(from, Message::Fetch { view: self.view.clone(), after: common.position.op });
        }
    }

    pub(super) fn longest_tail<R: Record>(&self, common: &Common<R>) -> Option<(ReplicaIndex, Op)> {
        let shown =
            self.view.in_sync.without(common.me).difference(self.removing).iter().filter_map(|peer| {
                let position = self.followers.get(&peer)?.position()?;
                Some((peer, position.op))
            });
        shown.max_by_key(|(_, op)| *op)
    }

    pub(super) fn bring_level<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        let required = self.required(common.me);
        let peers: Vec<ReplicaIndex> = self.followers.keys().copied().collect();
        for peer in peers {
            let is_required = required.contains(peer);
            if self.removing.contains(peer) || (!is_required && !self.serving) {
                continue;
            }
            let Some(follower) = self.followers.get_mut(&peer) else { continue };
            match follower.stage {
                Stage::Waiting if is_required || common.probation.not_before(peer, now).is_none() => {
                    follower.call(common, now, peer, &self.view);
                }
                Stage::Shown { position } => self.on_position(common, now, peer, position, is_required),
                Stage::Snapshot { since, told_at } if now >= told_at + common.timing.confirm_limit => {
                    follower.tell_to_take_snapshot(common, now, since, peer, &self.view);
                }
                _ => {}
            }
        }
    }

    /// Decides what a follower lacks, never with a batch of mine in flight between its position and mine.
    pub(super) fn on_position<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        position: Position,
        is_required: bool,
    ) {
        let at_boundary = common.writer.is_idle();
        if position == common.position {
            if is_required && !self.serving && at_boundary {
                self.set_level(peer, now);
            }
        } else if position.op > common.position.op {
            // A longer log of an in-sync replica is a tail to take over; anyone else's is a fork.
            if !is_required && at_boundary {
                self.order_snapshot(common, now, peer, true);
            }
        } else if let Some(follower) = self.followers.get_mut(&peer) {
            follower.read(common, position);
        }
    }

    pub(super) fn set_level(&mut self, peer: ReplicaIndex, now: Time) {
        if let Some(follower) = self.followers.get_mut(&peer) {
            follower.stage = Stage::Level { since: now };
        }
    }

    /// Serves once everyone is level. Says whether it has just begun.
    pub(super) fn begin_serving<R: Record>(&mut self, common: &mut Common<R>) -> bool {
        let all_level = self
            .required(common.me)
            .iter()
            .all(|peer| self.followers.get(&peer).is_some_and(Follower::is_level));
        if !self.serving && all_level && self.at_rest(common) && common.remembers() {
            for peer in self.required(common.me).iter() {
                let persisted = self.followers.get(&peer).map(|follower| follower.persisted);
                assert_eq!(
                    persisted,
                    Some(common.position.op),
                    "invariant 2: replica {} is about to serve {} at {}, and replica {peer} is not level",
                    common.me,
                    self.view,
                    common.position
                );
            }
            self.serving = true;
            common.emit(Effect::Serve { view: self.view.number });
            return true;
        }
        false
    }
}
