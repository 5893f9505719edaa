//! What the store answers, and what follows for the replica when it fails or its files are lost.

use super::{Replica, Role};
use crate::commit_point::CommitPoint;
use crate::event::Event;
use crate::identity::DatabaseId;
use crate::log::{Position, Record};
use crate::next::{Next, Patience};
use crate::note::{HaltReason, StepDownReason};
use crate::store_work::Work;
use crate::time::Time;

impl<R: Record> Replica<R> {
    /// The store has answered. First what is known of the store changes, then the role hears of it.
    pub(super) fn on_store(&mut self, now: Time, event: Event<R>) -> Next<R> {
        let (Event::BatchExecuted { token, .. }
        | Event::Logged { token }
        | Event::Applied { token, .. }
        | Event::LogCut { token }
        | Event::Remembered { token }
        | Event::StoreFailed { token }
        | Event::StoreRepaired { token, .. }
        | Event::SnapshotInstalled { token, .. }
        | Event::SnapshotFailed { token }) = event
        else {
            return Next::Stay;
        };
        let Some(work) = self.common.work.answered(token) else { return Next::Stay };
        match (work, event) {
            (Work::Executing, Event::BatchExecuted { entries, barrier, .. }) => {
                // Of an earlier primacy, it changes nothing: nothing was written.
                if let Role::Primary(primary) = &mut self.role {
                    primary.on_executed(&mut self.common, now, token, entries, barrier);
                }
                Next::Stay
            }
            (Work::Logging(end), Event::Logged { .. }) => self.on_logged(now, end),
            (Work::Applying(wanted), Event::Applied { applied, .. }) => {
                assert!(
                    applied.op > self.common.applied.op && applied.op <= wanted.op,
                    "the tables were at {}, and show {applied} after they were to show {wanted}",
                    self.common.applied
                );
                self.common.applied = applied;
                self.common.store.applied();
                if let Role::Secondary(secondary) = &mut self.role {
                    secondary.on_applied(&mut self.common);
                }
                Next::Stay
            }
            (Work::Cutting(to), Event::LogCut { .. }) => self.on_cut(now, to),
            (Work::Remembering, Event::Remembered { .. }) => {
                self.common.on_remembered();
                Next::Stay
            }
            (_, Event::StoreFailed { .. }) => self.on_store_failed(now, work),
            (Work::Repairing, Event::StoreRepaired { logged, applied, .. }) => {
                self.on_store_repaired(now, logged, applied)
            }
            (Work::Installing, Event::SnapshotInstalled { database, position, .. }) => {
                self.on_snapshot_installed(now, database, position)
            }
            (Work::Installing, Event::SnapshotFailed { .. }) => {
                self.common.remembering = None;
                self.common.store.not_replaced();
                if let Role::Secondary(secondary) = &mut self.role {
                    secondary.on_store_failed(&mut self.common);
                }
                Next::Stay
            }
            (work, event) => panic!("{work:?} is answered by {event:?}"),
        }
    }

    fn on_logged(&mut self, now: Time, end: Position) -> Next<R> {
        self.common.logged = end;
        self.common.store.logged();
        match &mut self.role {
            Role::Secondary(secondary) => secondary.on_logged(&mut self.common, now),
            // What an earlier primacy gave to the log is logged all the same: it is shown with the rest.
            Role::Starting(_) | Role::Takeover(_) | Role::Primary(_) | Role::Halted(_) => {}
        }
        Next::Stay
    }

    /// The log ends where all is committed: another log, so everything that was said on its streams is void.
    fn on_cut(&mut self, now: Time, end: Position) -> Next<R> {
        self.common.logged = end;
        self.common.commit_point.cut(end.op);
        for peer in self.common.connected().iter() {
            self.common.disconnect(peer);
        }
        self.follow_anew(now)
    }

    fn follow_anew(&self, now: Time) -> Next<R> {
        match self.role {
            Role::Halted(_) => Next::Stay,
            _ => Next::Follow(Patience::fresh(now)),
        }
    }

    fn on_store_failed(&mut self, now: Time, work: Work) -> Next<R> {
        let was_sound = self.common.store.is_sound();
        if let Work::Cutting(to) = work {
            self.common.perhaps_cut = Some(to);
        }
        if work == Work::Remembering {
            // It may have been kept all the same: then it is kept once more.
            self.common.remembering = None;
        }
        if !was_sound && work != Work::Repairing {
            // Of the same failure: what was asked of the store before it was known to be suspect.
            return Next::Stay;
        }
        let op = match work {
            Work::Applying(_) => self.common.applied.op,
            _ => self.common.logged.op,
        };
        self.common.store.failed(now, op, matches!(work, Work::Applying(_)));
        // The replicas that must know of a suspect store knew before it was repaired in vain.
        if work == Work::Repairing {
            Next::Stay
        } else {
            self.without_store(now, StepDownReason::StoreFailed)
        }
    }

    /// What the store holds is certain again: what was logged, unless a cut has failed and taken effect.
    fn on_store_repaired(&mut self, now: Time, logged: Position, applied: Position) -> Next<R> {
        let perhaps_cut = self.common.perhaps_cut.take();
        if logged != self.common.logged && perhaps_cut != Some(logged) {
            return Next::Halt(HaltReason::DiskLied);
        }
        self.common.applied = applied;
        self.common.store.repaired();
        if logged == self.common.logged { Next::Stay } else { self.on_cut(now, logged) }
    }

    /// The store is suspect: a primary stops serving, a secondary says that it leaves.
    pub(super) fn without_store(&mut self, now: Time, reason: StepDownReason) -> Next<R> {
        match &mut self.role {
            Role::Primary(primary) => primary.resign(&mut self.common, now, reason),
            Role::Secondary(secondary) => {
                secondary.on_store_failed(&mut self.common);
                Next::Stay
            }
            Role::Starting(_) | Role::Takeover(_) | Role::Halted(_) => Next::Stay,
        }
    }

    /// Files that no path leads to are kept open for as long as they may be all that is left of what was acknowledged. Once
    /// the others are in sync without them, this replica begins anew.
    pub(super) fn give_up_lost_files(&self) -> Next<R> {
        let halted = matches!(self.role, Role::Halted(_));
        let lost = self.common.store.files_lost() && self.common.view.is_some() && !self.common.in_sync();
        if lost && !halted { Next::End(HaltReason::FilesLost) } else { Next::Stay }
    }

    /// Another database, another replica: everything that was said on its streams concerned the old one.
    fn on_snapshot_installed(&mut self, now: Time, database: DatabaseId, position: Position) -> Next<R> {
        self.common.database = database;
        self.common.logged = position;
        self.common.applied = position;
        self.common.base = position.op;
        self.common.commit_point = CommitPoint::known(position);
        self.common.on_remembered();
        self.common.store.replaced();
        for peer in self.common.connected().iter() {
            self.common.disconnect(peer);
        }
        self.follow_anew(now)
    }
}
