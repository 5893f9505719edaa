//! How the service is doing, for people: one sentence a state, the same in errors, in `status`, on the screen and on the
//! page. Each says what works, what does not, and what to do.

use std::fmt;

/// A state of the service, as somebody who uses it meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Nobody was asked yet.
    Connecting,
    /// Everything works.
    Serving {
        /// How many replicas hold each message.
        replicas: usize,
    },
    /// Everything works, with fewer copies than there should be.
    FewerCopies {
        /// How many replicas are in sync.
        in_sync: usize,
        /// How many there are.
        replicas: usize,
    },
    /// Fewer replicas are in sync than the operator demands for a write.
    ReadOnly {
        /// How many are.
        in_sync: usize,
        /// How many must be (`min_in_sync`).
        wanted: usize,
    },
    /// The replica in use was lost, and another is being looked for.
    Reconnecting,
    /// No replica has served for a while.
    NobodyServes,
    /// What was said may be lost: the history is another than the one that was being read.
    HistoryReplaced,
}

impl ServiceState {
    /// The state of a service of which one replica serves.
    pub const fn of(in_sync: usize, replicas: usize, min_in_sync: usize) -> Self {
        if in_sync < min_in_sync {
            Self::ReadOnly { in_sync, wanted: min_in_sync }
        } else if in_sync < replicas {
            Self::FewerCopies { in_sync, replicas }
        } else {
            Self::Serving { replicas }
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting…"),
            Self::Serving { replicas: 1 } => f.write_str("everything works, on one replica"),
            Self::Serving { replicas } => {
                write!(f, "everything works, with {replicas} copies of each message")
            }
            Self::FewerCopies { in_sync: 1, replicas } => write!(
                f,
                "works on one replica alone: each new message has 1 of {replicas} copies, and is lost with that disk; start what is down, mend what is hurt"
            ),
            Self::FewerCopies { in_sync, replicas } => write!(
                f,
                "everything works, with {in_sync} of {replicas} copies of each message; start what is down, it catches up by itself"
            ),
            Self::ReadOnly { in_sync, wanted } => write!(
                f,
                "reading works, writing does not: {in_sync} of the {wanted} replicas that must hold each message are in sync; start what is down"
            ),
            Self::Reconnecting => f.write_str("reconnecting… what you type is kept and sent"),
            Self::NobodyServes => {
                f.write_str("nobody serves: nothing can be read or sent; start the replicas that are down")
            }
            Self::HistoryReplaced => f.write_str(
                "the history was lost or replaced: everything works again, but the last messages may be missing; go on without the old cursor",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_follows_from_who_is_in_sync_and_who_must_be() {
        let cases = [
            ((3, 3, 1), "everything works, with 3 copies of each message"),
            ((1, 1, 1), "everything works, on one replica"),
            (
                (2, 3, 2),
                "everything works, with 2 of 3 copies of each message; start what is down, it catches up by itself",
            ),
            (
                (1, 3, 1),
                "works on one replica alone: each new message has 1 of 3 copies, and is lost with that disk; start what is down, mend what is hurt",
            ),
            (
                (1, 3, 2),
                "reading works, writing does not: 1 of the 2 replicas that must hold each message are in sync; start what is down",
            ),
        ];
        for ((in_sync, replicas, min_in_sync), sentence) in cases {
            assert_eq!(ServiceState::of(in_sync, replicas, min_in_sync).to_string(), sentence);
        }
    }
}
