//! This machine's clock, and ids that carry a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::{NoContext, Timestamp, Uuid};

/// This machine's wall clock, in milliseconds since 1970.
pub(crate) fn own_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A `UUIDv7` of that date, in milliseconds since 1970.
pub(crate) fn dated(millis: i64) -> Uuid {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
}
