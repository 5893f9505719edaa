//! Batches: the requests that wait are handed to the store together, and each gets its answer once they are committed.

use super::Driver;
use crate::clock;
use crate::gateway::{BATCH_REQUESTS_MAX, Pending, Primacy, Settled, Share};
use crate::storage::Execute;
use chat::{Action, Record, Request, RequestId};
use protocol::{Event, Impairment, Token};
use std::collections::HashMap;
use store::{Context, Executed};
use tokio::sync::oneshot;
use tracing::info;

/// Requests that are being decided, or whose batch is in flight.
#[derive(Debug)]
pub(super) struct Batch {
    replies: Vec<Reply>,
    executed: Option<Executed>,
}

/// The batches of this primacy that are not answered.
#[derive(Debug, Default)]
pub(super) struct Batches {
    all: HashMap<Token, Batch>,
    /// How many requests are in them.
    requests: usize,
    changed: bool,
}

impl Batches {
    fn insert(&mut self, token: Token, replies: Vec<Reply>) {
        self.requests += replies.len();
        self.changed = true;
        self.all.insert(token, Batch { replies, executed: None });
    }

    /// The batch was decided. Returns the replies of those of its requests that it was decided without, or nothing if the batch
    /// is not one of this primacy.
    fn executed(&mut self, token: Token, executed: Executed) -> Vec<Reply> {
        let Some(batch) = self.all.get_mut(&token) else { return Vec::new() };
        let left = batch.replies.split_off(executed.outcomes.len());
        batch.executed = Some(executed);
        self.requests -= left.len();
        self.changed = true;
        left
    }

    /// The batch is answered, or failed.
    pub(super) fn remove(&mut self, token: Token) -> Option<Batch> {
        let batch = self.all.remove(&token)?;
        self.requests -= batch.replies.len();
        self.changed = true;
        Some(batch)
    }

    pub(super) fn clear(&mut self) {
        *self = Self { changed: true, ..Self::default() };
    }

    /// How many requests must wait to be worth a batch of their own beside those that are not answered, if that has changed. A
    /// batch costs much the same whatever its size: where many small ones would be in flight, fewer and larger ones take the
    /// same time and a fraction of the work. Nothing waits where nothing is in flight.
    fn worth_a_batch(&mut self) -> Option<usize> {
        std::mem::take(&mut self.changed).then(|| self.requests.clamp(1, BATCH_REQUESTS_MAX))
    }
}

/// Where the outcome of a request goes, and on how many replicas it must be before it is done.
#[derive(Debug)]
struct Reply {
    to: oneshot::Sender<Settled>,
    wanted: usize,
    share: Share,
    primacy: Primacy,
}

impl Driver {
    pub(super) fn execute(&mut self, token: Token, copies: usize) {
        let limits = self.settings.limits;
        let (requests, replies) = self
            .gateway
            .take_batch()
            .into_iter()
            .map(|Pending { share, primacy, request, reply: to }| {
                let wanted = request.copies_wanted(&limits);
                (request, Reply { to, wanted, share, primacy })
            })
            .unzip();
        self.state.batches.insert(token, replies);
        let context = Context {
            now: clock::wall(),
            monotonic: clock::now(),
            primacy: self.state.primacies,
            applied: self.state.applied,
            in_sync: copies,
            replicas: self.settings.addresses.len(),
            // What the core knows of it. How much room there is will be looked at when the batch is executed.
            room: if self.impairments.has(Impairment::DiskFull) {
                store::Room::TooLittle
            } else {
                store::Room::Enough
            },
            limits,
        };
        self.storage.execute(Execute { token, requests, context });
    }

    /// A batch was decided; the requests that are left of it go back to the head of the queue.
    pub(super) fn on_executed(&mut self, token: Token, executed: Executed, left: Vec<Request>) {
        let (entries, barrier) = (executed.entries.clone(), executed.barrier);
        // Those of a primacy that is over were refused when it ended.
        let replies = self.state.batches.executed(token, executed);
        let pending = left.into_iter().zip(replies).map(|(request, reply)| {
            let Reply { to, share, primacy, .. } = reply;
            Pending { share, primacy, request, reply: to }
        });
        self.gateway.put_back(pending.collect());
        self.handle(Event::BatchExecuted { token, entries, barrier });
    }

    pub(super) fn answer(&mut self, token: Token, copies: usize) {
        let Some(Batch { replies, executed: Some(executed) }) = self.state.batches.remove(token) else {
            return;
        };
        self.delivery.committed(&executed.entries);
        for (Reply { to, wanted, .. }, outcome) in replies.into_iter().zip(executed.outcomes) {
            // What was passed over is told by the refusal before it, which ends its stream.
            if let Some(outcome) = outcome {
                // A client that is no longer there finds the answer by its request id.
                let _ = to.send(Settled { outcome, copies, wanted });
            }
        }
    }

    /// Whether enough requests wait for another batch, if that may have changed.
    pub(super) fn look_for_requests(&mut self) -> Option<Event<Record>> {
        let count = self.state.batches.worth_a_batch()?;
        self.gateway.wake_at(count).then_some(Event::RequestsWaiting)
    }

    /// The first request of every primacy: without effect where a history has begun.
    pub(super) fn begin_history(&self) {
        let request =
            Request { id: RequestId(uuid::Uuid::now_v7()), sequence: None, action: Action::BeginHistory };
        let gateway = self.gateway.clone();
        tokio::spawn(async move {
            if gateway.settle(request).await.is_err() {
                info!("the primacy ended before it had begun");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(count: usize) -> Vec<Reply> {
        let reply =
            |_| Reply { to: oneshot::channel().0, wanted: 1, share: Share::Stranger, primacy: Primacy(1) };
        (0..count).map(reply).collect()
    }

    fn executed(outcomes: usize) -> Executed {
        Executed { entries: Vec::new(), outcomes: (0..outcomes).map(|_| None).collect(), barrier: false }
    }

    #[test]
    fn a_batch_is_worth_it_beside_those_in_flight_once_it_is_as_large() {
        let mut batches = Batches::default();
        assert_eq!(batches.worth_a_batch(), None, "nothing has changed");
        batches.insert(Token(1), replies(3));
        assert_eq!((batches.worth_a_batch(), batches.worth_a_batch()), (Some(3), None));
        batches.insert(Token(2), replies(5));
        assert_eq!(batches.worth_a_batch(), Some(8));
        assert_eq!(batches.executed(Token(2), executed(4)).len(), 1, "one is left to the next batch");
        assert_eq!(batches.worth_a_batch(), Some(7));
        assert!(batches.remove(Token(1)).is_some());
        assert_eq!(batches.worth_a_batch(), Some(4));
        assert!(batches.remove(Token(1)).is_none());
        assert!(batches.executed(Token(1), executed(3)).is_empty(), "it is over");
        batches.insert(Token(3), replies(BATCH_REQUESTS_MAX));
        assert_eq!(batches.worth_a_batch(), Some(BATCH_REQUESTS_MAX), "no batch is larger");
        batches.clear();
        assert_eq!(batches.worth_a_batch(), Some(1), "where nothing is in flight nothing waits");
    }
}
