//! Beats are many and all alike: those of a while make one line.

use super::history::Word;
use super::print;
use protocol::{Effect, Message, ReplicaSet, Time, ViewNumber};
use std::fmt::Write as _;

/// Beats of one view to the same peers, at several moments, with nothing else in between.
#[derive(Default)]
pub(crate) struct Beats {
    alike: Option<(ViewNumber, ReplicaSet)>,
    moments: Vec<Time>,
}

impl Beats {
    /// Takes what was done at one moment, if it was only beats, and such as were sent before.
    pub(crate) fn take(&mut self, effects: &[Effect<Word>], now: Time) -> bool {
        let mut peers = ReplicaSet::EMPTY;
        let mut of = None;
        for effect in effects {
            let Effect::Send { peer, message: Message::Beat { view, sent_at }, .. } = effect else {
                return false;
            };
            if *sent_at != now || peers.contains(*peer) || of.is_some_and(|number| number != view.number) {
                return false;
            }
            peers = peers.with(*peer);
            of = Some(view.number);
        }
        let Some(number) = of else { return false };
        if self.alike.is_some_and(|alike| alike != (number, peers)) {
            return false;
        }
        self.alike = Some((number, peers));
        self.moments.push(now);
        true
    }

    /// Writes them down, and begins anew.
    pub(crate) fn tell(&mut self, told: &mut String) {
        let Some((number, peers)) = self.alike.take() else { return };
        let moments: Vec<String> = self.moments.drain(..).map(print::time).collect();
        let _ =
            writeln!(told, "  beats of {number} to {peers} at {}", moments.join(", ").replace(" ms,", ","));
    }
}
