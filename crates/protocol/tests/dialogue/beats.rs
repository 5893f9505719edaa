//! Beats are many and all alike: those of a while make one line.

use super::history::Word;
use super::print;
use protocol::{Effect, Message, Op, Position, ReplicaIndex, ReplicaSet, Time, ViewNumber};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Beats of one view to the same peers, at several moments, with nothing else in between.
#[derive(Default)]
pub(crate) struct Beats {
    /// The view, and what each peer is told to be committed.
    alike: Option<(ViewNumber, BTreeMap<ReplicaIndex, Position>)>,
    moments: Vec<Time>,
}

impl Beats {
    /// Takes what was done at one moment, if it was only beats, and such as were sent before.
    pub(crate) fn take(&mut self, effects: &[Effect<Word>], now: Time) -> bool {
        let mut told = BTreeMap::new();
        let mut of = None;
        for effect in effects {
            let Effect::Send { peer, message: Message::Beat { view, sent_at, committed }, .. } = effect
            else {
                return false;
            };
            let again = told.insert(*peer, *committed).is_some();
            if *sent_at != now || again || of.is_some_and(|number| number != view.number) {
                return false;
            }
            of = Some(view.number);
        }
        let beats = of.map(|number| (number, told));
        if beats.is_none() || self.alike.is_some() && self.alike != beats {
            return false;
        }
        self.alike = beats;
        self.moments.push(now);
        true
    }

    /// Writes them down, and begins anew.
    pub(crate) fn tell(&mut self, told: &mut String) {
        let Some((number, peers)) = self.alike.take() else { return };
        let moments: Vec<String> = self.moments.drain(..).map(print::time).collect();
        let moments = moments.join(", ").replace(" ms,", ",");
        let mut groups: BTreeMap<Op, (Position, ReplicaSet)> = BTreeMap::new();
        for (peer, committed) in peers {
            let group = groups.entry(committed.op).or_insert((committed, ReplicaSet::EMPTY));
            group.1 = group.1.with(peer);
        }
        let groups: Vec<String> = groups
            .into_values()
            .rev()
            .map(|(committed, peers)| format!("{peers}{}", print::committed_at(committed)))
            .collect();
        let _ = writeln!(told, "  beats of {number} to {} at {moments}", groups.join(" and "));
    }
}
