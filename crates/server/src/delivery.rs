//! Live delivery: whoever listens gets a message the moment it is committed.
//!
//! Every open stream of a session is known here, so that it can be ended when the session, the account or the primacy
//! ends. A listener has a short queue. One that is too slow for it loses the queue, not the messages: it reads from the
//! store until it has caught up, and holds up nobody.

use chat::{AccountId, Fact, MessageId, Record, SessionId};
use protocol::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Messages that wait for one listener; one more, and it reads from the store.
const QUEUE_MAX: usize = 256;

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// A message as the log has it.
    Message { id: MessageId, record: Record },
    /// Somebody has, or has seen, what was sent in a conversation.
    Receipt(Receipt),
}

/// How a conversation stands now, seen from one of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) with: AccountId,
    pub(crate) up_to: MessageId,
    pub(crate) kind: ReceiptKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptKind {
    /// The other side has everything up to there.
    Delivered,
    /// The other side has seen everything up to there.
    Seen,
    /// This side itself has.
    Read,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wants {
    /// Messages for its account.
    pub(crate) messages: bool,
    /// Also those that its account sends.
    pub(crate) own: bool,
    /// Receipts.
    pub(crate) receipts: bool,
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
    queue: Arc<Queue>,
    wants: Wants,
    /// Whose receipts it gets: everyone to whom its account has written.
    watches: HashSet<AccountId>,
}

/// What waits for one listener.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Delivered>,
    /// Messages were passed over: the store has them.
    behind: bool,
    /// Receipts were passed over: the client asks how things stand.
    missed: bool,
}

impl Default for Inner {
    /// A listener begins behind: it reads from the store first.
    fn default() -> Self {
        Self { waiting: VecDeque::new(), behind: true, missed: false }
    }
}

/// What a listener does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextUp {
    Deliver(Delivered),
    ReadFromStore,
    SayThatReceiptsWereMissed,
}

