//! After a power failure: who was in sync shows what it has before anyone leads.
//!
//! A disk that loses its power may have lost what it had confirmed, or everything. While one of those that were in sync has
//! kept it, no acknowledged entry is lost, if that one is heard: so a replica that the failure ended leads only once each of
//! those that are in sync by the newest view has shown what it has since then, and none of them has a longer log (as
//! KIP-966, *Eligible Leader Replicas*, asks after an unclean shutdown). A new database in the place of the one that the
//! view names is an answer too. There is no limit of time: a replica that can't answer may be the only one that has everything.
//!
//! What was shown holds for as long as this process lives. A log that was shown since the failure has all that its disk
//! has kept; what it gets after that comes from a primary that has heard all of them, or needs this replica's own acknowledgement.

use crate::common::Common;
use crate::event::Message;
use crate::identity::{DatabaseId, ReplicaIndex, ReplicaSet};
use crate::log::{Fact, Position};
use crate::note::Note;
use crate::time::Time;
use crate::view::View;
use alloc::collections::BTreeMap;

/// What a replica that a power failure ended knows of the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PowerFailure {
    /// What each of them has shown since this process started.
    shown: BTreeMap<ReplicaIndex, (DatabaseId, Position)>,
    ask_again_at: Time,
    /// For whom people were last told that this replica waits.
    told: ReplicaSet,
}

impl PowerFailure {
    pub(crate) const fn new(now: Time) -> Self {
        Self { shown: BTreeMap::new(), ask_again_at: now, told: ReplicaSet::EMPTY }
    }

    /// A peer has shown what it has.
    pub(crate) fn on_shown(&mut self, peer: ReplicaIndex, database: DatabaseId, position: Position) {
        self.shown.insert(peer, (database, position));
    }

    pub(crate) const fn ask_again_at(&self) -> Time {
        self.ask_again_at
    }

    /// Who is in sync by this view and has shown nothing yet, or a longer log than one that ends at `mine`.
    fn awaited(&self, view: &View, me: ReplicaIndex, mine: Position) -> ReplicaSet {
        let others = view.in_sync.without(me).iter();
        others
            .filter(|peer| {
                self.shown.get(peer).is_none_or(|(database, position)| {
                    view.holds(*peer, *database, *position) && position.op > mine.op
                })
            })
            .collect()
    }
}

impl<F: Fact> Common<F> {
    /// Whom this replica waits for, because of a power failure, before it leads.
    pub(crate) fn waits_for(&self) -> ReplicaSet {
        match (&self.power_failure, &self.view) {
            (Some(failure), Some(view)) => failure.awaited(view, self.me, self.position),
            _ => ReplicaSet::EMPTY,
        }
    }

    /// Asks those who have not shown what they have, and forgets the power failure once it can't matter any more.
    pub(crate) fn look_past_power_failure(&mut self, now: Time) {
        if self.power_failure.is_none() || self.view.is_none() {
            return;
        }
        let waits_for = self.waits_for();
        // Who is not in sync is brought level by a primary before it is again.
        if waits_for.is_empty() || !self.in_sync() {
            self.power_failure = None;
            self.emit(crate::event::Effect::PowerFailureOver);
            return;
        }
        let Some(failure) = &mut self.power_failure else { return };
        let news = core::mem::replace(&mut failure.told, waits_for) != waits_for;
        let due = now >= failure.ask_again_at;
        if due {
            failure.ask_again_at = now + self.timing.retry_every;
        }
        if news {
            self.note(Note::PowerFailureWaitsFor(waits_for));
        }
        if due {
            for peer in waits_for.iter() {
                self.send(peer, Message::Probe);
            }
        }
    }
}
