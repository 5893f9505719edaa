//! How much of the log is kept for replicas that come back.
//!
//! Normally the newest `entries_max`. But a replica that is handed a snapshot needs everything after it, however fast
//! people write meanwhile: otherwise a busy service would outrun each snapshot that it sends. So a snapshot holds the log
//! for a while.

use protocol::Op;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every `TIDY_EVERY` entries, the requests that have expired are deleted.
pub(crate) const TIDY_EVERY: u64 = 1024;
/// How long the taker of a snapshot may need until it is level.
const HELD_FOR: Duration = Duration::from_mins(10);

/// The rule for recycling the log, shared by the thread that does it and the task that sends snapshots.
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

    /// The last entry that may go when the log ends at `head` and the tables are durable up to `checkpointed`: after a power
    /// failure they are brought forward from the log.
    pub fn recyclable(&self, head: Op, checkpointed: Option<Op>) -> Op {
        self.bound(head).min(checkpointed.unwrap_or_default())
    }

    /// Whether as much as is kept anyhow could go, if only the tables were known to be durable: then a checkpoint is due, however
    /// little there is to be copied.
    pub(crate) fn checkpoint_is_due(&self, head: Op, checkpointed: Option<Op>) -> bool {
        let waits = self.bound(head).0.saturating_sub(checkpointed.unwrap_or_default().0);
        waits > self.entries_max
    }

    fn bound(&self, head: Op) -> Op {
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
        assert_eq!(retention.bound(Op(5)), Op(0));
        assert_eq!(retention.bound(Op(100)), Op(90));
        retention.hold(Op(50));
        retention.hold(Op(70));
        assert_eq!(
            retention.clone().bound(Op(100)),
            Op(50),
            "the earliest of those that may be on their way"
        );
        let due = |head, checkpointed| LogRetention::keep(10).checkpoint_is_due(Op(head), checkpointed);
        assert!(!due(20, None) && due(21, None) && !due(50, Some(Op(30))) && due(51, Some(Op(30))));
        assert!(!retention.checkpoint_is_due(Op(100), Some(Op(45))), "what is held can't go");
        assert_eq!(retention.recyclable(Op(100), None), Op(0), "what is durable is not known yet");
        assert_eq!(retention.recyclable(Op(100), Some(Op(40))), Op(40));
        assert_eq!(retention.recyclable(Op(100), Some(Op(95))), Op(50));
    }
}
