//! Live delivery: a listener gets a message the moment it is committed.
//!
//! Every open stream of a session is known here, so that it can be ended when the session, the account or the primacy
//! ends. A listener has a short queue. One that is too slow for it loses the queue, not the messages: it reads from the
//! store until it has caught up, and holds up nothing.

mod outstanding;
mod queue;

pub(crate) use outstanding::OUTSTANDING_MAX;
pub(crate) use queue::{Delivered, NextUp, Queue, Receipt, ReceiptKind};

use chat::{AccountId, Fact, MessageId, Record, SessionId};
use outstanding::Outstanding;
use protocol::Entry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::sync::watch;

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
    /// What its account has sent, by recipient, and is not known to have arrived: what receipts are for.
    outstanding: HashMap<AccountId, Outstanding>,
}

/// An account has as many streams open as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this account has {0} streams open already; close some, or wait until some have ended")]
pub(crate) struct TooManyStreams(usize);

/// Every open stream of this replica.
#[derive(Debug)]
pub(crate) struct Delivery {
    streams_per_account: usize,
    streams: Mutex<Streams>,
    next: AtomicU64,
    messages: AtomicU64,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u64, Open>,
    by_account: HashMap<AccountId, Vec<u64>>,
    /// The streams of those who wrote to an account.
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
    pub(crate) fn new(streams_per_account: usize) -> Self {
        Self {
            streams_per_account,
            streams: Mutex::default(),
            next: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        }
    }

