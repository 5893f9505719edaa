//! The commit point: how far the log is known to be committed, that is, in the log of every replica that is required.
//!
//! The primary knows it, and says it in every append and every beat: to each follower no further than what that follower has
//! confirmed to this primary. A follower takes it only where its own durable log has this chain at this op. Neither the view nor
//! the stream of the message would prove that: one peer may lead twice over one stream.
//!
//! What is committed at one replica is in the log of every replica that is in sync, in this view and (by induction, as each new
//! primary levels its view before it serves) in all later ones. It never falls in one run of a replica, unless another database
//! takes the place of its own.

use crate::log::{Op, Position};
use alloc::collections::VecDeque;

/// The ends of batches and pieces that are remembered, at most. A commit point that names an older one is passed over; a later
/// one covers it.
const ENDS_MAX: usize = 64;

/// How far this replica knows its log to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CommitPoint {
    committed: Position,
    /// Where batches and pieces end in this log, in order: `committed < ends`. By these a commit point is recognised.
    ends: VecDeque<Position>,
}

impl CommitPoint {
    /// This is known from before: by the tables, or by the log.
    pub(crate) const fn known(committed: Position) -> Self {
        Self { committed, ends: VecDeque::new() }
    }

    pub(crate) const fn position(&self) -> Position {
        self.committed
    }

    /// A batch or a piece that was accepted ends here.
    pub(crate) fn ends_at(&mut self, end: Position) {
        if end.op > self.committed.op && self.ends.back() != Some(&end) {
            self.ends.push_back(end);
            if self.ends.len() > ENDS_MAX {
                self.ends.pop_front();
            }
        }
    }

    /// What was accepted above this place is not in the log after all.
    pub(crate) fn cut(&mut self, above: Op) {
        self.ends.retain(|end| end.op <= above);
    }

    /// A primary says that this is committed; `logged` is where this log ends durably.
    pub(crate) fn hears(&mut self, committed: Position, logged: Position) {
        let mine = committed == logged || self.ends.contains(&committed);
        if mine && committed.op <= logged.op && committed.op > self.committed.op {
            self.reached(committed);
        }
    }

    /// All that are required have this.
    ///
    /// # Panics
    /// If less was committed before.
    pub(crate) fn reached(&mut self, committed: Position) {
        assert!(
            committed.op >= self.committed.op,
            "the commit point falls from {} to {committed}",
            self.committed
        );
        self.committed = committed;
        self.ends.retain(|end| end.op > committed.op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Chain;

    fn at(op: u64, chain: u8) -> Position {
        Position { op: Op(op), chain: Chain([chain; 32]) }
    }

    #[test]
    fn a_follower_takes_a_commit_point_only_where_its_own_log_has_that_chain() {
        let mut point = CommitPoint::known(Position::ORIGIN);
        point.ends_at(at(3, 3));
        point.ends_at(at(5, 5));
        let logged = at(5, 5);
        for (heard, taken) in [
            (at(3, 9), at(0, 0)),
            (at(4, 4), at(0, 0)),
            (at(6, 6), at(0, 0)),
            (at(3, 3), at(3, 3)),
            (Position::ORIGIN, at(3, 3)),
            (logged, logged),
            (at(3, 3), logged),
        ] {
            point.hears(heard, logged);
            assert_eq!(point.position(), taken, "{heard}");
        }
    }

    #[test]
    fn what_is_accepted_and_not_yet_durable_is_not_committed_here() {
        let mut point = CommitPoint::known(Position::ORIGIN);
        point.ends_at(at(3, 3));
        point.ends_at(at(5, 5));
        point.hears(at(5, 5), at(3, 3));
        assert_eq!(point.position(), Position::ORIGIN);
        point.cut(Op(3));
        point.hears(at(5, 5), at(6, 6));
        assert_eq!(point.position(), Position::ORIGIN, "what was cut may have become another entry");
        point.hears(at(3, 3), at(6, 6));
        assert_eq!(point.position(), at(3, 3));
    }

    #[test]
    fn few_ends_are_remembered() {
        let mut point = CommitPoint::known(Position::ORIGIN);
        for op in 1..=200 {
            point.ends_at(at(op, 1));
        }
        assert_eq!(point.ends.len(), ENDS_MAX);
        point.hears(at(150, 1), at(200, 1));
        assert_eq!((point.position(), point.ends.len()), (at(150, 1), 50));
    }
}
