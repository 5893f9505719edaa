//! Probation: a replica that keeps falling out waits longer before each admission.
//!
//! Like a colleague who is ill again the day after coming back: the first return is immediate, each further one takes
//! twice as long, and a long healthy spell clears the record. Without it a replica in a crash loop with the lowest
//! index would move the primacy back and forth with every loop.

use crate::identity::ReplicaIndex;
use crate::time::Time;
use alloc::collections::BTreeMap;
use core::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    /// Removals since the last healthy spell.
    removals: u32,
    admitted_at: Option<Time>,
    not_before: Time,
}

/// What this process remembers of each peer's comings and goings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Probation {
    records: BTreeMap<ReplicaIndex, Record>,
}

impl Probation {
    /// Notes that `peer` was admitted.
    pub(crate) fn admitted(&mut self, peer: ReplicaIndex, now: Time) {
        if let Some(record) = self.records.get_mut(&peer) {
            record.admitted_at = Some(now);
        }
    }

    /// Notes that `peer` fell out of the in-sync set, or failed on its way in.
    pub(crate) fn removed(&mut self, peer: ReplicaIndex, now: Time) {
        let record =
            self.records.entry(peer).or_insert(Record { removals: 0, admitted_at: None, not_before: now });
        if record.admitted_at.is_some_and(|since| now - since >= HEALTHY_AFTER) {
            record.removals = 0;
        }
        let wait = match record.removals {
            0 => Duration::ZERO,
            n => (FIRST_WAIT * 2_u32.pow((n - 1).min(8))).min(LONGEST_WAIT),
        };
        *record =
            Record { removals: record.removals.saturating_add(1), admitted_at: None, not_before: now + wait };
    }

    /// The time before which `peer` is not admitted, if that is still to come.
    pub(crate) fn not_before(&self, peer: ReplicaIndex, now: Time) -> Option<Time> {
        self.records.get(&peer).map(|record| record.not_before).filter(|time| *time > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_removal_doubles_the_wait_and_a_healthy_spell_clears_it() {
        let mut probation = Probation::default();
        let peer = ReplicaIndex(0);
        let mut now = Time::from_micros(0);
        let mut waits = alloc::vec::Vec::new();
        for _ in 0..9 {
            probation.removed(peer, now);
            let until = probation.not_before(peer, now).unwrap_or(now);
            waits.push((until - now).as_millis());
            now = until;
            probation.admitted(peer, now);
        }
        assert_eq!(waits, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        now = now + HEALTHY_AFTER;
        probation.removed(peer, now);
        assert_eq!(probation.not_before(peer, now), None);
    }
}