    /// Puts a stream on the books.
    pub(crate) fn register(
        self: &Arc<Self>,
        account: AccountId,
        session: SessionId,
        wants: Wants,
    ) -> Result<Registered, TooManyStreams> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = watch::channel(None);
        let queue = Arc::new(Queue::default());
        let mut streams = self.lock();
        if streams.by_account.get(&account).is_some_and(|open| open.len() >= self.streams_per_account) {
            return Err(TooManyStreams(self.streams_per_account));
        }
        let open = Open { account, session, end, queue: queue.clone(), wants, outstanding: HashMap::new() };
        streams.open.insert(number, open);
        streams.by_account.entry(account).or_default().push(number);
        Ok(Registered { delivery: self.clone(), number, end: ended, queue })
    }

    /// A batch was committed and acknowledged: its messages go out, and streams whose session it ended end.
    pub(crate) fn committed(&self, entries: &[Entry<Record>]) {
        let mut streams = self.lock();
        for entry in entries {
            match entry.record.fact() {
                Fact::MessageSent { from, to, .. } => {
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    let message = Delivered::Message {
                        id: MessageId(entry.op.0),
                        record: Arc::new(entry.record.clone()),
                    };
                    streams.deliver(*to, &message, |wants| wants.messages);
                    if from != to {
                        streams.deliver(*from, &message, |wants| wants.own);
                    }
                    streams.expect_receipt(*from, *to, MessageId(entry.op.0));
                }
                Fact::MessagesAcknowledged { account, up_to } => {
                    streams.acknowledged(*account, *up_to);
                }
                Fact::ConversationRead { account, with, up_to, shown, shown_up_to } => {
                    let receipt = |with, up_to, kind| Delivered::Receipt(Receipt { with, up_to, kind });
                    let read = receipt(*with, *up_to, ReceiptKind::Read);
                    streams.deliver(*account, &read, |wants| wants.receipts);
                    if let (true, Some(seen)) = (*shown, *shown_up_to) {
                        let seen = receipt(*account, seen, ReceiptKind::Seen);
                        streams.deliver(*with, &seen, |wants| wants.receipts);
                    }
                }
                Fact::SessionOpened { account, closes, .. } => streams
                    .of(*account)
                    .filter(|stream| closes.contains(&stream.session))
                    .for_each(Open::end_session),
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
                Fact::HistoryBegan { ends_sessions: true, .. } => {
                    streams.open.values().for_each(Open::end_session);
                }
                Fact::HistoryBegan { ends_sessions: false, .. }
                | Fact::RequestsForgotten { .. }
                | Fact::AccountCreated { .. }
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

    /// From now on the sender's streams hear when that message has arrived.
    fn expect_receipt(&mut self, sender: AccountId, recipient: AccountId, id: MessageId) {
        for number in self.by_account.get(&sender).into_iter().flatten() {
            let Some(stream) = self.open.get_mut(number).filter(|stream| stream.wants.receipts) else {
                continue;
            };
            expect(&mut stream.outstanding, &mut self.watchers, *number, recipient, [id]);
        }
    }

    /// A recipient has everything up to a message: each sender learns how far its own messages got by that, if any did.
    fn acknowledged(&mut self, recipient: AccountId, up_to: MessageId) {
        for watcher in self.watchers.get(&recipient).into_iter().flatten() {
            let Some(stream) = self.open.get_mut(watcher) else { continue };
            let arrived = stream.outstanding.get_mut(&recipient).and_then(|sent| sent.acknowledged(up_to));
            if let Some(up_to) = arrived {
                let receipt = Receipt { with: recipient, up_to, kind: ReceiptKind::Delivered };
                stream.queue.push(&Delivered::Receipt(receipt));
            }
        }
    }
}

impl Registered {
    /// Hears when these messages arrive too, which were sent before: by recipient, oldest first.
    pub(crate) fn expect_receipts(&self, sent: Vec<(AccountId, Vec<MessageId>)>) {
        let mut streams = self.delivery.lock();
        let Streams { open, watchers, .. } = &mut *streams;
        let Some(stream) = open.get_mut(&self.number) else { return };
        for (recipient, ids) in sent {
            // What was sent since this stream is open comes after what was sent before.
            let since = stream.outstanding.get_mut(&recipient).map(std::mem::take).unwrap_or_default();
            expect(&mut stream.outstanding, watchers, self.number, recipient, ids);
            expect(&mut stream.outstanding, watchers, self.number, recipient, since.ids());
        }
    }
}

/// Remembers messages of one stream's account to a recipient, and the stream as one that waits for that recipient.
fn expect(
    outstanding: &mut HashMap<AccountId, Outstanding>,
    watchers: &mut HashMap<AccountId, Vec<u64>>,
    stream: u64,
    recipient: AccountId,
    ids: impl IntoIterator<Item = MessageId>,
) {
    let sent = outstanding.entry(recipient).or_insert_with(|| {
        watchers.entry(recipient).or_default().push(stream);
        Outstanding::default()
    });
    for id in ids {
        sent.sent(id);
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
        for recipient in stream.outstanding.into_keys() {
            forget(&mut streams.watchers, recipient, self.number);
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
    use super::queue::QUEUE_MAX;
    use super::*;
    use chat::Millis;
    use protocol::Position;

    const LISTENS: Wants = Wants { messages: true, own: false, receipts: false };
    const ALL: Wants = Wants { messages: true, own: true, receipts: true };

    fn message(from: u64, to: u64) -> Entry<Record> {
        numbered(1, from, to)
    }

    fn numbered(id: u64, from: u64, to: u64) -> Entry<Record> {
        let fact = Fact::MessageSent {
            from: AccountId(from),
            from_name: String::new(),
            to: AccountId(to),
            to_name: String::new(),
            text: "x".into(),
        };
        Entry { op: protocol::Op(id), ..Position::ORIGIN.follow(Record::new(Millis(1), None, fact)) }
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_sent_to_the_store_and_holds_up_nobody() {
        let delivery = Arc::new(Delivery::new(128));
        let slow = delivery.register(AccountId(1), SessionId(1), LISTENS).unwrap();
        let quick = delivery.register(AccountId(1), SessionId(2), LISTENS).unwrap();
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
        let delivery = Arc::new(Delivery::new(128));
        let one = delivery.register(AccountId(1), SessionId(1), LISTENS).unwrap();
        let other = delivery.register(AccountId(1), SessionId(2), Wants::default()).unwrap();
        let stranger = delivery.register(AccountId(9), SessionId(3), LISTENS).unwrap();
        delivery.committed(&[record(Fact::SessionClosed { session: SessionId(1) })]);
        assert_eq!((*one.end.borrow(), *other.end.borrow()), (Some(End::SessionOver), None));
        delivery.committed(&[record(Fact::AccountDeleted { account: AccountId(1) })]);
        assert_eq!((*other.end.borrow(), *stranger.end.borrow()), (Some(End::SessionOver), None));
        delivery.end_all();
        assert_eq!(*stranger.end.borrow(), Some(End::NotPrimary));
        let old = delivery.register(AccountId(2), SessionId(4), LISTENS).unwrap();
        let kept = delivery.register(AccountId(2), SessionId(5), LISTENS).unwrap();
        let token = chat::TokenHash([0; 32]);
        let opened =
            |account, closes| record(Fact::SessionOpened { account, token, expires_at: Millis(9), closes });
        delivery.committed(&[opened(AccountId(2), vec![SessionId(3), SessionId(4)])]);
        assert_eq!((*old.end.borrow(), *kept.end.borrow()), (Some(End::SessionOver), None));
        let history = chat::HistoryId(uuid::Uuid::new_v4());
        delivery.committed(&[record(Fact::HistoryBegan { history, forgotten: None, ends_sessions: false })]);
        assert_eq!(*kept.end.borrow(), None);
        delivery.committed(&[record(Fact::HistoryBegan { history, forgotten: None, ends_sessions: true })]);
        assert_eq!(*kept.end.borrow(), Some(End::SessionOver));
        drop((one, other, stranger, old, kept));
        assert!(delivery.lock().open.is_empty() && delivery.lock().by_account.is_empty());
    }

    fn record(fact: Fact) -> Entry<Record> {
        Position::ORIGIN.follow(Record::new(Millis(1), None, fact))
    }

    #[tokio::test]
    async fn receipts_go_to_those_who_wrote_and_to_other_devices_of_who_read() {
        let delivery = Arc::new(Delivery::new(128));
        let [alice, bob] = [AccountId(1), AccountId(2)];
        let before = delivery.register(alice, SessionId(1), ALL).unwrap();
        let earlier = delivery.register(alice, SessionId(2), ALL).unwrap();
        let other_device = delivery.register(bob, SessionId(3), ALL).unwrap();
        let stranger = delivery.register(AccountId(9), SessionId(4), ALL).unwrap();
        for stream in [&before, &earlier, &other_device, &stranger] {
            assert!(matches!(stream.queue.next().await, NextUp::ReadFromStore));
        }
        earlier.expect_receipts(vec![(bob, vec![MessageId(5), MessageId(6)])]);
        let has = |up_to| record(Fact::MessagesAcknowledged { account: bob, up_to: MessageId(up_to) });
        let receipt = |with, up_to, kind| {
            NextUp::Deliver(Delivered::Receipt(Receipt { with, up_to: MessageId(up_to), kind }))
        };
        delivery.committed(&[has(5)]);
        assert_eq!(
            earlier.queue.next().await,
            receipt(bob, 5, ReceiptKind::Delivered),
            "it had written before"
        );
        delivery.committed(&[numbered(7, 1, 2), has(7)]);
        assert!(matches!(before.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        assert_eq!(before.queue.next().await, receipt(bob, 7, ReceiptKind::Delivered), "it has written now");
        assert!(matches!(other_device.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        for shown in [true, false] {
            let shown_up_to = shown.then_some(MessageId(7));
            let up_to = MessageId(8);
            let read = Fact::ConversationRead { account: bob, with: alice, up_to, shown, shown_up_to };
            delivery.committed(&[record(read)]);
            assert_eq!(other_device.queue.next().await, receipt(alice, 8, ReceiptKind::Read));
        }
        assert_eq!(before.queue.next().await, receipt(bob, 7, ReceiptKind::Seen), "shown once, hidden once");
        delivery.committed(&[message(1, 1)]);
        assert!(matches!(before.queue.next().await, NextUp::Deliver(Delivered::Message { .. })));
        assert!(stranger.queue.drain().is_empty());
        drop((before, earlier, other_device, stranger));
        assert!(delivery.lock().watchers.is_empty());
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_for_receipts_is_told_so() {
        let delivery = Arc::new(Delivery::new(128));
        let slow = delivery.register(AccountId(1), SessionId(1), ALL).unwrap();
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore));
        let has =
            |up_to| record(Fact::MessagesAcknowledged { account: AccountId(2), up_to: MessageId(up_to) });
        for id in 0..=QUEUE_MAX as u64 {
            slow.expect_receipts(vec![(AccountId(2), vec![MessageId(id)])]);
            delivery.committed(&[has(id)]);
        }
        assert!(matches!(slow.queue.next().await, NextUp::ReadFromStore));
        assert!(matches!(slow.queue.next().await, NextUp::SayThatReceiptsWereMissed));
        slow.expect_receipts(vec![(AccountId(2), vec![MessageId(1000)])]);
        delivery.committed(&[has(1000)]);
        assert!(matches!(slow.queue.next().await, NextUp::Deliver(Delivered::Receipt(_))));
    }

    #[tokio::test]
    async fn a_sender_hears_of_its_own_messages_alone() {
        let delivery = Arc::new(Delivery::new(128));
        let alice = delivery.register(AccountId(1), SessionId(1), Wants { own: false, ..ALL }).unwrap();
        assert!(matches!(alice.queue.next().await, NextUp::ReadFromStore));
        alice.expect_receipts(vec![(AccountId(2), vec![MessageId(10)])]);
        // Alice wrote 10 and 14 to bob; carol 11, 12, 13 and 15.
        delivery.committed(&[numbered(14, 1, 2)]);
        let mut heard = Vec::new();
        for up_to in 9..=16 {
            let has = Fact::MessagesAcknowledged { account: AccountId(2), up_to: MessageId(up_to) };
            delivery.committed(&[record(has)]);
            for one in alice.queue.drain() {
                if let Delivered::Receipt(receipt) = one {
                    heard.push((up_to, receipt.up_to.0));
                }
            }
        }
        assert_eq!(heard, [(10, 10), (14, 14)]);
    }

    #[test]
    fn an_account_has_its_share_of_streams() {
        let delivery = Arc::new(Delivery::new(2));
        let open = |session| delivery.register(AccountId(1), SessionId(session), LISTENS);
        let [one, _other] = [open(1).unwrap(), open(2).unwrap()];
        assert_eq!(open(3).map(drop).unwrap_err(), TooManyStreams(2));
        drop(one);
        assert!(open(3).is_ok());
        assert!(delivery.register(AccountId(2), SessionId(4), LISTENS).is_ok());
    }
}
