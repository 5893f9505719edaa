//! Bounds: how much may be under way at once, so that everything a replica keeps in memory is limited.

use core::time::Duration;

/// How much may be under way at once. Replicas may run with different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Batches that were executed and are not committed, at most.
    pub batches_in_flight: usize,
    /// Bytes of records in them, at most; one batch may exceed it.
    pub bytes_in_flight: usize,
    /// Batches that a primary keeps for newcomers, those in flight included.
    pub batches_kept: usize,
    /// Bytes of records in those that it keeps, at most, unless all of them are in flight.
    pub bytes_kept: usize,
    /// Committed entries that the tables may lack before a primary executes no more, and a secondary confirms no more: a replica
    /// that takes over must apply them before it serves.
    pub apply_lag: u64,
    /// What is committed waits no longer than this for more, to be applied together, and not at all if a read or a batch waits for it:
    /// a page of the tables that many entries change is then written once.
    pub apply_within: Duration,
}

impl Bounds {
    /// Those of a server.
    pub const DEFAULT: Self = Self {
        batches_in_flight: 8,
        bytes_in_flight: 8 << 20,
        batches_kept: 64,
        bytes_kept: 16 << 20,
        apply_lag: 8192,
        apply_within: Duration::from_millis(40),
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}
