//! How quickly the replicas' ops follow each other, to say which one they are about to come to.

use std::time::Duration;
use tokio::time::Instant;

/// Replicas apply many entries at a time: over a shorter time than this their steps would be taken for their pace.
const MEASURED_OVER: Duration = Duration::from_millis(50);

/// What was seen of the ops of all replicas.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The last op that any of them has shown.
    last: u64,
    /// When the pace was taken the last time, and at which op.
    taken: Option<(Instant, u64)>,
    /// How many ops followed the one before, and in which time.
    moved: (u64, Duration),
}

impl Pace {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A replica shows this op now.
    pub(super) fn seen(&mut self, now: Instant, op: u64) {
        self.last = self.last.max(op);
        let Some((at, from)) = self.taken else {
            self.taken = Some((now, self.last));
            return;
        };
        let time = now.duration_since(at);
        if time >= MEASURED_OVER {
            self.moved = (self.last - from, time);
            self.taken = Some((now, self.last));
        }
    }

    /// The op that they come to after this time, if they go on like this; the last that was seen if they stay there.
    pub(super) fn op_in(&self, time: Duration) -> u64 {
        let (ops, took) = self.moved;
        let ops = u128::from(ops) * time.as_micros();
        self.last + u64::try_from(ops.div_ceil(took.as_micros().max(1))).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_op_to_meet_at_is_ahead_by_what_was_written_lately() {
        let (began, mut pace) = (Instant::now(), Pace::new());
        let after = |millis| began + Duration::from_millis(millis);
        pace.seen(began, 1000);
        assert_eq!(pace.op_in(Duration::from_millis(100)), 1000, "no pace is known");
        pace.seen(after(1), 1040);
        assert_eq!(pace.op_in(Duration::from_millis(100)), 1040, "a step is no pace");
        pace.seen(after(100), 1100);
        assert_eq!(pace.op_in(Duration::from_millis(100)), 1200);
        // A replica that is behind takes nothing back.
        pace.seen(after(120), 1090);
        assert_eq!(pace.op_in(Duration::from_millis(50)), 1150);
        pace.seen(after(1100), 1100);
        assert_eq!(pace.op_in(Duration::from_secs(1)), 1100, "nothing is written any more");
    }
}
