//! How long a client waits before it looks for the primary again.

use rand::RngExt;
use std::time::Duration;

/// How long to wait before asking around again, growing from the first to the last.
const AGAIN_FIRST: Duration = Duration::from_millis(4);
const AGAIN_AT_MOST: Duration = Duration::from_millis(60);

/// A wait that doubles, with jitter, so that ten thousand clients do not come back in step.
#[derive(Debug)]
pub(crate) struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: AGAIN_FIRST }
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.next.mul_f64(part)).await;
        self.next = (self.next * 2).min(AGAIN_AT_MOST);
    }
}
