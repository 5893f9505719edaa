//! How the service is doing, for people: one sentence a state, the same in errors, in `status`, on the screen and on the
//! page. Each says what works, what does not, and what to do.

use std::fmt;

/// A state of the service, as a person who uses it meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// No replica was asked yet.
    Connecting,
    /// Everything works.
    Serving {
        /// How many replicas hold each message.
        replicas: usize,
    },
    /// Messages are taken, with fewer copies than there should be.
    FewerCopies {
        /// How many replicas are in sync.
        in_sync: usize,
        /// How many there are.
        replicas: usize,
        /// How many the primary can't reach.
        unreachable: usize,
    },
    /// Fewer replicas are in sync than the operator demands for a write.
    ReadOnly {
        /// How many are.
        in_sync: usize,
        /// How many must be (`min_in_sync`).
        wanted: usize,
        /// How many the primary can't reach.
        unreachable: usize,
    },
    /// The disk of the replica that serves is nearly full, and so are those of the others in sync.
    DiskFull,
    /// The replica in use was lost, and another is being looked for.
    Reconnecting,
    /// No replica has served for a while.
    NobodyServes,
    /// What was said may be lost: the history is another than the one that was being read.
    HistoryReplaced,
}

/// What the primary says of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    /// How many are in sync.
    pub in_sync: usize,
    /// How many there are.
    pub replicas: usize,
    /// How many must be in sync for a write (`min_in_sync`).
    pub min_in_sync: usize,
    /// How many of the others the primary has no stream with: those that are down, or cut off.
    pub unreachable: usize,
    /// Writes are refused because its disk is nearly full.
    pub disk_full: bool,
}

impl ServiceState {
    /// The state of a service of which one replica serves.
    pub const fn of(replication: Replication) -> Self {
        let Replication { in_sync, replicas, min_in_sync, unreachable, disk_full } = replication;
        if disk_full {
            Self::DiskFull
        } else if in_sync < min_in_sync {
            Self::ReadOnly { in_sync, wanted: min_in_sync, unreachable }
        } else if in_sync < replicas {
            Self::FewerCopies { in_sync, replicas, unreachable }
        } else {
            Self::Serving { replicas }
        }
    }
}

/// What to do about replicas that are not in sync.
const fn remedy(unreachable: usize) -> &'static str {
    if unreachable > 0 {
        "start what is down, it catches up by itself"
    } else {
        "what is not in sync is being brought level, or says in `trialogue status` what it lacks"
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
            Self::FewerCopies { in_sync: 1, replicas, unreachable } => write!(
                f,
                "works on one replica alone: each new message has 1 of {replicas} copies, and is lost with that disk; {}",
                remedy(*unreachable)
            ),
            Self::FewerCopies { in_sync, replicas, unreachable } => write!(
                f,
                "everything works, with {in_sync} of {replicas} copies of each message; {}",
                remedy(*unreachable)
            ),
            Self::ReadOnly { in_sync, wanted, unreachable } => write!(
                f,
                "reading works, writing does not: {in_sync} of the {wanted} replicas that must hold each message are in sync; {}",
                remedy(*unreachable)
            ),
            Self::DiskFull => f.write_str(
                "reading works, writing does not: the disk is nearly full; make room on it (`trialogue status` says where)",
            ),
            Self::Reconnecting => f.write_str("reconnecting… what you type is kept and sent"),
            Self::NobodyServes => {
                f.write_str("nobody serves: nothing can be read or sent; start the replicas that are down (`trialogue status` says which, and what the others wait for)")
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
    fn a_sentence_says_what_works_and_what_is_to_be_done_and_nothing_that_is_not_so() {
        let cases = [
            ((3, 3, 1, 0), "everything works, with 3 copies of each message"),
            ((1, 1, 1, 0), "everything works, on one replica"),
            (
                (2, 3, 2, 1),
                "everything works, with 2 of 3 copies of each message; start what is down, it catches up by itself",
            ),
            (
                (2, 3, 2, 0),
                "everything works, with 2 of 3 copies of each message; what is not in sync is being brought level, or says in `trialogue status` what it lacks",
            ),
            (
                (1, 3, 1, 2),
                "works on one replica alone: each new message has 1 of 3 copies, and is lost with that disk; start what is down, it catches up by itself",
            ),
            (
                (1, 3, 2, 2),
                "reading works, writing does not: 1 of the 2 replicas that must hold each message are in sync; start what is down, it catches up by itself",
            ),
        ];
        for ((in_sync, replicas, min_in_sync, unreachable), sentence) in cases {
            let replication = Replication { in_sync, replicas, min_in_sync, unreachable, disk_full: false };
            assert_eq!(ServiceState::of(replication).to_string(), sentence);
            let full = ServiceState::of(Replication { disk_full: true, ..replication });
            assert_eq!(full, ServiceState::DiskFull);
        }
        assert!(ServiceState::DiskFull.to_string().starts_with("reading works, writing does not: the disk"));
    }
}
