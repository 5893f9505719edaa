//! How far a peer's wall clock is from this machine's, by the messages that arrive anyway.
//!
//! A message that was long on its way makes the peer's clock look behind, never ahead. So of all that arrive in a while the
//! one that makes it look furthest ahead is nearest to the truth.

use protocol::Time;
use std::time::Duration;

/// For how long messages are looked at before their word counts.
const LOOK_FOR: Duration = Duration::from_secs(2);

/// The clock of one peer, as it is becoming known.
#[derive(Debug, Default)]
pub(crate) struct PeerClock {
    /// Since when messages are looked at, and what they say at most.
    looking: Option<(Time, i64)>,
}

impl PeerClock {
    /// A message arrived at `now`; by its date the peer's clock is that many milliseconds ahead. Gives the estimate at the
    /// end of each while.
    pub(crate) fn arrived(&mut self, now: Time, ahead: i64) -> Option<i64> {
        let (since, most) = self.looking.map_or((now, ahead), |(since, most)| (since, most.max(ahead)));
        if now - since < LOOK_FOR {
            self.looking = Some((since, most));
            return None;
        }
        self.looking = None;
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_says_nothing_of_a_clock() {
        let mut clock = PeerClock::default();
        let mut told = Vec::new();
        for tenth in 0..200 {
            let jumped = if tenth < 100 { 0 } else { 86_400_000 };
            // Every third message is late.
            let late = if tenth % 3 == 0 { -5_000 } else { -1 };
            told.extend(clock.arrived(Time::from_micros(tenth * 100_000), jumped + late));
        }
        let jumped = told.iter().position(|ahead| *ahead != -1).unwrap();
        assert!((4..6).contains(&jumped), "{told:?}");
        assert!(told[jumped..].iter().all(|ahead| *ahead == 86_399_999), "{told:?}");
    }
}
