//! Whose wall clock is wrong. The protocol needs no wall clock; what is built on it does (dates of requests, sessions), and
//! a primary that is hours off harms its clients. So each replica knows how far the clocks of the others are from its own.
//!
//! Two clocks that differ do not say which is wrong. A replica that differs by an hour from two others in sync, which agree
//! with each other, is taken for the wrong one, unless as many agree with itself: it does not lead, and is not in sync, until
//! its clock is right. With fewer witnesses it is only told of. Only those count that are connected, so that a replica
//! that is left alone leads all the same.

use crate::identity::{ReplicaIndex, ReplicaSet};
use alloc::collections::BTreeMap;

/// Clocks that are further apart are told of, in milliseconds.
const APART_MAX: u64 = 2_000;
/// A clock that is so far from two others is wrong, in milliseconds.
const WRONG_BY: u64 = 3_600_000;

/// How far the clocks of the others are ahead of this replica's, in milliseconds, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Clocks {
    ahead: BTreeMap<ReplicaIndex, i64>,
    /// Those that are told of, because their clocks are apart from this one's.
    apart: ReplicaSet,
}

impl Clocks {
    /// Takes note of another replica's clock. Says whether the two have come apart, or together again.
    pub(crate) fn compared(&mut self, peer: ReplicaIndex, ahead: i64) -> bool {
        self.ahead.insert(peer, ahead);
        let before = self.apart;
        let apart = ahead.unsigned_abs() > APART_MAX;
        self.apart = if apart { before.with(peer) } else { before.without(peer) };
        self.apart != before
    }

    /// Forgets what it heard: a new primary judges by what it hears from then on.
    pub(crate) fn forget(&mut self) {
        self.ahead.clear();
    }

    /// Whether this replica's clock is taken for wrong by those witnesses. `primary` must be among them, unless this replica
    /// leads: what it once heard of the others is old, while the primary goes on telling the time.
    pub(crate) fn wrong_by(&self, witnesses: ReplicaSet, primary: Option<ReplicaIndex>) -> bool {
        let known =
            || self.ahead.iter().filter(|(peer, _)| witnesses.contains(**peer)).map(|(_, ahead)| *ahead);
        let together = |one: i64, other: i64| one.abs_diff(other) <= APART_MAX;
        let with_me = 1 + known().filter(|ahead| together(*ahead, 0)).count();
        let by_the_primary = |ahead: &i64| match primary.filter(|primary| witnesses.contains(*primary)) {
            Some(primary) => self.ahead.get(&primary) == Some(ahead),
            None => primary.is_none(),
        };
        known().filter(|ahead| ahead.unsigned_abs() >= WRONG_BY).filter(by_the_primary).any(|ahead| {
            let against_me = known().filter(|other| together(*other, ahead)).count();
            against_me >= 2 && against_me > with_me
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn wrong(ahead: &[i64]) -> bool {
        let mut clocks = Clocks::default();
        for (peer, ahead) in (1..).zip(ahead) {
            clocks.compared(ReplicaIndex(peer), *ahead);
        }
        clocks.wrong_by(ReplicaSet::first(9), None)
    }

    #[test]
    fn a_clock_is_wrong_by_two_witnesses_that_agree_unless_as_many_agree_with_it() {
        let cases: [(&[i64], bool); 10] = [
            (&[], false),
            (&[40 * HOUR], false),
            (&[HOUR, HOUR], true),
            (&[-HOUR, -HOUR - 2000], true),
            (&[HOUR, HOUR + 2001], false),
            (&[HOUR - 1, HOUR - 1], false),
            (&[HOUR, -HOUR], false),
            (&[0, HOUR, HOUR], false),
            (&[0, HOUR, HOUR, HOUR], true),
            (&[0, 0, HOUR, HOUR], false),
        ];
        for (ahead, expected) in cases {
            assert_eq!(wrong(ahead), expected, "{ahead:?}");
        }
        let mut clocks = Clocks::default();
        clocks.compared(ReplicaIndex(1), HOUR);
        clocks.compared(ReplicaIndex(2), HOUR);
        assert!(!clocks.wrong_by(ReplicaSet::first(2), None), "only who is a witness counts");
        assert!(clocks.wrong_by(ReplicaSet::first(3), Some(ReplicaIndex(2))), "the primary says so");
        clocks.compared(ReplicaIndex(2), 0);
        assert!(!clocks.wrong_by(ReplicaSet::first(4), Some(ReplicaIndex(2))), "the primary agrees with it");
    }

    #[test]
    fn clocks_that_come_apart_are_told_of_once() {
        let mut clocks = Clocks::default();
        let told =
            [0, 2000, 2001, 90_000, -90_000, -2000, 0].map(|ahead| clocks.compared(ReplicaIndex(1), ahead));
        assert_eq!(told, [false, false, true, false, false, true, false]);
    }
}