impl Queue {
    fn push(&self, one: &Delivered) {
        let mut inner = self.lock();
        let is_receipt = matches!(one, Delivered::Receipt(_));
        if inner.behind {
            inner.missed |= is_receipt;
            return;
        }
        if inner.waiting.len() >= QUEUE_MAX {
            inner.missed |=
                is_receipt || inner.waiting.iter().any(|one| matches!(one, Delivered::Receipt(_)));
            inner.waiting.clear();
            inner.behind = true;
        } else {
            inner.waiting.push_back(one.clone());
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
                if std::mem::take(&mut inner.missed) {
                    return NextUp::SayThatReceiptsWereMissed;
                }
                if let Some(one) = inner.waiting.pop_front() {
                    return NextUp::Deliver(one);
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
    messages: AtomicU64,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u64, Open>,
    by_account: HashMap<AccountId, Vec<u64>>,
    /// The streams that get an account's receipts.
    watchers: HashMap<AccountId, Vec<u64>>,
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
    /// Puts a stream on the books.
    pub(crate) fn register(
        self: &Arc<Self>,
        account: AccountId,
        session: SessionId,
        wants: Wants,
    ) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = watch::channel(None);
        let queue = Arc::new(Queue::default());
        let mut streams = self.lock();
        let open = Open { account, session, end, queue: queue.clone(), wants, watches: HashSet::new() };
        streams.open.insert(number, open);
        streams.by_account.entry(account).or_default().push(number);
        Registered { delivery: self.clone(), number, end: ended, queue }
    }

    /// A batch was committed and acknowledged: its messages go out, and streams whose session it ended end.
    pub(crate) fn committed(&self, entries: &[Entry<Record>]) {
        let mut streams = self.lock();
        for entry in entries {
            match entry.fact.fact() {
                Fact::MessageSent { from, to, .. } => {
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    let message =
                        Delivered::Message { id: MessageId(entry.op.0), record: entry.fact.clone() };
                    streams.deliver(*to, &message, |wants| wants.messages);
                    if from != to {
                        streams.deliver(*from, &message, |wants| wants.own);
                    }
                    streams.watch_recipient(*from, *to);
                }
                Fact::MessagesAcknowledged { account, up_to } => {
                    let (with, up_to) = (*account, *up_to);
                    let receipt = Delivered::Receipt(Receipt { with, up_to, kind: ReceiptKind::Delivered });
                    for watcher in streams.watchers.get(account).into_iter().flatten() {
                        if let Some(stream) = streams.open.get(watcher) {
                            stream.queue.push(&receipt);
                        }
                    }
                }
                Fact::ConversationRead { account, with, up_to, shown } => {
                    let receipt = |with, kind| Delivered::Receipt(Receipt { with, up_to: *up_to, kind });
                    streams.deliver(*account, &receipt(*with, ReceiptKind::Read), |wants| wants.receipts);
                    if *shown {
                        streams.deliver(*with, &receipt(*account, ReceiptKind::Seen), |wants| wants.receipts);
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
                | Fact::RequestsForgotten { .. }
                | Fact::AccountCreated { .. }
                | Fact::SessionOpened { .. }
                | Fact::ReadMarksSet { .. } => {}
            }
        }
    }

    /// How many messages were acknowledged here since this process began.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
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

    fn deliver(&self, account: AccountId, what: &Delivered, wanted: impl Fn(&Wants) -> bool) {
        self.of(account).filter(|stream| wanted(&stream.wants)).for_each(|stream| stream.queue.push(what));
    }

    /// From now on the sender's streams get the recipient's receipts.
    fn watch_recipient(&mut self, sender: AccountId, recipient: AccountId) {
        for number in self.by_account.get(&sender).into_iter().flatten() {
            let Some(stream) = self.open.get_mut(number) else { continue };
            if stream.wants.receipts && stream.watches.insert(recipient) {
                self.watchers.entry(recipient).or_default().push(*number);
            }
        }
    }
}

impl Registered {
    /// Gets the receipts of these accounts too.
    pub(crate) fn watch(&self, recipients: Vec<AccountId>) {
        let mut streams = self.delivery.lock();
        let Streams { open, watchers, .. } = &mut *streams;
        let Some(stream) = open.get_mut(&self.number) else { return };
        for recipient in recipients {
            if stream.watches.insert(recipient) {
                watchers.entry(recipient).or_default().push(self.number);
            }
        }
    }
}

impl Open {
    fn end_session(&self) {
        self.end.send_replace(Some(End::SessionOver));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut streams = self.delivery.lock();
        let Some(stream) = streams.open.remove(&self.number) else { return };
        forget(&mut streams.by_account, stream.account, self.number);
        for watched in stream.watches {
            forget(&mut streams.watchers, watched, self.number);
        }
    }
}

fn forget(books: &mut HashMap<AccountId, Vec<u64>>, account: AccountId, number: u64) {
    if let Some(numbers) = books.get_mut(&account) {
        numbers.retain(|one| *one != number);
        if numbers.is_empty() {
            books.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::Millis;
    use protocol::Position;

    const LISTENS: Wants = Wants { messages: true, own: false, receipts: false };
    const ALL: Wants = Wants { messages: true, own: true, receipts: true };

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
        let slow = delivery.register(AccountId(1), SessionId(1), LISTENS);
        let quick = delivery.register(AccountId(1), SessionId(2), LISTENS);
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
        let one = delivery.register(AccountId(1), SessionId(1), LISTENS);
        let other = delivery.register(AccountId(1), SessionId(2), Wants::default());
        let stranger = delivery.register(AccountId(9), SessionId(3), LISTENS);
        delivery.committed(&[record(Fact::SessionClosed { session: SessionId(1) })]);
        assert_eq!((*one.end.borrow(), *other.end.borrow()), (Some(End::SessionOver), None));
        delivery.committed(&[record(Fact::AccountDeleted { account: AccountId(1) })]);
        assert_eq!((*other.end.borrow(), *stranger.end.borrow()), (Some(End::SessionOver), None));
        delivery.end_all();
        assert_eq!(*stranger.end.borrow(), Some(End::NotPrimary));
        drop((one, other, stranger));
        assert!(delivery.lock().open.is_empty() && delivery.lock().by_account.is_empty());
    }

    fn record(fact: Fact) -> Entry<Record> {
        Position::ORIGIN.follow(Record::new(Millis(1), None, fact))
    }

    #[tokio::test]
    async fn receipts_go_to_those_who_wrote_and_to_other_devices_of_who_read() {
        let delivery = Arc::new(Delivery::default());
        let [alice, bob] = [AccountId(1), AccountId(2)];
        let before = delivery.register(alice, SessionId(1), ALL);
        let earlier = delivery.register(alice, SessionId(2), ALL);
        let other_device = delivery.register(bob, SessionId(3), ALL);
        let stranger = delivery.register(AccountId(9), SessionId(4), ALL);
        for stream in [&before, &earlier, &other_device, &stranger] {
            assert!(matches!(stream.queue.next().await, NextUp::ReadFromStore));
        }
        earlier.watch(vec![bob]);
        let up_to = MessageId(7);
        let has = record(Fact::MessagesAcknowledged { account: bob, up_to });
        delivery.committed(std::slice::from_ref(&has));
        let receipt = |with, kind| NextUp::Deliver(Delivered::Receipt(Receipt { with, up_to, kind }));
        assert_eq!(earlier.queue.next().await, receipt(bob, ReceiptKind::Delivered), "it had written before");
        delivery.committed(&[message(1, 2), has]);
        assert!(matches!(before.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        assert_eq!(before.queue.next().await, receipt(bob, ReceiptKind::Delivered), "it has written now");
        assert!(matches!(other_device.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        for shown in [true, false] {
            let read = Fact::ConversationRead { account: bob, with: alice, up_to, shown };
            delivery.committed(&[record(read)]);
            assert_eq!(other_device.queue.next().await, receipt(alice, ReceiptKind::Read));
        }
        assert_eq!(before.queue.next().await, receipt(bob, ReceiptKind::Seen), "shown once, hidden once");
        delivery.committed(&[message(1, 1)]);
        assert!(matches!(before.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        assert!(stranger.queue.lock().waiting.is_empty());
        drop((before, earlier, other_device, stranger));
        assert!(delivery.lock().watchers.is_empty());
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_for_receipts_is_told_so() {
        let delivery = Arc::new(Delivery::default());
        let slow = delivery.register(AccountId(1), SessionId(1), ALL);
        slow.watch(vec![AccountId(2)]);
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore));
        let has = record(Fact::MessagesAcknowledged { account: AccountId(2), up_to: MessageId(7) });
        for _ in 0..=QUEUE_MAX {
            delivery.committed(std::slice::from_ref(&has));
        }
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore));
        assert!(matches!(slow.queue.next().await, NextUp::SayThatReceiptsWereMissed));
        delivery.committed(&[has]);
        assert!(matches!(slow.queue.next().await, NextUp::Deliver(Delivered::Receipt(_))));
    }
}
