//! How much of the log is kept for replicas that come back.
//!
//! Normally the newest `entries_max`. But a replica that is handed a snapshot needs everything after it, however fast
//! people write meanwhile: otherwise a busy service would outrun each snapshot that it sends. So a snapshot holds the log
//! for a while.

use protocol::Op;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every `TIDY_EVERY` entries, expired rows are deleted: old requests, and the log behind its bound.
pub(crate) const TIDY_EVERY: u64 = 1024;
/// How long the taker of a snapshot may need until it is level.
const HELD_FOR: Duration = Duration::from_mins(10);

/// The rule for pruning the log, shared by the writer, which prunes, and the task that sends snapshots.
#[derive(Clone, Debug)]
pub struct LogRetention {
    entries_max: u64,
    /// The newest snapshot that was handed out, and until when it counts.
    held: Arc<Mutex<Option<(Op, Instant)>>>,
}

impl LogRetention {
    /// Keeps at least the newest `entries_max` entries.
    pub fn keep(entries_max: u64) -> Self {
        Self { entries_max, held: Arc::default() }
    }

    /// Keeps everything after `op` for a while, because someone has a snapshot that ends there.
    pub fn hold(&self, op: Op) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier =
            held.filter(|(_, until)| *until > Instant::now()).map_or(op, |(earlier, _)| earlier.min(op));
        *held = Some((earlier, Instant::now() + HELD_FOR));
    }

    /// The last entry that may go when the log ends at `head`.
    pub(crate) fn prune_up_to(&self, head: Op) -> Op {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = head.0.saturating_sub(self.entries_max);
        match held {
            Some((op, until)) if until > Instant::now() => Op(bound.min(op.0)),
            _ => Op(bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_the_log_behind_it() {
        let retention = LogRetention::keep(10);
        assert_eq!(retention.prune_up_to(Op(5)), Op(0));
        assert_eq!(retention.prune_up_to(Op(100)), Op(90));
        retention.hold(Op(50));
        retention.hold(Op(70));
        assert_eq!(
            retention.clone().prune_up_to(Op(100)),
            Op(50),
            "the earliest of those that may be on their way"
        );
    }
}
