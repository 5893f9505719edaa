//! Catch-up: how a primary brings another replica level (`PacificA` §2.4, adding new replicas).
//!
//! For the primary every peer with a stream is a follower in some stage. It is called, shows its position, and gets
//! what it lacks: a tail of the log, in pieces, or word to cut its log or to take a snapshot. The same passage serves the
//! replicas that a takeover found behind and those that come back after days. What differs is the end: who is required anyhow
//! is then level; a newcomer gets each further batch, and once it has confirmed everything that is committed, it enters the
//! in-sync set (see `membership.rs`, `admit`).

use crate::common::Common;
use crate::event::Message;
use crate::identity::{DatabaseId, ReplicaIndex, Token};
use crate::log::{Entry, Position, Record};
use crate::note::Note;
use crate::time::Time;
use crate::view::View;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// What the primary knows of one peer, on one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// The latest moment at which something was sent that this peer has answered: its part of the lease.
    pub(crate) answered: Option<Time>,
    /// The last place of my log that it has in its own, durably, as it has confirmed to me.
    pub(crate) confirmed: Position,
    /// Where each piece ends that was sent to it and is not confirmed, and when it was sent: `confirmed.op < sent`, in order.
    sent: VecDeque<(Position, Time)>,
    /// As it said when it showed its position.
    pub(crate) database: Option<DatabaseId>,
    pub(crate) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Not called yet: just connected, or on probation.
    Waiting,
    /// It was called, and has not shown its position yet.
    Called { at: Time },
    /// Its log ends here, and it listens to this primary alone.
    Shown { position: Position },
    /// The entries after its position are being read.
    Reading { token: Token, position: Position },
    /// It has not confirmed all that was sent to it, and is sent nothing before it has.
    Sending,
    /// It was told to cut its log, which ends here, and is told again periodically. It answers beats meanwhile, and comes back by
    /// another stream.
    Cutting { position: Position, since: Time, told_at: Time },
    /// It was told to take a snapshot, and is told again periodically: the message may be lost, or refused for a reason that
    /// has passed (it still counted itself in sync). It answers beats meanwhile, and comes back by another stream.
    Snapshot { since: Time, told_at: Time },
    /// A newcomer to which everything that was executed was sent, and that gets each batch.
    Joining,
    /// It is required, has everything that is committed, and gets each batch.
    Level { since: Time },
}

/// What a confirmation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Confirmation {
    /// Everything up to there is durable at the follower.
    Counts,
    /// It was known, or concerns nothing that was sent on this stream.
    Known,
    /// The follower's log ends where nothing that was sent to it ends.
    Forked,
}

impl Follower {
    pub(crate) const fn new() -> Self {
        Self {
            answered: None,
            confirmed: Position::ORIGIN,
            sent: VecDeque::new(),
            database: None,
            stage: Stage::Waiting,
        }
    }

    /// A follower that showed its position to the takeover that made this primary.
    pub(crate) fn shown(position: Position) -> Self {
        Self { stage: Stage::Shown { position }, ..Self::new() }
    }

    pub(crate) const fn is_level(&self) -> bool {
        matches!(self.stage, Stage::Level { .. })
    }

    pub(crate) const fn gets_each_batch(&self) -> bool {
        matches!(self.stage, Stage::Level { .. } | Stage::Joining)
    }

    /// The position it has shown and not left since.
    pub(crate) const fn position(&self) -> Option<Position> {
        match self.stage {
            Stage::Shown { position } => Some(position),
            _ => None,
        }
    }

