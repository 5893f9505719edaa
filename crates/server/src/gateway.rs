//! The gateway between the services and the driver: requests that wait for a batch, reads that wait for a lease.
//!
//! Everything here is bounded and belongs to one *term* of serving. When the primacy ends, whatever waits is dropped,
//! and who waited is told that nobody knows; nothing of one term slips into the next, so a stream of messages can't
//! have a hole where its owner saw none.

use crate::driver::Incoming;
use chat::{Address, Answer, Refusal, Request};
use protocol::{Event, HaltReason, ReadId, Status};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// More requests than this wait only if the store is stuck; the rest are told to try again.
const WAITING_MAX: usize = 16_384;
/// A batch takes at most so many requests, and no more once it has so many bytes.
const BATCH_REQUESTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Result<Answer, Refusal>,
    /// On how many replicas its effect is durable.
    pub(crate) copies: usize,
}

/// A request and who waits for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Settled>,
}

/// This replica does not lead, or no longer: the request may or may not have had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotServing;

/// One span of serving, from `Serve` to `StopServing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term(u64);

/// What a replica shows to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) status: Status,
    /// What is wrong, in one sentence for people.
    pub(crate) fault: Option<String>,
    pub(crate) halted: Option<HaltReason>,
}

impl Published {
    /// Whether somebody who waits must hear of this. The position changes with every batch: whoever wants it looks.
    pub(crate) fn is_news_after(&self, before: &Self) -> bool {
        let Self { status: Status { role, view, position: _, in_sync, serving, fit }, fault, halted } = self;
        let known = &before.status;
        (role, view, in_sync, serving, fit)
            != (&known.role, &known.view, &known.in_sync, &known.serving, &known.fit)
            || (fault, halted) != (&before.fault, &before.halted)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// `Some` while this replica serves.
    term: Option<u64>,
    terms: u64,
    requests: VecDeque<Pending>,
    reads: HashMap<ReadId, oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    waiting: Mutex<Waiting>,
    next_read: AtomicU64,
    driver: mpsc::Sender<Incoming>,
    published: watch::Receiver<Published>,
    addresses: Vec<Address>,
}

impl Gateway {
    pub(crate) fn new(
        driver: mpsc::Sender<Incoming>,
        published: watch::Receiver<Published>,
        addresses: Vec<Address>,
    ) -> Self {
        Self { waiting: Mutex::default(), next_read: AtomicU64::new(0), driver, published, addresses }
    }

    pub(crate) fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the primary of the newest view listens, as far as this replica knows, if it is not this one.
    pub(crate) fn primary_address(&self) -> Option<String> {
        let published = self.published.borrow();
        let view = published.status.view.as_ref()?;
        self.addresses.get(usize::from(view.primary().0)).map(Address::to_string)
    }

    /// The current term, to which everything of one stream must belong.
    pub(crate) fn term(&self) -> Result<Term, NotServing> {
        self.lock().term.map(Term).ok_or(NotServing)
    }

    /// Hands a request to the next batch, and returns where its outcome will arrive. Requests of one term take effect
    /// in the order in which they were submitted.
    pub(crate) async fn submit(
        &self,
        request: Request,
        term: Term,
    ) -> Result<oneshot::Receiver<Settled>, NotServing> {
        let (reply, outcome) = oneshot::channel();
        let first = {
            let mut waiting = self.lock();
            if waiting.term != Some(term.0) || waiting.requests.len() >= WAITING_MAX {
                return Err(NotServing);
            }
            waiting.requests.push_back(Pending { request, reply });
            waiting.requests.len() == 1
        };
        if first {
            self.driver.send(Incoming::Core(Event::RequestsWaiting)).await.map_err(|_| NotServing)?;
        }
        Ok(outcome)
    }

    /// Hands in a request and waits for its outcome.
    pub(crate) async fn settle(&self, request: Request) -> Result<Settled, NotServing> {
        let term = self.term()?;
        self.submit(request, term).await?.await.map_err(|_| NotServing)
    }

    /// Waits until a read may be answered from the committed state.
    pub(crate) async fn may_read(&self) -> Result<(), NotServing> {
        let read = ReadId(self.next_read.fetch_add(1, Ordering::Relaxed));
        let (reply, allowed) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.term.is_none() {
                return Err(NotServing);
            }
            waiting.reads.insert(read, reply);
        }
        self.driver.send(Incoming::Core(Event::ReadWaiting { read })).await.map_err(|_| NotServing)?;
        allowed.await.map_err(|_| NotServing)
    }

    /// For the driver: a read may be answered, or must be refused.
    pub(crate) fn settle_read(&self, read: ReadId, allowed: bool) {
        let reply = self.lock().reads.remove(&read);
        if let (Some(reply), true) = (reply, allowed) {
            // Who has gone away no longer wants to know.
            let _ = reply.send(());
        }
    }

    /// For the driver: the requests of the next batch, and whether some are left.
    pub(crate) fn take_batch(&self) -> (Vec<Pending>, bool) {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let mut taken = 0;
        for pending in waiting.requests.iter().take(BATCH_REQUESTS_MAX) {
            if bytes >= BATCH_BYTES_MAX {
                break;
            }
            bytes += size_of(&pending.request);
            taken += 1;
        }
        let batch = waiting.requests.drain(..taken).collect();
        (batch, !waiting.requests.is_empty())
    }

    /// For the driver: a term begins.
    pub(crate) fn open(&self) {
        let mut waiting = self.lock();
        waiting.terms += 1;
        waiting.term = Some(waiting.terms);
    }

    /// For the driver: the term is over, if there was one.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.term = None;
        waiting.requests.clear();
        waiting.reads.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_of(request: &Request) -> usize {
    match &request.action {
        chat::Action::SendMessage { text, .. } => text.as_str().len() + 256,
        _ => 512,
    }
}
