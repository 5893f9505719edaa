//! What the nemesis does to wall clocks: one, or those of all replicas, as on one machine, are wrong for a moment.
//!
//! A request that meets a wrong clock may be refused for its date, and is made anew; nothing else may come of it, then or later.
//! The jumps are shorter than a session lives.

use super::PATIENCE;
use super::nemesis::Nemesis;
use crate::failure::Failure;
use rand::seq::IndexedRandom;
use std::time::Duration;

const DAY: i64 = 86_400;
/// Seconds by which a clock is ahead.
const JUMPS: [i64; 10] = [-2 * DAY, -DAY - 60, -7_200, -30, -1, 1, 30, 7_200, DAY + 60, 2 * DAY];

impl Nemesis {
    /// Sets the clock of that replica wrong for a moment, or those of all.
    pub(super) async fn set_clocks_wrong(&mut self, which: Option<usize>) -> Result<(), Failure> {
        let kind = if which.is_some() { "one wrong clock" } else { "wrong clocks" };
        let Some(faulty) = self.faulty.clone() else {
            return self.narrator.say(&format!("{kind}: left alone, because there is no C compiler"));
        };
        let process = which.and_then(|index| self.supervisor.process(index));
        if which.is_some() && process.is_none() {
            return self.narrator.say(&format!("{kind}: left alone, because that replica does not run"));
        }
        let ahead = *JUMPS.choose(&mut self.random).expect("there are jumps");
        let whose = which.map_or_else(|| "all replicas".to_owned(), |index| format!("replica {index}"));
        self.narrator.say(&format!("{kind}: that of {whose} is {ahead} s ahead"))?;
        self.ledger.clocks_are_wrong_for(Duration::from_hours(1));
        faulty.set_clock(process, Some(ahead))?;
        self.pause_between(200, 5_000).await;
        faulty.set_clock(process, None)?;
        self.ledger.clocks_are_wrong_for(PATIENCE);
        Ok(())
    }
}
