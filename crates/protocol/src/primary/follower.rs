//! Catch-up: how a primary brings another replica level (`PacificA` §2.4, adding new replicas).
//!
//! For the primary every peer with a stream is a follower in some stage. It is called, shows its position, and gets
//! what it lacks: a tail of the log, in pieces, or word to take a snapshot. The same passage serves the replicas that a
//! takeover found behind and those that come back after days. What differs is the end: who is required anyhow is then
//! level; a newcomer is level only at a batch boundary, and from there enters the in-sync set
//! (see `membership.rs`, `admit`).

use crate::common::Common;
use crate::event::Message;
use crate::identity::{DatabaseId, ReplicaIndex, Token};
use crate::log::{Chain, Entry, Op, Position, Record, Relation, relation};
use crate::note::Note;
use crate::time::Time;
use crate::view::View;
use alloc::vec::Vec;

/// What the primary knows of one peer, on one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// The latest moment at which something was sent that this peer has answered: its part of the lease.
    pub(crate) answered: Option<Time>,
    /// The log up to here is durable at the peer.
    pub(crate) persisted: Op,
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
    /// Entries up to `end` are on their way.
    Sending { end: Position, at: Time },
    /// It was told to take a snapshot, and is told again periodically: the message may be lost, or refused for a reason that
    /// has passed (it still counted itself in sync). It answers beats meanwhile, and comes back by another stream.
    Snapshot { since: Time, told_at: Time },
    /// It has everything that is committed, and gets each batch.
    Level { since: Time },
}

/// What the log read for a follower led to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Read {
    /// The token belongs to no read of this follower.
    NotMine,
    /// A piece of the tail is on its way, or nothing was missing. `to_the_end`: this was all that is committed.
    Sent { to_the_end: bool },
    /// Its log can't be extended.
    NeedsSnapshot { forked: bool },
}

impl Follower {
    pub(crate) const fn new() -> Self {
        Self { answered: None, persisted: Op(0), database: None, stage: Stage::Waiting }
    }

    /// A follower that showed its position to the takeover that made this primary.
    pub(crate) const fn shown(position: Position) -> Self {
        Self { answered: None, persisted: position.op, database: None, stage: Stage::Shown { position } }
    }

    pub(crate) const fn is_level(&self) -> bool {
        matches!(self.stage, Stage::Level { .. })
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
            self.persisted = position.op;
            self.stage = Stage::Shown { position };
        }
    }

    pub(crate) fn on_persisted(&mut self, position: Position) {
        self.persisted = self.persisted.max(position.op);
        if let Stage::Sending { end, .. } = self.stage
            && position == end
        {
            self.stage = Stage::Shown { position };
        }
    }

    /// The latest sign of life that a required follower is measured by: what it answered last, or when it became level.
    pub(crate) fn alive_at(&self) -> Option<Time> {
        match self.stage {
            Stage::Level { since } => Some(self.heard_since(since)),
            _ => None,
        }
    }

    /// Whether it owes an answer that should have come by now.
    pub(crate) fn is_overdue(&self, now: Time, limit: core::time::Duration) -> bool {
        match self.stage {
            Stage::Called { at } | Stage::Sending { at, .. } => now >= at + limit,
            Stage::Snapshot { since, .. } => now >= self.heard_since(since) + limit,
            _ => false,
        }
    }

    /// The latest sign of life since then.
    fn heard_since(&self, since: Time) -> Time {
        self.answered.map_or(since, |answered| answered.max(since))
    }

    /// When something is to be done about its stage, if nothing happens before.
    pub(crate) fn overdue_at(&self, limit: core::time::Duration) -> Option<Time> {
        match self.stage {
            Stage::Called { at } | Stage::Sending { at, .. } => Some(at + limit),
            Stage::Snapshot { since, told_at } => Some(told_at.min(self.heard_since(since)) + limit),
            _ => None,
        }
    }

    /// Reads the log for a follower whose shown position lies before the end of it.
    pub(crate) fn read<R: Record>(&mut self, common: &mut Common<R>, position: Position) {
        self.stage = Stage::Reading { token: common.read_log(position.op), position };
    }

    #[expect(clippy::too_many_arguments, reason = "the answer of the log, and whom and what it is for")]
    pub(crate) fn on_log_read<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        view: &View,
        token: Token,
        chain: Option<Chain>,
        entries: Vec<Entry<R>>,
    ) -> Read {
        let Stage::Reading { token: mine, position } = self.stage else { return Read::NotMine };
        if mine != token {
            return Read::NotMine;
        }
        match relation(common.position, position, chain) {
            Relation::Fork => Read::NeedsSnapshot { forked: true },
            Relation::BeforeMyLog => Read::NeedsSnapshot { forked: false },
            Relation::Level | Relation::Behind => {
                let end = entries.last().map_or(position, Entry::position);
                if entries.is_empty() {
                    self.stage = Stage::Shown { position };
                } else {
                    self.stage = Stage::Sending { end, at: now };
                    common.send(peer, Message::Append { view: view.clone(), previous: position, entries });
                }
                Read::Sent { to_the_end: end.op >= common.position.op }
            }
        }
    }

    /// Tells a follower that only a snapshot helps. It is not required by then: who is required is removed first.
    pub(crate) fn order_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        view: &View,
        forked: bool,
    ) {
        let position = match self.stage {
            Stage::Reading { position, .. } | Stage::Shown { position } => position,
            _ => Position::ORIGIN,
        };
        common.note(Note::NeedsSnapshot { peer, position, forked });
        self.tell_to_take_snapshot(common, now, now, peer, view);
    }

    /// A follower that can't persist what comes next gets a snapshot, as it asked.
    pub(crate) fn on_needs_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        view: &View,
    ) {
        if matches!(self.stage, Stage::Called { .. }) {
            common.note(Note::AsksForSnapshot { peer });
            self.tell_to_take_snapshot(common, now, now, peer, view);
        }
    }

    /// Says it once more.
    pub(crate) fn tell_to_take_snapshot<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        since: Time,
        peer: ReplicaIndex,
        view: &View,
    ) {
        common.send(peer, Message::TakeSnapshot { view: view.clone() });
        self.stage = Stage::Snapshot { since, told_at: now };
    }
}
