//! The ledger: what was sent, acknowledged, shown by reads and heard, by the word of the service's clients.

use crate::count::{Content, Count};
use chat::Reason;
use client::{ClientError, MessageId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Settled messages that a forgetful ledger keeps at least, before it forgets any.
const KEPT_MIN: usize = 1000;

#[derive(Clone, Debug)]
struct Message {
    content: Content,
    acknowledged_at: Option<Instant>,
    /// A read has shown it: it must be heard in the end, acknowledged or not.
    shown: bool,
    /// Which listeners have heard it, a bit each.
    heard_by: u64,
}

/// A listener of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct ListenerId(usize);

impl ListenerId {
    const fn bit(self) -> u64 {
        1 << self.0
    }
}

#[derive(Debug)]
struct ListenerState {
    to: usize,
    /// The highest id that it has heard.
    last: MessageId,
}

#[derive(Debug, Default)]
struct Inner {
    messages: BTreeMap<MessageId, Message>,
    listeners: Vec<ListenerState>,
    /// Sent, and never answered: each may have taken effect once.
    unknown: HashMap<Content, u64>,
    /// The last message of each sender that was acknowledged.
    last_of: HashMap<usize, MessageId>,
    /// What needs no list: all but what is lost, a ghost, or heard without an acknowledgement.
    count: Count,
    last_acknowledged_at: Option<Instant>,
    longest_gap: Duration,
    killed_at: Option<Instant>,
    gaps_after_kills: Vec<Duration>,
    /// Until when a wrong clock may be the reason for a refusal.
    clocks_wrong_until: Option<Instant>,
    complaints: Vec<String>,
    /// How many messages a forgetful ledger holds when it looks for settled ones.
    forgets_at: Option<usize>,
    /// Up to which id the settled messages to a recipient are forgotten.
    forgotten: HashMap<usize, MessageId>,
}

/// Shared by all who write and listen.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Inner>);

impl Ledger {
    /// One that forgets what is acknowledged and heard by all, for a conversation without an end.
    pub fn forgetful() -> Self {
        Self(Mutex::new(Inner { forgets_at: Some(2 * KEPT_MIN), ..Inner::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A listener that is to hear what is sent to this person.
    ///
    /// # Panics
    /// At the 65th listener: a message has a bit for each.
    pub fn listener(&self, to: usize) -> ListenerId {
        let mut inner = self.lock();
        assert!(inner.listeners.len() < 64, "a message has a bit for each listener");
        inner.listeners.push(ListenerState { to, last: MessageId(0) });
        ListenerId(inner.listeners.len() - 1)
    }

    /// A message was acknowledged.
    pub fn acknowledged(&self, id: MessageId, content: Content, now: Instant) {
        let mut inner = self.lock();
        if let Some(before) = inner.last_acknowledged_at.replace(now) {
            inner.longest_gap = inner.longest_gap.max(now.saturating_duration_since(before));
        }
        if let Some(killed_at) = inner.killed_at.take() {
            inner.gaps_after_kills.push(now.saturating_duration_since(killed_at));
        }
        let before = inner.last_of.insert(content.from, id);
        inner.count.disordered += u64::from(before.is_some_and(|before| id <= before));
        inner.count.acknowledged += 1;
        let message = inner.message(id, content);
        if message.acknowledged_at.replace(now).is_some() || message.content != content {
            inner.complaints.push(format!("id {} was given to two messages", id.0));
        }
        inner.forget_settled();
    }

    /// A message was sent, and whether it took effect is unknown.
    pub fn unknown(&self, content: Content) {
        *self.lock().unknown.entry(content).or_default() += 1;
    }

    /// A read has shown a message.
    pub fn shown(&self, id: MessageId, content: Content) {
        let mut inner = self.lock();
        let message = inner.message(id, content);
        message.shown = true;
        if message.content != content {
            inner.complaints.push(format!("a read has shown another message with the id {}", id.0));
        }
    }

    /// A listener has heard a message. Says whether for the first time.
    pub fn heard(&self, listener: ListenerId, id: MessageId, content: Content) -> bool {
        let mut inner = self.lock();
        let ListenerState { to, last } = inner.listeners[listener.0];
        let forgotten = inner.forgotten.get(&to).is_some_and(|forgotten| id <= *forgotten);
        if forgotten && !inner.messages.contains_key(&id) {
            inner.count.twice += 1;
            return false;
        }
        let message = inner.message(id, content);
        let (first, other) = (message.heard_by & listener.bit() == 0, message.content != content);
        message.heard_by |= listener.bit();
        inner.count.never_sent += u64::from(other);
        inner.count.heard += usize::from(first);
        inner.count.twice += u64::from(!first);
        inner.count.disordered += u64::from(first && id < last);
        inner.listeners[listener.0].last = last.max(id);
        inner.forget_settled();
        first
    }

    /// The last message that a listener has heard, from which it goes on.
    pub fn last(&self, listener: ListenerId) -> MessageId {
        self.lock().listeners[listener.0].last
    }

    /// A listener goes back behind its last `messages` messages: they are to be heard again.
    pub fn go_back(&self, listener: ListenerId, messages: usize) {
        let mut inner = self.lock();
        let mut heard =
            inner.messages.iter_mut().rev().filter(|(_, message)| message.heard_by & listener.bit() != 0);
        let mut gone_back = 0;
        for (_, message) in heard.by_ref().take(messages) {
            message.heard_by &= !listener.bit();
            gone_back += 1;
        }
        let last = heard.next().map_or(MessageId(0), |(id, _)| *id);
        inner.listeners[listener.0].last = last;
        inner.count.heard -= gone_back;
    }

    /// Ids begin anew, as the history was lost or replaced: what was known of the old ones is forgotten, but for the counts.
    pub fn begin_anew(&self) {
        let mut inner = self.lock();
        inner.messages.clear();
        inner.last_of.clear();
        inner.forgotten.clear();
        inner.listeners.iter_mut().for_each(|listener| listener.last = MessageId(0));
    }

    /// The last message that was acknowledged in the conversation of two people.
    pub fn last_between(&self, one: usize, other: usize) -> MessageId {
        let both = [(one, other), (other, one)];
        let inner = self.lock();
        let last = inner.messages.iter().rev().find(|(_, message)| {
            message.acknowledged_at.is_some() && both.contains(&(message.content.from, message.content.to))
        });
        last.map_or(MessageId(0), |(id, _)| *id)
    }

    /// The primary was killed now: the next acknowledgement ends a gap.
    pub fn primary_killed(&self) {
        self.lock().killed_at = Some(Instant::now());
    }

    /// How long it took from each kill of the primary to the next acknowledgement.
    pub fn gaps_after_kills(&self) -> Vec<Duration> {
        self.lock().gaps_after_kills.clone()
    }

    /// The longest time between two acknowledgements, since the last time that gaps were forgotten.
    pub fn longest_gap(&self) -> Duration {
        self.lock().longest_gap
    }

    /// From now on only the gaps to come count, the one that is open among them.
    pub fn forget_gaps(&self) {
        self.lock().longest_gap = Duration::ZERO;
    }

    /// What a service must not refuse was refused; unless that was for a date, while clocks are wrong or were so lately.
    pub fn refused(&self, what: &str, error: &ClientError) {
        let ClientError::Refused { message, .. } = error else { return };
        let mut inner = self.lock();
        let clocks_wrong = inner.clocks_wrong_until.is_some_and(|until| Instant::now() < until);
        if !(clocks_wrong && error.is_refused_for(&Reason::RequestIdOutOfDate)) {
            inner.complaints.push(format!("{what} was refused: {message}"));
        }
    }

    /// For this time a wrong clock may be the reason for a refusal.
    pub fn clocks_are_wrong_for(&self, span: Duration) {
        self.lock().clocks_wrong_until = Some(Instant::now() + span);
    }

    /// What must never be, in words.
    pub fn complain(&self, what: String) {
        self.lock().complaints.push(what);
    }

    /// All complaints until now.
    pub fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().complaints)
    }

    /// How many messages were acknowledged.
    pub fn total(&self) -> usize {
        self.lock().count.acknowledged
    }

    /// Compares what each listener has heard with what was acknowledged this long ago, or longer.
    pub fn count(&self, lost_after: Duration, now: Instant) -> Count {
        let inner = self.lock();
        let mut count = inner.count;
        let mut unknown = inner.unknown.clone();
        for message in inner.messages.values() {
            let missing = inner.listeners.iter().enumerate().filter(|(listener, state)| {
                state.to == message.content.to && message.heard_by & ListenerId(*listener).bit() == 0
            });
            let missing = missing.count() as u64;
            match message.acknowledged_at {
                Some(at) if now.saturating_duration_since(at) >= lost_after => count.lost += missing,
                // It took effect, and its sender was never told.
                None if message.heard_by != 0 => match unknown.get_mut(&message.content) {
                    Some(times @ 1..) => *times -= 1,
                    _ => count.never_sent += 1,
                },
                Some(_) | None => {}
            }
            count.ghosts += if message.shown { missing } else { 0 };
        }
        count
    }
}

impl Inner {
    /// What is known of a message; `content` where nothing is.
    fn message(&mut self, id: MessageId, content: Content) -> &mut Message {
        let unheard = Message { content, acknowledged_at: None, shown: false, heard_by: 0 };
        self.messages.entry(id).or_insert(unheard)
    }

    fn forget_settled(&mut self) {
        if self.forgets_at.is_none_or(|at| self.messages.len() < at) {
            return;
        }
        let Self { messages, listeners, forgotten, .. } = self;
        messages.retain(|id, message| {
            let mut listeners =
                listeners.iter().enumerate().filter(|(_, state)| state.to == message.content.to);
            let settled = message.acknowledged_at.is_some()
                && listeners.all(|(listener, _)| message.heard_by & ListenerId(listener).bit() != 0);
            if settled {
                forgotten.insert(message.content.to, *id);
            }
            !settled
        });
        self.forgets_at = Some(2 * messages.len().max(KEPT_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Content {
        Content::of(0, 1, text)
    }

    /// A ledger in which `a`, `b` and `c` are acknowledged, and what became of `maybe` is unknown.
    fn three() -> (Ledger, ListenerId) {
        let ledger = Ledger::default();
        for (id, text) in [(1, "a"), (2, "b"), (3, "c")] {
            ledger.acknowledged(MessageId(id), content(text), Instant::now());
        }
        ledger.unknown(content("maybe"));
        let listener = ledger.listener(1);
        (ledger, listener)
    }

    #[test]
    fn it_counts_what_is_lost_doubled_disordered_and_never_sent() {
        let cases: [(&[(u64, &str)], _); 6] = [
            (&[(1, "a"), (2, "b"), (3, "c"), (4, "maybe")], (0, 0, 0, 0)),
            (&[(1, "a"), (3, "c")], (1, 0, 0, 0)),
            (&[(1, "a"), (2, "b"), (2, "b"), (3, "c")], (0, 1, 0, 0)),
            (&[(1, "a"), (3, "c"), (2, "b")], (0, 0, 1, 0)),
            (&[(1, "a"), (2, "x"), (3, "c"), (4, "never written")], (0, 0, 0, 2)),
            (&[(1, "a"), (2, "b"), (3, "c"), (4, "maybe"), (5, "maybe")], (0, 0, 0, 1)),
        ];
        for (heard, expected) in cases {
            let (ledger, listener) = three();
            for (id, text) in heard {
                ledger.heard(listener, MessageId(*id), content(text));
            }
            let count = ledger.count(Duration::ZERO, Instant::now());
            assert_eq!((count.lost, count.twice, count.disordered, count.never_sent), expected, "{heard:?}");
            assert_eq!(count.is_clean(), expected == (0, 0, 0, 0));
        }
        let (ledger, _) = three();
        ledger.acknowledged(MessageId(3), content("other"), Instant::now());
        assert_eq!(
            ledger.count(Duration::ZERO, Instant::now()).disordered,
            1,
            "an id that is not after the one before it"
        );
        assert_eq!(ledger.take_complaints().len(), 1, "one id for two messages");
    }

    #[test]
    fn what_a_listener_goes_back_behind_is_to_be_heard_again() {
        let (ledger, listener) = three();
        for (id, text) in [(1, "a"), (2, "b"), (3, "c")] {
            assert!(ledger.heard(listener, MessageId(id), content(text)));
        }
        ledger.go_back(listener, 2);
        assert_eq!(ledger.last(listener), MessageId(1));
        assert_eq!(ledger.count(Duration::ZERO, Instant::now()).lost, 2);
        for (id, text) in [(2, "b"), (3, "c")] {
            assert!(ledger.heard(listener, MessageId(id), content(text)));
        }
        assert!(ledger.count(Duration::ZERO, Instant::now()).is_clean());
        ledger.go_back(listener, 99);
        assert_eq!(ledger.last(listener), MessageId(0));
    }

    #[test]
    fn what_a_read_has_shown_must_be_heard_in_the_end() {
        let ledger = Ledger::default();
        let listener = ledger.listener(1);
        let shown = content("shown");
        ledger.unknown(shown);
        ledger.shown(MessageId(4), shown);
        assert_eq!(ledger.last_between(1, 0), MessageId(0), "shown, and not acknowledged");
        assert_eq!(ledger.count(Duration::ZERO, Instant::now()).ghosts, 1);
        ledger.heard(listener, MessageId(4), shown);
        assert!(ledger.count(Duration::ZERO, Instant::now()).is_clean());
        ledger.shown(MessageId(4), content("another"));
        assert_eq!(ledger.take_complaints().len(), 1, "one id for two messages");
    }

    #[test]
    fn what_was_acknowledged_and_not_heard_in_time_is_lost_until_it_is_heard() {
        let (ledger, begun, after) = (Ledger::default(), Instant::now(), Duration::from_secs(10));
        let listener = ledger.listener(1);
        // It may be heard before its acknowledgement comes.
        ledger.heard(listener, MessageId(1), content("a"));
        for (id, text) in [(1, "a"), (2, "b"), (3, "c")] {
            ledger.acknowledged(MessageId(id), content(text), begun);
        }
        ledger.heard(listener, MessageId(3), content("c"));
        assert_eq!(ledger.count(after, begun + after / 2).lost, 0, "there is time yet");
        assert_eq!(ledger.count(after, begun + after).lost, 1);
        ledger.heard(listener, MessageId(2), content("b"));
        let count = ledger.count(after, begun + after);
        assert_eq!((count.heard, count.lost, count.disordered), (3, 0, 1), "it was late");
    }

    #[test]
    fn a_forgetful_ledger_counts_as_one_that_remembers_and_stays_small() {
        let ledger = Ledger::forgetful();
        let listener = ledger.listener(1);
        for id in 1..=10_000 {
            ledger.acknowledged(MessageId(id), content("x"), Instant::now());
            if id != 7 {
                ledger.heard(listener, MessageId(id), content("x"));
            }
        }
        let held = ledger.lock().messages.len();
        assert!(held <= 2 * KEPT_MIN, "it holds {held} messages");
        let count = ledger.count(Duration::ZERO, Instant::now());
        assert_eq!((count.acknowledged, count.heard, count.lost, count.twice), (10_000, 9_999, 1, 0));
        assert!(!ledger.heard(listener, MessageId(8), content("x")), "it is forgotten, and was heard");
        assert!(ledger.heard(listener, MessageId(7), content("x")), "it is late");
        let count = ledger.count(Duration::ZERO, Instant::now());
        assert_eq!((count.lost, count.twice, count.disordered), (0, 1, 1));
    }

    #[test]
    fn the_gap_is_the_longest_one_since_gaps_were_forgotten() {
        let (ledger, begun) = (Ledger::default(), Instant::now());
        let mut id = 0;
        let mut at = |ms| {
            id += 1;
            ledger.acknowledged(MessageId(id), content("x"), begun + Duration::from_millis(ms));
        };
        at(0);
        at(900);
        assert_eq!(ledger.longest_gap(), Duration::from_millis(900));
        ledger.forget_gaps();
        for ms in [910, 950, 990, 995] {
            at(ms);
        }
        assert_eq!(ledger.longest_gap(), Duration::from_millis(40));
    }
}
