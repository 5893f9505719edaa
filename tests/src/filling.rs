//! Databases that are filled without a service: what cost grows with.

use chat::Millis;
use protocol::Position;
use std::path::Path;
use store::filling::{self, Filling};
use store::{Check, LogRetention, Storage};

pub use store::filling::text_of;

/// As many as a replica keeps by default.
const LOG_ENTRIES: u64 = 100_000;

/// Adds accounts, and messages from one of them to another, to the log and the tables of a replica that has ended; the same to each
/// of them that is given the same time. Returns where the log ends.
pub fn fill(database: &Path, now: Millis, accounts: u64, messages: u64) -> Position {
    let retention = LogRetention::keep(LOG_ENTRIES);
    let limits = Storage::limits(LOG_ENTRIES, u64::MAX);
    let storage = Storage::open(database, retention.clone(), limits, Check::Whole).unwrap();
    let filling = Filling { now, accounts, sessions: Vec::new(), messages };
    filling::fill(storage, retention, filling).unwrap().end
}
