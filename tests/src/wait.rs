//! Waiting for conditions, with deadlines that suit slow machines.

use std::time::{Duration, Instant};

/// How long anything may take that should take moments.
pub const GENEROUS: Duration = Duration::from_mins(1);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not come about in time.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + GENEROUS;
    while !condition().await {
        assert!(Instant::now() < deadline, "it did not come about in {GENEROUS:?} that {what}");
        // Between two looks, not instead of one: the condition decides when the wait ends.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
