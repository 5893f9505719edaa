//! Levelling: how the primary brings its followers to its own position, step by step (`PacificA` §2.4).
//!
//! Before it serves, a new primary takes over the longest tail among the in-sync replicas, then brings the others level.
//! While it serves, it does the same for newcomers, without being held up by them.

use super::follower::{Follower, Stage};
use super::{Batches, Primary, Tail};
use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::{ReplicaIndex, Token};
use crate::log::{Chain, Entry, Op, Position, Record, Relation, relation};
use crate::note::{Note, RemovalReason};
use crate::time::Time;
use alloc::vec::Vec;

impl<R: Record> Primary<R> {
    pub(crate) fn on_log_read(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        chain: Option<Chain>,
        entries: Vec<Entry<R>>,
    ) {
        let reader = self.followers.iter().find_map(|(peer, follower)| match follower.stage {
            Stage::Reading { token: mine, position } if mine == token => Some((*peer, position)),
            _ => None,
        });
        let Some((peer, position)) = reader else { return };
        match relation(self.end(common), position, chain) {
            Relation::Fork => self.on_fork(common, now, peer, position),
            Relation::BeforeMyLog => self.order_snapshot(common, now, peer, position, false),
            Relation::Level | Relation::Behind => {
                let Some(follower) = self.followers.get_mut(&peer) else { return };
                follower.has(position);
                follower.stage = if entries.is_empty() { Stage::Shown { position } } else { Stage::Sending };
                let end = entries.last().map_or(position, Entry::position);
                follower.send(common, now, (peer, &self.view), position, entries);
                self.send_the_rest(common, now, peer, end);
            }
        }
    }

    /// The end of my log, with what is on its way to it.
    fn end(&self, common: &Common<R>) -> Position {
        if self.serving { self.batches.executed() } else { common.logged }
    }

    /// A newcomer that was sent everything up to here gets what was executed since, as far as that is kept, and each batch
    /// from now on.
    fn send_the_rest(&mut self, common: &mut Common<R>, now: Time, peer: ReplicaIndex, sent: Position) {
        if !self.serving || self.required(common.me).contains(peer) {
            return;
        }
        let Some(rest) = self.batches.after_place(sent) else { return };
        let Some(follower) = self.followers.get_mut(&peer) else { return };
        follower.stage = Stage::Joining;
        for (previous, entries) in rest {
            follower.send(common, now, (peer, &self.view), previous, entries);
        }
    }

    /// A newcomer that confirms too slowly gets no more before it has confirmed what was sent.
    pub(super) fn hold_slow_newcomers(&mut self, common: &Common<R>) {
        for follower in self.followers.values_mut() {
            if follower.stage == Stage::Joining && follower.owes() > common.bounds.batches_kept {
                follower.stage = Stage::Sending;
            }
        }
    }

    /// A follower has something that I don't have. In sync, it is left out; else it cuts its log back. If it is a fork where it
    /// ends after that, the fork lies below what it believes to be committed.
    fn on_fork(&mut self, common: &mut Common<R>, now: Time, peer: ReplicaIndex, position: Position) {
        let was_cut = self.told_to_cut.get(&peer).is_some_and(|before| *before != position);
        if self.required(common.me).contains(peer) {
            self.fail(common, now, peer, RemovalReason::Forked);
        } else if was_cut {
            self.order_snapshot(common, now, peer, position, true);
        } else if let Some(follower) = self.followers.get_mut(&peer) {
            self.told_to_cut.insert(peer, position);
            common.note(Note::Cuts { peer, position });
            follower.tell_to_cut(common, now, now, (peer, &self.view), position);
        }
    }

    fn order_snapshot(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        position: Position,
        forked: bool,
    ) {
        if self.required(common.me).contains(peer) {
            self.fail(common, now, peer, RemovalReason::Forked);
        } else if let Some(follower) = self.followers.get_mut(&peer) {
            follower.order_snapshot(common, now, (peer, &self.view), position, forked);
        }
    }