    pub(crate) fn call<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        view: &View,
    ) {
        self.stage = Stage::Called { at: now };
        let register = common.register();
        common.send(peer, Message::Call { base: view.clone(), number: view.number, register });
    }

    pub(crate) fn on_shown(&mut self, database: DatabaseId, position: Position) {
        if matches!(self.stage, Stage::Called { .. }) {
            self.database = Some(database);
            self.stage = Stage::Shown { position };
        }
    }

    /// Something was sent to it that ends here.
    pub(crate) fn sends(&mut self, end: Position, now: Time) {
        assert!(
            end.op > self.sent.back().map_or(self.confirmed.op, |(last, _)| last.op),
            "{end} is sent to a follower that was sent more: {self:?}"
        );
        self.sent.push_back((end, now));
    }

    /// Its log ends here, durably. An answered append is as good as an answered beat: it was received after it was sent, and
    /// counts from then, not from when a later one was.
    pub(crate) fn on_confirmed(&mut self, position: Position) -> Confirmation {
        if !self.gets_each_batch() && self.stage != Stage::Sending {
            return Confirmation::Known;
        }
        let Some(place) = self.sent.iter().position(|(end, _)| *end == position) else {
            let known = position.op < self.confirmed.op || position == self.confirmed;
            return if known { Confirmation::Known } else { Confirmation::Forked };
        };
        self.answered = self.answered.max(Some(self.sent[place].1));
        self.sent.drain(..=place);
        self.confirmed = position;
        if self.stage == Stage::Sending && self.sent.is_empty() {
            self.stage = Stage::Shown { position };
        }
        Confirmation::Counts
    }

    /// The commit point as this follower may know it: no further than what it has confirmed, which is a place of my log.
    pub(crate) fn commit_point(&self, committed: Position) -> Position {
        if self.confirmed.op < committed.op { self.confirmed } else { committed }
    }

    /// The latest sign of life that a required follower is measured by: what it answered last, or when it became level.
    pub(crate) fn alive_at(&self) -> Option<Time> {
        match self.stage {
            Stage::Level { since } => Some(self.heard_since(since)),
            _ => None,
        }
    }

    /// When the first piece was sent that it has not confirmed.
    pub(crate) fn owes_since(&self) -> Option<Time> {
        self.sent.front().map(|(_, at)| *at)
    }

    /// How many pieces it has not confirmed.
    pub(crate) fn owes(&self) -> usize {
        self.sent.len()
    }

    /// Whether it owes an answer that should have come by now.
    pub(crate) fn is_overdue(&self, now: Time, limit: Duration) -> bool {
        self.answer_due(limit).is_some_and(|at| now >= at)
    }

    fn answer_due(&self, limit: Duration) -> Option<Time> {
        let since = match self.stage {
            Stage::Called { at } => at,
            Stage::Sending | Stage::Joining => self.owes_since()?,
            Stage::Cutting { since, .. } | Stage::Snapshot { since, .. } => self.heard_since(since),
            _ => return None,
        };
        Some(since + limit)
    }

    /// The latest sign of life since then.
    fn heard_since(&self, since: Time) -> Time {
        self.answered.map_or(since, |answered| answered.max(since))
    }

    /// When something is to be done about its stage, if nothing happens before.
    pub(crate) fn overdue_at(&self, limit: Duration) -> Option<Time> {
        let told_again = match self.stage {
            Stage::Cutting { told_at, .. } | Stage::Snapshot { told_at, .. } => Some(told_at + limit),
            _ => None,
        };
        self.answer_due(limit).into_iter().chain(told_again).min()
    }

    /// Reads the log for a follower whose shown position lies before the end of it.
    pub(crate) fn read<R: Record>(&mut self, common: &mut Common<R>, position: Position) {
        self.stage = Stage::Reading { token: common.read_log(position.op), position };
    }

    /// Its log is a beginning of mine up to here: everything after it will do.
    pub(crate) fn has(&mut self, position: Position) {
        self.confirmed = position;
        self.sent.clear();
    }

    /// Sends entries that follow what it has, or was sent last.
    pub(crate) fn send<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        (peer, view): (ReplicaIndex, &View),
        previous: Position,
        entries: Vec<Entry<R>>,
    ) {
        let Some(end) = entries.last().map(Entry::position) else { return };
        self.sends(end, now);
        let committed = self.commit_point(common.committed());
        common.send(peer, Message::Append { view: view.clone(), previous, entries, committed });
    }

    /// Tells a follower whose log is a fork to cut it, or says it once more. It is not required by then: who is required is
    /// removed first.
    pub(crate) fn tell_to_cut<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        since: Time,
        (peer, view): (ReplicaIndex, &View),
        position: Position,
    ) {
        common.send(peer, Message::Cut { view: view.clone(), position });
        self.stage = Stage::Cutting { position, since, told_at: now };
    }

    /// Tells a follower that only a snapshot helps. It is not required by then: who is required is removed first.
    pub(crate) fn order_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        (peer, view): (ReplicaIndex, &View),
        position: Position,
        forked: bool,
    ) {
        common.note(Note::NeedsSnapshot { peer, position, forked });
        self.tell_to_take_snapshot(common, now, now, (peer, view));
    }

    /// A follower that can't apply what comes next, or whose fork lies below what it can cut, gets a snapshot, as it asked.
    pub(crate) fn on_needs_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        (peer, view): (ReplicaIndex, &View),
    ) {
        if matches!(self.stage, Stage::Called { .. } | Stage::Cutting { .. }) {
            common.note(Note::AsksForSnapshot { peer });
            self.tell_to_take_snapshot(common, now, now, (peer, view));
        }
    }

    /// Says it once more.
    pub(crate) fn tell_to_take_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        since: Time,
        (peer, view): (ReplicaIndex, &View),
    ) {
        common.send(peer, Message::TakeSnapshot { view: view.clone() });
        self.stage = Stage::Snapshot { since, told_at: now };
    }
}
