//! Lease and grace: the only place where time protects anything, and what it protects is reads.
//!
//! A primary may answer a read while every in-sync secondary has answered something that the primary *sent* less than
//! `lease` ago. A secondary *received* that later than it was sent, and stays silent for `grace` after it received it.
//! So with `lease < grace` no successor can have acknowledged a write that a leased primary does not know of.
//! Clocks may run apart by a fifth: `lease × 1.2 < grace × 0.8` is asserted.

use core::time::Duration;

/// The spans that a cluster agrees on. Every replica must run with the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How often a primary sends a beat.
    pub beat_every: Duration,
    /// How long an answered beat lets the primary answer reads, from when the beat was sent.
    pub lease: Duration,
    /// How long a secondary waits without a word from the primary before it may take over.
    pub grace: Duration,
    /// How long a primary waits for a secondary to confirm before it goes on without it.
    pub confirm_limit: Duration,
    /// How long a candidate waits for a lower-indexed replica to say that it lives.
    pub probe_wait: Duration,
    /// How long a candidate waits for the others to show their positions.
    pub call_wait: Duration,
    /// How long a store may take over one effect before its replica counts as unfit to lead.
    pub store_limit: Duration,
    /// How long a fresh start leaves the primary time to appear before it is taken for lost.
    pub patience: Duration,
    /// How long writes may be held so that a newcomer can become level.
    pub hold_limit: Duration,
    /// How soon something that failed for the moment (a register, a proof, a call) is tried again.
    pub retry_every: Duration,
}

impl Timing {
    /// The spans that suit one machine or one data centre.
    pub const DEFAULT: Self = Self {
        beat_every: Duration::from_millis(100),
        lease: Duration::from_millis(600),
        grace: Duration::from_millis(1200),
        confirm_limit: Duration::from_secs(1),
        probe_wait: Duration::from_millis(200),
        call_wait: Duration::from_millis(300),
        store_limit: Duration::from_secs(3),
        patience: Duration::from_millis(500),
        hold_limit: Duration::from_millis(250),
        retry_every: Duration::from_millis(100),
    };

    /// Asserts the inequality that reads rest on.
    ///
    /// # Panics
    /// If a clock that runs a fifth fast or slow could make a lease outlive a grace.
    pub fn assert_sound(&self) {
        assert!(
            self.lease * 12 < self.grace * 8,
            "a lease of {:?} can outlive a grace of {:?} when clocks run apart by a fifth: reads could be stale",
            self.lease,
            self.grace
        );
        assert!(
            self.beat_every * 2 < self.lease,
            "beats every {:?} cannot renew a lease of {:?}",
            self.beat_every,
            self.lease
        );
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spans_are_sound() {
        Timing::DEFAULT.assert_sound();
    }

    #[test]
    #[should_panic(expected = "reads could be stale")]
    fn a_lease_as_long_as_the_grace_is_refused() {
        Timing { lease: Timing::DEFAULT.grace, ..Timing::DEFAULT }.assert_sound();
    }
}
