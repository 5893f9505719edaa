//! The ledger of a proof: what was sent, acknowledged and heard, kept outside of the service.

use super::PATIENCE;
use api::status::REQUEST_ID_OUT_OF_DATE;
use client::ClientError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What identifies a message besides its id: who, to whom, and a hash of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    from: usize,
    to: usize,
    text: u64,
}

impl Content {
    pub(crate) fn of(from: usize, to: usize, text: &str) -> Self {
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        Self { from, to, text: hash.finish() }
    }
}

/// What one listener has heard, in the order in which it heard it.
pub(crate) type Heard = Vec<(u64, Content)>;

#[derive(Debug)]
pub(crate) struct Inner {
    acknowledged: BTreeMap<u64, Content>,
    /// What reads have shown: it must be there at the end, acknowledged or not.
    seen: BTreeMap<u64, Content>,
    /// Sent, and never answered: each may have taken effect once.
    unknown: HashMap<Content, u64>,
    last_acknowledged_at: Instant,
    longest_gap: Duration,
    killed_at: Option<Instant>,
    /// Until when a wrong clock may be the reason for a refusal.
    clocks_wrong_until: Option<Instant>,
    pub(crate) gaps_after_kills: Vec<Duration>,
    /// What must never be, in words.
    pub(crate) complaints: Vec<String>,
    disordered: u64,
}

/// Shared by everybody who writes and listens.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Inner>);

/// What it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) acknowledged: usize,
    pub(crate) heard: usize,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) disordered: u64,
    pub(crate) never_sent: u64,
    /// Shown by a read, and not there at the end.
    pub(crate) ghosts: u64,
}