    pub(super) fn on_tail(
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
        match common.logged.extend(&entries) {
            Some(end) if chain == Some(common.logged.chain) && !entries.is_empty() => {
                // A follower that was level with me until now is behind from here on (story level_before_the_tail).
                for follower in self.followers.values_mut().filter(|follower| follower.is_level()) {
                    follower.stage = Stage::Shown { position: common.logged };
                }
                common.log(entries, end, now);
            }
            // It has what no client was told of, on top of something else than what I have.
            _ => self.fail(common, now, peer, RemovalReason::Forked),
        }
    }

    /// Takes over the longest tail among the in-sync replicas, before anyone is brought level with anything.
    pub(super) fn take_tail(&mut self, common: &mut Common<R>, now: Time) {
        if self.serving || !common.work.log_at_rest() || !common.remembers() {
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
            && until > common.logged.op
        {
            common.note(Note::TakingTail { from, until });
            self.tail = Some(Tail { from, asked_at: now });
            common.send(from, Message::Fetch { view: self.view.clone(), after: common.logged.op });
        }
    }

    pub(super) fn longest_tail(&self, common: &Common<R>) -> Option<(ReplicaIndex, Op)> {
        let shown =
            self.view.in_sync.without(common.me).difference(self.removing).iter().filter_map(|peer| {
                let position = self.followers.get(&peer)?.position()?;
                Some((peer, position.op))
            });
        shown.max_by_key(|(_, op)| *op)
    }

    pub(super) fn bring_level(&mut self, common: &mut Common<R>, now: Time) {
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
                Stage::Cutting { position, since, told_at }
                    if now >= told_at + common.timing.confirm_limit =>
                {
                    follower.tell_to_cut(common, now, since, (peer, &self.view), position);
                }
                Stage::Snapshot { since, told_at } if now >= told_at + common.timing.confirm_limit => {
                    follower.tell_to_take_snapshot(common, now, since, (peer, &self.view));
                }
                _ => {}
            }
        }
    }

    /// Decides what a follower lacks.
    fn on_position(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        position: Position,
        is_required: bool,
    ) {
        if !self.serving {
            if position == common.logged && common.work.log_at_rest() {
                self.set_level(peer, position, now);
            } else if position.op == common.logged.op && position != common.logged {
                // It is required, and nothing brings two histories level.
                self.fail(common, now, peer, RemovalReason::Forked);
            } else if position.op < common.logged.op
                && let Some(follower) = self.followers.get_mut(&peer)
            {
                follower.read(common, position);
            }
            // A longer log of an in-sync replica is a tail to take over.
            return;
        }
        if is_required {
            return;
        }
        match self.batches.chain_at(position.op) {
            Some(chain) if chain == position.chain => {
                if let Some(follower) = self.followers.get_mut(&peer) {
                    follower.has(position);
                    self.send_the_rest(common, now, peer, position);
                }
            }
            Some(_) => self.on_fork(common, now, peer, position),
            None if position.op > self.batches.executed().op => self.on_fork(common, now, peer, position),
            None => {
                if let Some(follower) = self.followers.get_mut(&peer) {
                    follower.read(common, position);
                }
            }
        }
    }

    fn set_level(&mut self, peer: ReplicaIndex, position: Position, now: Time) {
        if let Some(follower) = self.followers.get_mut(&peer) {
            follower.has(position);
            follower.stage = Stage::Level { since: now };
        }
    }

    /// Serves once everyone is level, and the tables show everything. Says whether it has just begun.
    pub(super) fn begin_serving(&mut self, common: &mut Common<R>) -> bool {
        let all_level = self
            .required(common.me)
            .iter()
            .all(|peer| self.followers.get(&peer).is_some_and(Follower::is_level));
        if self.serving || !all_level || !self.at_rest(common) || !common.remembers() {
            return false;
        }
        for peer in self.required(common.me).iter() {
            let confirmed = self.followers.get(&peer).map(|follower| follower.confirmed);
            assert_eq!(
                confirmed,
                Some(common.logged),
                "invariant 2: replica {} is about to serve {} at {}, and replica {peer} is not level",
                common.me,
                self.view,
                common.logged
            );
        }
        common.commit_point.reached(common.logged);
        if common.applied != common.logged {
            return false;
        }
        self.serving = true;
        self.batches = Batches::after(common.logged);
        common.emit(Effect::Serve { view: self.view.number });
        true
    }
}
