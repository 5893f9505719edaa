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

/// What a role wants the replica to become.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next<R> {
    Stay,
    Follow {
        heard_at: Time,
        run_not_before: Time,
        /// The stream on which this replica has shown its position, if nothing was said since that makes it void.
        following: Option<(ReplicaIndex, StreamId)>,
    },
    /// Become a secondary and look at this message as one.
    FollowThen {
        heard_at: Time,
        run_not_before: Time,
        following: Option<(ReplicaIndex, StreamId)>,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    },
    Run {
        heard_at: Time,
        released: bool,
        following: Option<(ReplicaIndex, StreamId)>,
    },
    Lead {
        view: View,
        shown: Shown,
    },
    Halt(HaltReason),
    End(HaltReason),
}