impl Count {
    pub(crate) fn is_clean(&self) -> bool {
        (self.lost, self.twice, self.disordered, self.never_sent, self.ghosts) == (0, 0, 0, 0, 0)
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner {
            acknowledged: BTreeMap::new(),
            seen: BTreeMap::new(),
            unknown: HashMap::new(),
            last_acknowledged_at: Instant::now(),
            longest_gap: Duration::ZERO,
            killed_at: None,
            clocks_wrong_until: None,
            gaps_after_kills: Vec::new(),
            complaints: Vec::new(),
            disordered: 0,
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message was acknowledged. `after` is the last one that its sender sent before it.
    pub(crate) fn acknowledged(&self, id: u64, content: Content, after: u64) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.longest_gap = inner.longest_gap.max(now - inner.last_acknowledged_at);
        inner.last_acknowledged_at = now;
        if let Some(killed_at) = inner.killed_at.take() {
            inner.gaps_after_kills.push(now - killed_at);
        }
        if id <= after {
            inner.disordered += 1;
        }
        if let Some(other) = inner.acknowledged.insert(id, content)
            && other != content
        {
            inner.complaints.push(format!("id {id} was given to two messages"));
        }
    }

    /// A read has shown a message.
    pub(crate) fn seen(&self, id: u64, content: Content) {
        let mut inner = self.lock();
        if let Some(other) = inner.seen.insert(id, content)
            && other != content
        {
            inner.complaints.push(format!("two reads have shown different messages with the id {id}"));
        }
    }

    /// The last message that was acknowledged in the conversation of two people.
    pub(crate) fn last_between(&self, one: usize, other: usize) -> u64 {
        let both = [(one, other), (other, one)];
        let inner = self.lock();
        let last =
            inner.acknowledged.iter().rev().find(|(_, content)| both.contains(&(content.from, content.to)));
        last.map_or(0, |(id, _)| *id)
    }

    /// A message was sent, and what became of it is unknown.
    pub(crate) fn unknown(&self, content: Content) {
        *self.lock().unknown.entry(content).or_default() += 1;
    }

    /// The primary was killed now: the next acknowledgement ends a gap.
    pub(crate) fn primary_killed(&self) {
        self.lock().killed_at = Some(Instant::now());
    }

    /// The longest time in which nothing was acknowledged.
    pub(crate) fn longest_gap(&self) -> Duration {
        self.lock().longest_gap
    }

    /// What a service must not refuse was refused; unless that was for a date, while clocks are wrong or were so lately.
    pub(crate) fn refused(&self, what: &str, error: &ClientError) {
        let ClientError::Refused { message, .. } = error else { return };
        let mut inner = self.lock();
        let clocks_wrong = inner.clocks_wrong_until.is_some_and(|until| Instant::now() < until);
        if !(clocks_wrong && error.is_refused_for(REQUEST_ID_OUT_OF_DATE)) {
            inner.complaints.push(format!("{what} was refused: {message}"));
        }
    }

    /// Some clock is wrong from now on, or all are right again: a call that was begun with an id of the wrong time goes on
    /// for as long as clients are patient.
    pub(crate) fn clocks_are_wrong(&self, wrong: bool) {
        let until = if wrong { Duration::from_hours(1) } else { PATIENCE };
        self.lock().clocks_wrong_until = Some(Instant::now() + until);
    }

    pub(crate) fn complain(&self, what: String) {
        self.lock().complaints.push(what);
    }

    /// The last message to a recipient that was acknowledged, or shown by a read.
    pub(crate) fn last_to(&self, to: usize) -> u64 {
        let inner = self.lock();
        let last = |messages: &BTreeMap<u64, Content>| {
            messages.iter().rev().find(|(_, content)| content.to == to).map_or(0, |(id, _)| *id)
        };
        last(&inner.acknowledged).max(last(&inner.seen))
    }

    pub(crate) fn total(&self) -> usize {
        self.lock().acknowledged.len()
    }

    /// Compares what each listener heard with what was acknowledged. `listeners` says whose messages each one hears.
    pub(crate) fn count(&self, listeners: &[(usize, Heard)]) -> Count {
        let inner = self.lock();
        let mut count = Count {
            acknowledged: inner.acknowledged.len(),
            disordered: inner.disordered,
            ..Count::default()
        };
        for (to, heard) in listeners {
            count.heard += heard.len();
            let mut unknown = inner.unknown.clone();
            let mut ids = HashSet::new();
            let mut last = 0;
            for (id, content) in heard {
                if !ids.insert(*id) {
                    count.twice += 1;
                } else if *id <= last {
                    count.disordered += 1;
                }
                last = last.max(*id);
                match inner.acknowledged.get(id) {
                    Some(acknowledged) => count.never_sent += u64::from(acknowledged != content),
                    // It took effect, and its sender was never told.
                    None => match unknown.get_mut(content) {
                        Some(times @ 1..) => *times -= 1,
                        _ => count.never_sent += 1,
                    },
                }
            }
            let missing = |messages: &BTreeMap<u64, Content>| {
                let theirs = messages.iter().filter(|(_, content)| content.to == *to);
                theirs.filter(|(id, _)| !ids.contains(id)).map(|_| 1).sum::<u64>()
            };
            count.lost += missing(&inner.acknowledged);
            count.ghosts += missing(&inner.seen);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_is_lost_doubled_disordered_and_never_sent() {
        fn content(text: &str) -> Content {
            Content::of(0, 1, text)
        }
        let ledger = Ledger::new();
        for (id, text) in [(1, "a"), (2, "b"), (3, "c")] {
            ledger.acknowledged(id, content(text), id - 1);
        }
        ledger.unknown(content("maybe"));
        let heard = |what: &[(u64, &str)]| {
            vec![(1, what.iter().map(|(id, text)| (*id, content(text))).collect::<Heard>())]
        };
        let clean = ledger.count(&heard(&[(1, "a"), (2, "b"), (3, "c"), (4, "maybe")]));
        assert!(clean.is_clean(), "{clean:?}");
        let cases = [
            (heard(&[(1, "a"), (3, "c")]), (1, 0, 0, 0)),
            (heard(&[(1, "a"), (2, "b"), (2, "b"), (3, "c")]), (0, 1, 0, 0)),
            (heard(&[(1, "a"), (3, "c"), (2, "b")]), (0, 0, 1, 0)),
            (heard(&[(1, "a"), (2, "x"), (3, "c"), (4, "nobody said that")]), (0, 0, 0, 2)),
            (heard(&[(1, "a"), (2, "b"), (3, "c"), (4, "maybe"), (5, "maybe")]), (0, 0, 0, 1)),
        ];
        for (heard, expected) in cases {
            let count = ledger.count(&heard);
            assert_eq!((count.lost, count.twice, count.disordered, count.never_sent), expected, "{heard:?}");
        }
        ledger.acknowledged(3, content("other"), 9);
        assert_eq!(ledger.count(&[]).disordered, 1, "an id that is not after the one before it");
        assert_eq!(ledger.lock().complaints.len(), 1, "one id for two messages");
    }

    #[test]
    fn what_a_read_has_shown_must_be_heard_in_the_end() {
        let ledger = Ledger::new();
        let shown = Content::of(0, 1, "shown");
        ledger.unknown(shown);
        ledger.seen(4, shown);
        assert_eq!((ledger.last_to(1), ledger.last_between(1, 0)), (4, 0), "shown, and not acknowledged");
        assert!(ledger.count(&[(1, vec![(4, shown)])]).is_clean());
        assert_eq!(ledger.count(&[(1, Heard::new())]).ghosts, 1);
        ledger.seen(4, Content::of(0, 1, "another"));
        assert_eq!(ledger.lock().complaints.len(), 1, "one id for two messages");
    }
}
