//! The doorkeeper: notices when a replica can't accept connections any more, and when it can again.
//!
//! One connection that is turned away is no more than a busy moment. A replica that turns away everyone for two seconds is
//! of no use as a primary, however well it talks to its peers, whose streams are open already.

use crate::incoming::Incoming;
use protocol::Impairment;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// For how long everyone must be turned away.
const TURNED_AWAY_FOR: Duration = Duration::from_secs(2);
/// For how long no connection must be turned away until all is well again.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// What is known of the connections that came last.
#[derive(Debug, Default)]
struct Door {
    turned_away_since: Option<Instant>,
    last_turned_away: Option<Instant>,
    shut: bool,
}

impl Door {
    /// A connection was accepted or turned away, or none came. Says whether the door is shut from now on, or open again, if
    /// that changes.
    fn saw(&mut self, accepted: Option<bool>, now: Instant) -> Option<bool> {
        match accepted {
            Some(true) => self.turned_away_since = None,
            Some(false) => {
                self.turned_away_since.get_or_insert(now);
                self.last_turned_away = Some(now);
            }
            None => {}
        }
        let past =
            |since: Option<Instant>, span| since.is_some_and(|since| now.duration_since(since) >= span);
        let shut = if self.shut {
            !past(self.last_turned_away, WELL_AFTER)
        } else {
            // One connection that failed, and none that came since then, tells nothing.
            accepted == Some(false) && past(self.turned_away_since, TURNED_AWAY_FOR)
        };
        (std::mem::replace(&mut self.shut, shut) != shut).then_some(shut)
    }
}

/// Tells the driver when the door is shut, and when it is open again.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    door: Door,
    driver: mpsc::Sender<Incoming>,
}

impl Doorkeeper {
    pub(crate) fn new(driver: mpsc::Sender<Incoming>) -> Self {
        Self { door: Door::default(), driver }
    }

    /// A connection was accepted or turned away; `None` where none came for a while.
    pub(crate) async fn saw(&mut self, accepted: Option<bool>) {
        if let Some(begins) = self.door.saw(accepted, Instant::now()) {
            let impairment = Impairment::NoConnections;
            // The driver has ended: so has this replica.
            let _ = self.driver.send(Incoming::Impairment { impairment, begins }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_shut_when_every_connection_is_turned_away_for_a_while_and_open_when_none_was_for_longer() {
        let begin = Instant::now();
        let mut door = Door::default();
        let mut saw = |seconds, accepted| door.saw(accepted, begin + Duration::from_secs(seconds));
        assert_eq!(saw(0, Some(false)), None);
        assert_eq!(saw(1, Some(true)), None, "one was let in");
        assert_eq!(saw(2, Some(false)), None);
        assert_eq!(saw(4, None), None, "no connection came");
        assert_eq!(saw(4, Some(false)), Some(true));
        assert_eq!(saw(5, Some(true)), None, "one that was let in does not make it well");
        assert_eq!(saw(14, None), Some(false));
        assert_eq!(saw(15, Some(false)), None);
        assert_eq!(saw(17, Some(false)), Some(true));
    }
}
