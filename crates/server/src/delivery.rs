//! Live delivery: a listener gets a message the moment it is committed.
//!
//! Every open stream of a session is known here, so that it can be ended when the session, the account or the primacy
//! ends. A listener has a short queue. One that is too slow for it loses the queue, not the messages: it reads from the
//! store until it has caught up, and holds up nothing.

mod outstanding;
mod queue;

pub(crate) use outstanding::OUTSTANDING_MAX;
pub(crate) use queue::{Delivered, Next, Queue, Receipt, ReceiptKind};

use chat::{AccountId, ConversationId, Fact, MessageId, Record, SessionId};
use outstanding::Outstanding;
use protocol::Entry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::sync::watch;

/// What a stream is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subscription {
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
    subscription: Subscription,
    /// What its account has sent, by conversation, and is not known to have arrived: what receipts are for.
    outstanding: HashMap<ConversationId, Outstanding>,
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
    /// The streams of those who wrote in a conversation with an account, by that account.
    watchers: HashMap<AccountId, Vec<u64>>,
}

/// An open stream; dropping it ends its registration.
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

    /// Registers a stream.
    pub(crate) fn register(
        self: &Arc<Self>,
        account: AccountId,
        session: SessionId,
        subscription: Subscription,
    ) -> Result<Registered, TooManyStreams> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = watch::channel(None);
        let queue = Arc::new(Queue::default());
        let mut streams = self.lock();
        if streams.by_account.get(&account).is_some_and(|open| open.len() >= self.streams_per_account) {
            return Err(TooManyStreams(self.streams_per_account));
        }
        let open =
            Open { account, session, end, queue: queue.clone(), subscription, outstanding: HashMap::new() };
        streams.open.insert(number, open);
        streams.by_account.entry(account).or_default().push(number);
        Ok(Registered { delivery: self.clone(), number, end: ended, queue })
    }

    /// A batch was committed and acknowledged: its messages go out, and streams whose session it ended end.
    pub(crate) fn committed(&self, entries: &[Entry<Record>]) {
        let mut streams = self.lock();
        for entry in entries {
            match entry.record.fact() {
                Fact::MessageSent { conversation, from, .. } => {
                    self.messages.fetch_add(1, Ordering::Relaxed);
                    let message = Delivered::Message {
                        id: MessageId(entry.op.0),
                        record: Arc::new(entry.record.clone()),
                    };
                    streams.sent(*conversation, *from, &message);
                    streams.expect_receipt(*conversation, *from, MessageId(entry.op.0));
                }
                Fact::MessagesAcknowledged { account, up_to } => {
                    streams.acknowledged(*account, *up_to);
                }
                Fact::ConversationSeen { account, conversation, up_to, shown_up_to } => {
                    streams.seen(*conversation, *account, *up_to, *shown_up_to);
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
                Fact::HistoryBegan { .. } => streams.open.values().for_each(Open::end_session),
                Fact::RequestsForgotten { .. } | Fact::AccountCreated { .. } | Fact::SeenShown { .. } => {}
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

    fn deliver(&self, account: AccountId, what: &Delivered, wanted: impl Fn(&Subscription) -> bool) {
        self.of(account)
            .filter(|stream| wanted(&stream.subscription))
            .for_each(|stream| stream.queue.push(what));
    }

    /// A message goes to the members of its conversation: to its sender, where they asked for what it sends itself.
    fn sent(&self, conversation: ConversationId, from: AccountId, message: &Delivered) {
        let Some(to) = conversation.other_than(from) else { return };
        self.deliver(to, message, |subscription| subscription.messages);
        if from != to {
            self.deliver(from, message, |subscription| subscription.own);
        }
    }

    /// A member has seen a conversation: its other devices learn how far, and the other side as much as it is shown.
    fn seen(
        &self,
        conversation: ConversationId,
        account: AccountId,
        up_to: MessageId,
        shown_up_to: Option<MessageId>,
    ) {
        let Some(other) = conversation.other_than(account) else { return };
        let receipt = |with, up_to, kind| Delivered::Receipt(Receipt { conversation, with, up_to, kind });
        let read = receipt(other, up_to, ReceiptKind::Read);
        self.deliver(account, &read, |subscription| subscription.receipts);
        if let Some(shown) = shown_up_to {
            let seen = receipt(account, shown, ReceiptKind::Seen);
            self.deliver(other, &seen, |subscription| subscription.receipts);
        }
    }

    /// From now on the sender's streams hear when that message has arrived.
    fn expect_receipt(&mut self, conversation: ConversationId, sender: AccountId, id: MessageId) {
        for number in self.by_account.get(&sender).into_iter().flatten() {
            let Some(stream) = self.open.get_mut(number).filter(|stream| stream.subscription.receipts) else {
                continue;
            };
            expect(stream, &mut self.watchers, *number, conversation, [id]);
        }
    }

    /// An account has everything up to a message: each who wrote to it learns how far its own messages got by that, if any
    /// did.
    fn acknowledged(&mut self, account: AccountId, up_to: MessageId) {
        for watcher in self.watchers.get(&account).into_iter().flatten() {
            let Some(stream) = self.open.get_mut(watcher) else { continue };
            let conversation = ConversationId::direct(stream.account, account);
            let arrived = stream.outstanding.get_mut(&conversation).and_then(|sent| sent.acknowledged(up_to));
            if let Some(up_to) = arrived {
                let receipt = Receipt { conversation, with: account, up_to, kind: ReceiptKind::Delivered };
                stream.queue.push(&Delivered::Receipt(receipt));
            }
        }
    }
}

impl Registered {
    /// Hears when these messages arrive too, which were sent before: by conversation, oldest first.
    pub(crate) fn expect_receipts(&self, sent: Vec<(ConversationId, Vec<MessageId>)>) {
        let mut streams = self.delivery.lock();
        let Streams { open, watchers, .. } = &mut *streams;
        let Some(stream) = open.get_mut(&self.number) else { return };
        for (conversation, ids) in sent {
            // What was sent since this stream is open comes after what was sent before.
            let since = stream.outstanding.get_mut(&conversation).map(std::mem::take).unwrap_or_default();
            expect(stream, watchers, self.number, conversation, ids);
            expect(stream, watchers, self.number, conversation, since.ids());
        }
    }
}

/// Remembers messages of a stream's account in a conversation, and the stream as one that waits for the other side of it.
fn expect(
    stream: &mut Open,
    watchers: &mut HashMap<AccountId, Vec<u64>>,
    number: u64,
    conversation: ConversationId,
    ids: impl IntoIterator<Item = MessageId>,
) {
    let Some(other) = conversation.other_than(stream.account) else { return };
    let sent = stream.outstanding.entry(conversation).or_insert_with(|| {
        watchers.entry(other).or_default().push(number);
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
        let others = stream.outstanding.keys().filter_map(|id| id.other_than(stream.account));
        for other in others {
            forget(&mut streams.watchers, other, self.number);
        }
    }
}

fn forget(streams: &mut HashMap<AccountId, Vec<u64>>, account: AccountId, number: u64) {
    if let Some(numbers) = streams.get_mut(&account) {
        numbers.retain(|open| *open != number);
        if numbers.is_empty() {
            streams.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests;
