//! What a replica may think of its own store.
//!
//! After a store effect has failed, nothing that reads well is evidence: what was written and not synced is read back from
//! memory, and the next sync succeeds without having written it (Rebello and others: Can Applications Recover from fsync
//! Failures?, USENIX ATC 2020). So the store is **suspect** from the failure on, and its replica does not lead, is in no new
//! view, and shows no position, until a repair has written anew and synced whatever was not certain, or a snapshot has taken
//! the database's place. No time that passes makes a suspect store sound.
//!
//! A store that fails again and again at the same op does not get over it by being repaired (its rows may differ from the
//! others', so that an entry can't be applied): after a few failures its replica asks for a snapshot.

use crate::log::Op;
use crate::time::Time;
use core::time::Duration;

/// How long until a repair is tried, and how long a store that hung keeps its replica from leading; longer each time.
const WAIT_AT_FIRST: Duration = Duration::from_secs(1);
const WAIT_AT_MOST: Duration = Duration::from_secs(10);
/// After this many failures at one op the replica asks for a snapshot.
const FAILURES_MAX: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoreHealth {
    /// The store has failed and was not repaired since: when the next repair is due.
    repair_at: Option<Time>,
    /// No path leads to the files of the database any more.
    files_lost: bool,
    /// The store hung: until then its replica does not lead.
    stuck_until: Option<Time>,
    wait: Duration,
    /// Failures since the log, or the tables, last ended elsewhere, and where that was.
    failures: u32,
    failed_at: Op,
    /// What failed last was an entry that was to be applied, and none was since.
    tables_failed: bool,
}

impl StoreHealth {
    pub(crate) const SOUND: Self = Self {
        repair_at: None,
        files_lost: false,
        stuck_until: None,
        wait: WAIT_AT_FIRST,
        failures: 0,
        failed_at: Op(0),
        tables_failed: false,
    };

    /// Whether what the store holds is certain.
    pub(crate) const fn is_sound(&self) -> bool {
        self.repair_at.is_none()
    }

    /// Whether the store is sound and did not hang lately.
    pub(crate) fn is_fit(&self, now: Time) -> bool {
        self.is_sound() && self.stuck_until.is_none_or(|until| now >= until)
    }

    pub(crate) const fn files_lost(&self) -> bool {
        self.files_lost
    }

    /// Whether it has failed at one op so often that only a snapshot can help.
    pub(crate) const fn wants_snapshot(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// When a repair is due, if one is needed.
    pub(crate) const fn repair_at(&self) -> Option<Time> {
        self.repair_at
    }

    pub(crate) const fn stuck_until(&self) -> Option<Time> {
        self.stuck_until
    }

    /// A store effect has failed, or a repair; the certain part of the log ends at `op`, or the tables do, if it was they that
    /// failed.
    pub(crate) fn failed(&mut self, now: Time, op: Op, tables: bool) {
        self.tables_failed |= tables;
        if op != self.failed_at {
            self.failures = 0;
        }
        self.failed_at = op;
        self.failures = self.failures.saturating_add(1);
        self.repair_at = Some(now + self.lengthen_wait());
    }

    /// The files of the database are gone from their place, or others are there.
    pub(crate) fn lost_files(&mut self, now: Time) {
        if !self.files_lost {
            self.files_lost = true;
            self.repair_at = Some(now + self.lengthen_wait());
        }
    }

    /// The store has been busy with one thing for too long.
    pub(crate) fn hung(&mut self, now: Time) {
        self.stuck_until = Some(now + self.lengthen_wait());
    }

    /// The log was written. That makes nothing certain that was not, and says nothing of tables that have failed.
    pub(crate) fn logged(&mut self) {
        if self.is_sound() {
            self.stuck_until = None;
            if !self.tables_failed {
                self.wait = WAIT_AT_FIRST;
            }
        }
    }

    /// Entries were applied.
    pub(crate) fn applied(&mut self) {
        self.tables_failed = false;
        self.logged();
    }

    /// Everything that it holds is certain again. Whether the next entry can be applied will be seen.
    pub(crate) fn repaired(&mut self) {
        self.repair_at = None;
        self.files_lost = false;
    }

    /// The database is another one.
    pub(crate) fn replaced(&mut self) {
        *self = Self::SOUND;
    }

    /// No snapshot could be taken: before the next attempt the store gets its chances again.
    pub(crate) fn not_replaced(&mut self) {
        self.failures = 0;
    }

    fn lengthen_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT_AT_MOST);
        wait
    }
}
