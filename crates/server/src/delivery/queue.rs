//! What waits for one listener, bounded in events and in bytes. One that is too slow for it loses the queue, not the messages:
//! it reads from the store until it has caught up.

use chat::{AccountId, ConversationId, Fact, MessageId, Record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Events that wait for one listener, and their bytes. One more of either, and it reads from the store.
pub(super) const QUEUE_MAX: usize = 256;
const QUEUE_BYTES_MAX: usize = 16 * 1024;
/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// A message as the log has it.
    Message { id: MessageId, record: Arc<Record> },
    /// One side of a conversation has received, or has seen, what was sent in it.
    Receipt(Receipt),
}

/// How a conversation stands now, seen from one of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) conversation: ConversationId,
    /// The other side of it.
    pub(crate) with: AccountId,
    pub(crate) up_to: MessageId,
    pub(crate) kind: ReceiptKind,
}

impl Receipt {
    /// How far it is of that kind; 0 if it is of another.
    pub(crate) fn up_to_as(&self, kind: ReceiptKind) -> u64 {
        if self.kind == kind { self.up_to.0 } else { 0 }
    }
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

/// What waits for one listener.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Delivered {
    /// How many bytes it holds on to, nearly.
    fn size(&self) -> usize {
        let text = match self {
            Self::Message { record, .. } => match record.fact() {
                Fact::MessageSent { text, .. } => text.len(),
                _ => 0,
            },
            Self::Receipt(_) => 0,
        };
        size_of::<Self>() + text
    }
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Delivered>,
    bytes: usize,
    /// Messages were passed over: the store has them.
    behind: bool,
    /// Receipts were passed over: the client asks how things stand.
    missed: bool,
}

impl Default for Inner {
    /// A listener begins behind: it reads from the store first.
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, behind: true, missed: false }
    }
}

/// What a listener does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Deliver(Delivered),
    ReadFromStore,
    ReceiptsMissed,
}

impl Queue {
    pub(super) fn push(&self, delivered: &Delivered) {
        let mut inner = self.lock();
        let is_receipt = matches!(delivered, Delivered::Receipt(_));
        if inner.behind {
            inner.missed |= is_receipt;
            return;
        }
        let size = delivered.size();
        let too_many = inner.waiting.len() >= QUEUE_MAX
            || (!inner.waiting.is_empty() && inner.bytes + size > QUEUE_BYTES_MAX);
        if too_many {
            inner.missed |=
                is_receipt || inner.waiting.iter().any(|waiting| matches!(waiting, Delivered::Receipt(_)));
            inner.waiting = VecDeque::new();
            inner.bytes = 0;
            inner.behind = true;
        } else {
            inner.waiting.push_back(delivered.clone());
            inner.bytes += size;
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for the next message, or for word that the store must be read. After that word the queue fills again, so
    /// that what is committed while the store is read is not missed.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if inner.behind {
                    inner.behind = false;
                    return Next::ReadFromStore;
                }
                if std::mem::take(&mut inner.missed) {
                    return Next::ReceiptsMissed;
                }
                if let Some(delivered) = inner.waiting.pop_front() {
                    inner.bytes -= delivered.size();
                    return Next::Deliver(delivered);
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Queue {
    /// What waits, which is then gone.
    pub(super) fn drain(&self) -> Vec<Delivered> {
        let mut inner = self.lock();
        inner.bytes = 0;
        inner.waiting.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::Millis;

    #[tokio::test]
    async fn what_waits_for_a_listener_that_reads_nothing_is_bounded_in_bytes() {
        let queue = Queue::default();
        assert!(matches!(queue.next().await, Next::ReadFromStore), "it begins with the store");
        let fact = Fact::MessageSent {
            conversation: ConversationId::direct(AccountId(1), AccountId(2)),
            from: AccountId(2),
            from_name: String::new(),
            to_name: String::new(),
            text: "x".repeat(10_000),
        };
        let message =
            Delivered::Message { id: MessageId(1), record: Arc::new(Record::new(Millis(1), None, fact)) };
        for _ in 0..3 {
            queue.push(&message);
            assert!(queue.lock().bytes <= QUEUE_BYTES_MAX);
        }
        assert!(matches!(queue.next().await, Next::ReadFromStore), "all of them are in the store");
    }
}
