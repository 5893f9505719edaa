//! What a role wants the replica to become: the words in which roles hand the replica to each other.

use crate::event::Message;
use crate::identity::{ReplicaIndex, StreamId};
use crate::log::Position;
use crate::note::HaltReason;
use crate::time::Time;
use crate::view::View;
use alloc::collections::BTreeMap;

/// Positions that in-sync replicas have shown, and the streams on which they hold.
pub(crate) type Shown = BTreeMap<ReplicaIndex, (StreamId, Position)>;

/// For how long a secondary waits for the primary of the view that it knows before it runs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Patience {
    /// The last sign of life of that primary, or when the wait for it began. Its lease is over at `heard_at + grace`.
    pub(crate) heard_at: Time,
    /// A primary that is missing is given time to appear: `run_not_before <= now` when this replica runs.
    pub(crate) run_not_before: Time,
    /// The stream on which this replica last showed its position, and so the only one whose appends it takes; `None` once
    /// anything has made that position void.
    pub(crate) following: Option<(ReplicaIndex, StreamId)>,
}

impl Patience {
    /// The wait begins now, and ends as soon as the primary is lost.
    pub(crate) const fn fresh(now: Time) -> Self {
        Self::until(now, now)
    }

    /// The wait begins now, and lasts at least until `run_not_before`.
    pub(crate) const fn until(now: Time, run_not_before: Time) -> Self {
        Self { heard_at: now, run_not_before, following: None }
    }
}

/// What a role wants the replica to become.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next<R> {
    Stay,
    Follow(Patience),
    /// Become a secondary and look at this message as one.
    FollowThen {
        patience: Patience,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    },
    Run {
        patience: Patience,
        /// The primary of the known view has said that it no longer leads.
        released: bool,
    },
    Lead {
        view: View,
        shown: Shown,
    },
    Halt(HaltReason),
    End(HaltReason),
}
