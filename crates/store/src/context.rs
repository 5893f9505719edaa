//! What a batch is decided under.

use chat::{Limits, Millis};
use protocol::{Op, Time};

/// What a batch is decided under.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The primary's wall clock: every age is judged by it.
    pub now: Millis,
    /// The primary's monotonic clock.
    pub monotonic: Time,
    /// Which primacy of this process it is. What was decided in an earlier one may never have happened.
    pub primacy: u64,
    /// The tables show everything up to here, and so does every look at them from now on.
    pub applied: Op,
    /// How many replicas will hold the batch.
    pub in_sync: usize,
    /// How many are configured.
    pub replicas: usize,
    /// Whether the disk has room for what people write.
    pub room: Room,
    /// What the operator has set.
    pub limits: Limits,
}

/// How much room is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Enough,
    /// Too little, and whether another replica has more will be known in a moment.
    Undecided,
    /// Too little.
    TooLittle,
}
