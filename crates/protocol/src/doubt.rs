//! Doubt: who was in sync shows what it has, before a replica leads that can't know by itself whether it may.
//!
//! **After a power failure** a disk may have lost what it had confirmed, or everything. While one of those that were in sync
//! has kept it, no acknowledged entry is lost, if that one is heard: so a replica that the failure ended leads only once each
//! of those that are in sync by the newest view has shown what it has since then, and none of them has a longer log (as
//! KIP-966, *Eligible Leader Replicas*, asks after an unclean shutdown). A new database in the place of the one that the
//! view names is an answer too. There is no limit of time: a replica that can't answer may be the only one that has everything.
//!
//! What was shown holds for as long as this process lives. A log that was shown since the failure has all that its disk
//! has kept; what it gets after that comes from a primary that has heard all of them, or needs this replica's own confirmation.
//!
//! A replica that is not in sync doubts too. It may have been level with a primary that had proposed a view with it, and that
//! view may still be installed, long after the failure has taken what the replica had confirmed (seed 700252039). It asks
//! meanwhile, so that it need not wait once a primary has brought it level.
//!
//! **A database that remembers no view**, beside a register that holds one, was ended in its first moments, or is from a
//! version that remembered none. The register may be a copy from those moments that was put back, and the others may have
//! gone on without this replica since: but then one that is in sync by the copy remembers a newer view, or another register,
//! and says so when it is asked. Until all have been heard nothing is remembered, so that a replica that ends before that
//! doubts again. A peer that leads, or runs for primary, by the newest view remembers it and the register that
//! installed it, which is as good: however old its call is, the register is then compared with that one.

use crate::common::Common;
use crate::event::{Effect, Message};
use crate::identity::{DatabaseId, RegisterId, ReplicaIndex, ReplicaSet};
use crate::log::{Position, Record};
use crate::note::Note;
use crate::time::Time;
use crate::view::View;
use alloc::collections::BTreeMap;

/// Why a replica doubts, and what it knows of the others since then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Doubt {
    power_failed: bool,
    nothing_remembered: bool,
    /// What each of them has shown.
    shown: BTreeMap<ReplicaIndex, (DatabaseId, Position)>,
    ask_again_at: Time,
    /// For whom it waits by the last note.
    noted: ReplicaSet,
}

impl Doubt {
    const fn new(now: Time) -> Self {
        Self {
            power_failed: false,
            nothing_remembered: false,
            shown: BTreeMap::new(),
            ask_again_at: now,
            noted: ReplicaSet::EMPTY,
        }
    }

    pub(crate) fn after_power_failure(now: Time) -> Self {
        Self { power_failed: true, ..Self::new(now) }
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

impl<R: Record> Common<R> {
    /// Whom this replica waits for, because it doubts, before it leads; none while it is not in sync, as it does not lead then.
    pub(crate) fn waits_for(&self) -> ReplicaSet {
        match (&self.doubt, &self.view) {
            (Some(doubt), Some(view)) if self.in_sync() => doubt.awaited(view, self.me, self.logged),
            _ => ReplicaSet::EMPTY,
        }
    }

    /// Whether a power failure is a reason to doubt.
    pub(crate) fn doubts_after_power_failure(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.power_failed)
    }

    /// Whether the register's word is not enough to remember a view by.
    pub(crate) fn doubts_the_register(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.nothing_remembered)
    }

    /// The register holds a view, and this database remembers none. What peers showed before is of no use here: the views
    /// that came with it were not looked at.
    pub(crate) fn doubt_the_register(&mut self, now: Time) {
        let power_failed = self.doubts_after_power_failure();
        self.doubt = Some(Doubt { power_failed, nothing_remembered: true, ..Doubt::new(now) });
    }

    /// A peer leads, or runs for primary, by the newest view: that peer remembers it, and the register that installed it.
    pub(crate) fn believe_the_register(&mut self, register: RegisterId) {
        self.register = Some(register);
        if let Some(doubt) = &mut self.doubt {
            doubt.nothing_remembered = false;
        }
        self.doubt.take_if(|doubt| !doubt.power_failed);
    }

    /// Whether this replica doubts the register that it has read, and a peer knows another one.
    pub(crate) fn hears_of_another_register(&self, message: &Message<R>) -> bool {
        let theirs = match message {
            Message::Alive { register, .. } => *register,
            Message::Call { register, .. } => Some(*register),
            _ => None,
        };
        self.doubts_the_register() && theirs.is_some_and(|theirs| self.register != Some(theirs))
    }

    /// Asks those who have not shown what they have, and ends the doubt once it can't matter any more.
    pub(crate) fn look_past_doubt(&mut self, now: Time) {
        let (Some(view), Some(doubt)) = (&self.view, &self.doubt) else { return };
        let waits_for = doubt.awaited(view, self.me, self.logged);
        if self.in_sync() {
            if waits_for.is_empty() {
                if self.doubt.take().is_some_and(|doubt| doubt.power_failed) {
                    self.emit(Effect::PowerFailureOver);
                }
                return;
            }
            self.say_who_is_awaited(waits_for);
        }
        self.ask_for_what_they_have(waits_for, now);
    }

    fn say_who_is_awaited(&mut self, waits_for: ReplicaSet) {
        let Some(doubt) = &mut self.doubt else { return };
        let power_failed = doubt.power_failed;
        if core::mem::replace(&mut doubt.noted, waits_for) != waits_for {
            self.note(if power_failed {
                Note::PowerFailureWaitsFor(waits_for)
            } else {
                Note::NothingRememberedWaitsFor(waits_for)
            });
        }
    }

    fn ask_for_what_they_have(&mut self, waits_for: ReplicaSet, now: Time) {
        let Some(doubt) = &mut self.doubt else { return };
        if waits_for.is_empty() || now < doubt.ask_again_at {
            return;
        }
        doubt.ask_again_at = now + self.timing.retry_every;
        for peer in waits_for.iter() {
            self.send(peer, Message::Probe);
        }
    }
}
