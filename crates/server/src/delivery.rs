//! Live delivery: whoever listens gets a message the moment it is committed.
//!
//! Every open stream of a session is known here, so that it can be ended when the session, the account or the primacy
//! ends. A listener has a short queue. One that is too slow for it loses the queue, not the messages: it reads from the
//! store until it has caught up, and holds up nobody.

use chat::{AccountId, Fact, MessageId, Record, SessionId};
use protocol::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Messages that wait for one listener; one more, and it reads from the store.
const QUEUE_MAX: usize = 256;

/// A message as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) id: MessageId,
    pub(crate) record: Record,
}

/// Why an open stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its session or account is gone.
    SessionOver,
    /// This replica does not lead any more.
    NotPrimary,
}

#[derive(Debug)]
struct Open {
    account: AccountId,
    session: SessionId,
    end: watch::Sender<Option<End>>,
    queue: Option<Arc<Queue>>,
    own: bool,
}

/// What waits for one listener.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    messages: VecDeque<Delivered>,
    /// Messages were passed over: the store has them.
    behind: bool,
}

impl Default for Inner {
    /// A listener begins behind: it reads from the store first.
    fn default() -> Self {
        Self { messages: VecDeque::new(), behind: true }
    }
}

/// What a listener does next.
#[derive(Debug)]
pub(crate) enum NextUp {
    Deliver(Delivered),
    ReadFromStore,
}

impl Queue {
    fn push(&self, message: &Delivered) {
        let mut inner = self.lock();
        if inner.behind {
            return;
        }
        if inner.messages.len() >= QUEUE_MAX {
            inner.messages.clear();
            inner.behind = true;
        } else {
            inner.messages.push_back(message.clone());
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for the next message, or for word that the store must be read. After that word the queue fills again, so
    /// that what is committed while the store is read is not missed.
    pub(crate) async fn next(&self) -> NextUp {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if inner.behind {
                    inner.behind = false;
                    return NextUp::ReadFromStore;
                }
                if let Some(message) = inner.messages.pop_front() {
                    return NextUp::Deliver(message);
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every open stream of this replica.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    streams: Mutex<Streams>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u64, Open>,
    by_account: HashMap<AccountId, Vec<u64>>,
}

/// An open stream; dropping it takes it off the books.
#[derive(Debug)]
pub(crate) struct Registered {
    delivery: Arc<Delivery>,
    number: u64,
    /// Becomes `Some` when the stream must end.
    pub(crate) end: watch::Receiver<Option<End>>,
    pub(crate) queue: Arc<Queue>,
}

impl Delivery {
    /// Puts a stream on the books. A listener (`listens`) gets messages; with `own`, also those its account sends.
    pub(crate) fn register(
        self: &Arc<Self>,
        account: AccountId,
        session: SessionId,
        listens: bool,
        own: bool,
    ) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = watch::channel(None);
        let queue = Arc::new(Queue::default());
        let mut streams = self.lock();
        let kept = listens.then(|| queue.clone());
        streams.open.insert(number, Open { account, session, end, queue: kept, own });
        streams.by_account.entry(account).or_default().push(number);
        Registered { delivery: self.clone(), number, end: ended, queue }
    }

    /// A batch was committed and acknowledged: its messages go out, and streams whose session it ended end.
    pub(crate) fn committed(&self, entries: &[Entry<Record>]) {
        let streams = self.lock();
        for entry in entries {
            match entry.fact.fact() {
                Fact::MessageSent { from, to, .. } => {
                    let message = Delivered { id: MessageId(entry.op.0), record: entry.fact.clone() };
                    for stream in streams.of(*to) {
                        stream.deliver(&message);
                    }
                    if from != to {
                        streams
                            .of(*from)
                            .filter(|stream| stream.own)
                            .for_each(|stream| stream.deliver(&message));
                    }
                }
                Fact::SessionClosed { session } => {
                    streams
                        .open
                        .values()
                        .filter(|stream| stream.session == *session)
                        .for_each(Open::end_session);
                }
                Fact::AccountDeleted { account } => streams.of(*account).for_each(Open::end_session),
                Fact::PasswordChanged { account, keep, .. } => {
                    streams.of(*account).filter(|stream| stream.session != *keep).for_each(Open::end_session);
                }
                Fact::HistoryBegan { .. }
                | Fact::AccountCreated { .. }
                | Fact::SessionOpened { .. }
                | Fact::MessagesAcknowledged { .. } => {}
            }
        }
    }

    /// This replica does not lead any more.
    pub(crate) fn end_all(&self) {
        for stream in self.lock().open.values() {
            stream.end.send_replace(Some(End::NotPrimary));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn of(&self, account: AccountId) -> impl Iterator<Item = &Open> {
        let numbers = self.by_account.get(&account).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| self.open.get(number))
    }
}

impl Open {
    fn deliver(&self, message: &Delivered) {
        if let Some(queue) = &self.queue {
            queue.push(message);
        }
    }

    fn end_session(&self) {
        self.end.send_replace(Some(End::SessionOver));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut streams = self.delivery.lock();
        if let Some(stream) = streams.open.remove(&self.number)
            && let Some(numbers) = streams.by_account.get_mut(&stream.account)
        {
            numbers.retain(|number| *number != self.number);
            if numbers.is_empty() {
                streams.by_account.remove(&stream.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::Millis;
    use protocol::Position;

    fn message(from: u64, to: u64) -> Entry<Record> {
        let fact = Fact::MessageSent {
            from: AccountId(from),
            from_name: String::new(),
            to: AccountId(to),
            to_name: String::new(),
            text: "x".into(),
        };
        Position::ORIGIN.follow(Record::new(Millis(1), None, fact))
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_sent_to_the_store_and_holds_up_nobody() {
        let delivery = Arc::new(Delivery::default());
        let slow = delivery.register(AccountId(1), SessionId(1), true, false);
        let quick = delivery.register(AccountId(1), SessionId(2), true, false);
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore), "everyone begins with the store");
        assert!(matches!(quick.queue.next().await, NextUp::ReadFromStore));
        for _ in 0..=QUEUE_MAX {
            delivery.committed(&[message(2, 1)]);
            assert!(matches!(quick.queue.next().await, NextUp::Deliver(_)));
        }
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore));
        delivery.committed(&[message(2, 1)]);
        assert!(matches!(slow.queue.next().await, NextUp::Deliver(_)));
    }

    #[test]
    fn streams_end_with_their_session_their_account_or_the_primacy_and_leave_no_trace() {
        let delivery = Arc::new(Delivery::default());
        let one = delivery.register(AccountId(1), SessionId(1), true, false);
        let other = delivery.register(AccountId(1), SessionId(2), false, false);
        let stranger = delivery.register(AccountId(9), SessionId(3), true, false);
        let record = |fact| Position::ORIGIN.follow(Record::new(Millis(1), None, fact));
        delivery.committed(&[record(Fact::SessionClosed { session: SessionId(1) })]);
        assert_eq!((*one.end.borrow(), *other.end.borrow()), (Some(End::SessionOver), None));
        delivery.committed(&[record(Fact::AccountDeleted { account: AccountId(1) })]);
        assert_eq!((*other.end.borrow(), *stranger.end.borrow()), (Some(End::SessionOver), None));
        delivery.end_all();
        assert_eq!(*stranger.end.borrow(), Some(End::NotPrimary));
        drop((one, other, stranger));
        assert!(delivery.lock().open.is_empty() && delivery.lock().by_account.is_empty());
    }
}
