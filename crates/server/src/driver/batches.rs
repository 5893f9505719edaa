//! Batches: the requests that wait are handed to the store together, and each gets its answer once they are committed.

use super::Driver;
use crate::clock;
use crate::gateway::{Pending, Primacy, Settled, Share};
use crate::storage::Execute;
use chat::{Action, Request, RequestId};
use protocol::{Event, Impairment, Token};
use store::{Context, Executed};
use tokio::sync::oneshot;
use tracing::info;

/// Requests that are being decided, or whose batch is in flight.
#[derive(Debug)]
pub(super) struct Batch {
    replies: Vec<Reply>,
    executed: Option<Executed>,
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
        let (pending, more) = self.gateway.take_batch();
        if more {
            self.state.backlog.push_back(Event::RequestsWaiting);
        }
        let limits = self.settings.limits;
        let (requests, replies) = pending
            .into_iter()
            .map(|Pending { share, primacy, request, reply: to }| {
                let wanted = request.copies_wanted(&limits);
                (request, Reply { to, wanted, share, primacy })
            })
            .unzip();
        self.state.batches.insert(token, Batch { replies, executed: None });
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
        if let Some(batch) = self.state.batches.get_mut(&token) {
            let replies = batch.replies.split_off(executed.outcomes.len());
            batch.executed = Some(executed);
            if !left.is_empty() {
                let pending = left.into_iter().zip(replies).map(|(request, reply)| {
                    let Reply { to, share, primacy, .. } = reply;
                    Pending { share, primacy, request, reply: to }
                });
                self.gateway.put_back(pending.collect());
                self.state.backlog.push_back(Event::RequestsWaiting);
            }
        }
        self.handle(Event::BatchExecuted { token, entries, barrier });
    }

    pub(super) fn answer(&mut self, token: Token, copies: usize) {
        let Some(Batch { replies, executed: Some(executed) }) = self.state.batches.remove(&token) else {
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
