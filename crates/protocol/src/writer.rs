//! The one pair of hands that writes to the store.
//!
//! Store effects never overlap: the next one is emitted when the last is answered. So the driver may carry them out on
//! any thread, and a roll-back can never overtake the batch it belongs to. The writer outlives the role that used it:
//! a primary that steps down leaves a transaction behind, and it is cleaned up here, whatever role this replica has by then.

use crate::identity::Token;
use crate::log::Position;
use crate::time::Time;
use core::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Writer {
    Idle,
    Executing {
        token: Token,
        since: Time,
    },
    /// A transaction is open and waits for the secondaries. Not the store's fault, so it has no `since`.
    Open {
        token: Token,
        end: Position,
    },
    Committing {
        token: Token,
        since: Time,
        end: Position,
    },
    RollingBack {
        token: Token,
        since: Time,
    },
    Persisting {
        token: Token,
        since: Time,
        end: Position,
    },
    Installing {
        token: Token,
    },
    Remembering {
        token: Token,
        since: Time,
    },
    Repairing {
        token: Token,
    },
}

impl Writer {
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Whether the store's answer to this token is the one being waited for: the one place that refuses late answers.
    pub(crate) fn awaits(&self, answered: Token) -> bool {
        match self {
            Self::Idle | Self::Open { .. } => false,
            Self::Executing { token, .. }
            | Self::Committing { token, .. }
            | Self::RollingBack { token, .. }
            | Self::Persisting { token, .. }
            | Self::Installing { token }
            | Self::Repairing { token }
            | Self::Remembering { token, .. } => *token == answered,
        }
    }

    /// When the store will have been busy with one thing for `limit`.
    pub(crate) fn stuck_at(&self, limit: Duration) -> Option<Time> {
        match self {
            Self::Idle | Self::Open { .. } | Self::Installing { .. } | Self::Repairing { .. } => None,
            Self::Executing { since, .. }
            | Self::Committing { since, .. }
            | Self::RollingBack { since, .. }
            | Self::Persisting { since, .. }
            | Self::Remembering { since, .. } => Some(*since + limit),
        }
    }

    /// How long the store has been busy with one thing that should take milliseconds.
    pub(crate) fn busy_for(&self, now: Time) -> Duration {
        match self {
            Self::Idle | Self::Open { .. } | Self::Installing { .. } | Self::Repairing { .. } => {
                Duration::ZERO
            }
            Self::Executing { since, .. }
            | Self::Committing { since, .. }
            | Self::RollingBack { since, .. }
            | Self::Persisting { since, .. }
            | Self::Remembering { since, .. } => now - *since,
        }
    }
}
