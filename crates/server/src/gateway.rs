//! The gateway between the services and the driver: requests that wait for a batch, reads that wait for a lease.
//!
//! Everything here is bounded and belongs to one *primacy*, a span of serving. When it ends, all that waits is dropped, and
//! its callers receive "outcome unknown". None is carried into the next primacy: otherwise message 2 of a stream could be
//! executed after message 1 was dropped.

mod requests;

use self::requests::Requests;
pub(crate) use self::requests::{Pending, Share};
use crate::incoming::Incoming;
use crate::published::Published;
use chat::{Action, Address, Answer, KeptOnFewer, Refusal, Request, SignedAction};
use protocol::{Bounds, Event, Op, ReadId, ReplicaIndex};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// More requests than this wait only if the store is stuck; the rest are told to try again.
const WAITING_MAX: usize = 16_384;
/// Once this many wait, what is left is for shares of which nothing waits: one account with many sessions must not fill the
/// queue.
const CROWDED: usize = WAITING_MAX / 4 * 3;
/// Requests of one share that wait: a batch of them. Then its streams are read no further, and its single calls are busy.
const SHARE_MAX: usize = 1024;
/// Limits of one batch: requests, and bytes (the request that passes the limit of bytes is still taken).
pub(crate) const BATCH_REQUESTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Result<Answer, Refusal>,
    /// On how many replicas its effect is durable, now that it is answered.
    pub(crate) copies: usize,
    /// On how many it must be before it is done.
    pub(crate) wanted: usize,
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    Refused(Refusal),
    /// It has its place all the same.
    KeptOnFewer(KeptOnFewer),
}

impl Settled {
    /// The answer, and how many of the replicas hold it.
    pub(crate) fn done(self, replicas: usize) -> Result<(Answer, usize), NotDone> {
        let Self { outcome, copies, wanted } = self;
        let answer = outcome.map_err(NotDone::Refused)?;
        if copies < wanted {
            return Err(NotDone::KeptOnFewer(KeptOnFewer { copies, wanted, replicas }));
        }
        Ok((answer, copies))
    }
}

/// Why a request or a read was declined here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// This replica does not lead, or no longer: the request may or may not have had its effect.
    NotServing,
    /// Too many wait already: it was not queued, and had no effect.
    Busy,
}

/// One span of serving, from `Serve` to `StopServing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Primacy(pub(crate) u64);

#[derive(Debug, Default)]
struct Waiting {
    /// `Some` while this replica serves.
    primacy: Option<u64>,
    primacies: u64,
    requests: Requests,
    /// The driver hears when as many requests wait as this.
    wake_at: usize,
    reads: HashMap<ReadId, oneshot::Sender<Result<(), Declined>>>,
    /// Reads that are allowed once the tables show everything up to an op.
    allowed: BTreeMap<Op, Vec<ReadId>>,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    waiting: Mutex<Waiting>,
    /// A batch was taken, so that there may be room in a share again; or the primacy is over.
    room: Notify,
    next_read: AtomicU64,
    driver: mpsc::Sender<Incoming>,
    published: watch::Receiver<Published>,
    me: ReplicaIndex,
    addresses: Vec<Address>,
    /// A batch takes no more requests once it has this many bytes.
    batch_bytes_max: usize,
}

impl Gateway {
    pub(crate) fn new(
        driver: mpsc::Sender<Incoming>,
        published: watch::Receiver<Published>,
        me: ReplicaIndex,
        addresses: &[Address],
        bounds: Bounds,
    ) -> Self {
        Self {
            waiting: Mutex::default(),
            room: Notify::new(),
            next_read: AtomicU64::new(0),
            driver,
            published,
            me,
            addresses: addresses.to_vec(),
            batch_bytes_max: bounds.bytes_in_flight.min(BATCH_BYTES_MAX),
        }
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
        let primary = published.status.view.as_ref()?.primary();
        let elsewhere = primary != self.me;
        self.addresses.get(usize::from(primary.0)).filter(|_| elsewhere).map(Address::to_string)
    }

    /// The current primacy, to which everything of one stream must belong.
    pub(crate) fn primacy(&self) -> Result<Primacy, Declined> {
        self.lock().primacy.map(Primacy).ok_or(Declined::NotServing)
    }

    /// Hands a request to the next batch, and returns where its outcome will arrive. Requests of one primacy take effect
    /// in the order in which they were submitted.
    ///
    /// Within a share they do; one that has its fill waiting already is busy.
    async fn submit(
        &self,
        share: Share,
        request: Request,
        primacy: Primacy,
    ) -> Result<oneshot::Receiver<Settled>, Declined> {
        if self.lock().requests.waiting_in(share) >= SHARE_MAX {
            return Err(Declined::Busy);
        }
        self.queue(share, request, primacy).await
    }

    /// The same for a stream, which is slowed while its share has its fill waiting.
    pub(crate) async fn submit_in_turn(
        &self,
        share: Share,
        request: Request,
        primacy: Primacy,
    ) -> Result<oneshot::Receiver<Settled>, Declined> {
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            if self.lock().requests.waiting_in(share) < SHARE_MAX {
                return self.queue(share, request, primacy).await;
            }
            room.await;
        }
    }

    async fn queue(
        &self,
        share: Share,
        request: Request,
        primacy: Primacy,
    ) -> Result<oneshot::Receiver<Settled>, Declined> {
        // The wake-up is reserved before the queue is touched: a caller that is dropped here leaves nothing behind, and
        // behind a queued request no later caller would wake the driver.
        let wake = self.driver.reserve().await.map_err(|_| Declined::NotServing)?;
        let (reply, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.primacy != Some(primacy.0) {
            return Err(Declined::NotServing);
        }
        let count = waiting.requests.count;
        if count >= WAITING_MAX || (count >= CROWDED && waiting.requests.waiting_in(share) > 0) {
            return Err(Declined::Busy);
        }
        waiting.requests.push(Pending { share, primacy, request, reply });
        if waiting.requests.count == waiting.wake_at {
            wake.send(Incoming::Core(Event::RequestsWaiting));
        }
        Ok(outcome)
    }

    /// Hands in a request and waits for its outcome.
    pub(crate) async fn settle(&self, request: Request) -> Result<Settled, Declined> {
        let primacy = self.primacy()?;
        let share = request.action.session().map_or(Share::Stranger, Share::Session);
        self.submit(share, request, primacy).await?.await.map_err(|_| Declined::NotServing)
    }

    /// Looks at the committed state once no acknowledged write can be missing from it.
    ///
    /// The look is carried out on another thread, and may be late. What a replica that has stopped leading shows is committed too,
    /// but it may be another database by then, or lack what was acknowledged since. So what was seen counts only if the primacy in
    /// which the read was allowed still lasts after the look (invariant 4, and 6 for a listener's pages).
    pub(crate) async fn read<T>(&self, look: impl Future<Output = T>) -> Result<T, Declined> {
        let primacy = self.may_read().await?;
        let seen = look.await;
        if self.primacy()? == primacy { Ok(seen) } else { Err(Declined::NotServing) }
    }

    /// Waits until a read is allowed. Enough for a caller that only asks whether reads are answered.
    pub(crate) async fn may_read(&self) -> Result<Primacy, Declined> {
        let ask = self.driver.reserve().await.map_err(|_| Declined::NotServing)?;
        let read = ReadId(self.next_read.fetch_add(1, Ordering::Relaxed));
        let (reply, allowed) = oneshot::channel();
        let primacy = {
            let mut waiting = self.lock();
            let primacy = waiting.primacy.ok_or(Declined::NotServing)?;
            waiting.reads.insert(read, reply);
            ask.send(Incoming::Core(Event::ReadWaiting { read }));
            Primacy(primacy)
        };
        allowed.await.unwrap_or(Err(Declined::NotServing)).map(|()| primacy)
    }

    /// For the driver: a read may be answered once the tables show everything up to `at_least`; they show `applied`.
    pub(crate) fn allow_read(&self, read: ReadId, at_least: Op, applied: Op) {
        let mut waiting = self.lock();
        if at_least <= applied {
            waiting.settle_read(read, Ok(()));
        } else {
            waiting.allowed.entry(at_least).or_default().push(read);
        }
    }

    /// For the driver: the tables show everything up to there.
    pub(crate) fn applied(&self, up_to: Op) {
        let mut waiting = self.lock();
        let later = waiting.allowed.split_off(&up_to.next());
        for read in std::mem::replace(&mut waiting.allowed, later).into_values().flatten() {
            waiting.settle_read(read, Ok(()));
        }
    }

    /// For the driver: a read must be refused.
    pub(crate) fn refuse_read(&self, read: ReadId) {
        let mut waiting = self.lock();
        // A primary that serves refuses a read only because too many wait for the lease.
        let refused = if waiting.primacy.is_some() { Declined::Busy } else { Declined::NotServing };
        waiting.settle_read(read, Err(refused));
    }

    /// For the driver: from now on it hears when as many requests wait as this. Returns whether they do.
    pub(crate) fn wake_at(&self, count: usize) -> bool {
        let mut waiting = self.lock();
        waiting.wake_at = count;
        waiting.requests.count >= count
    }

    /// For the driver: the requests of the next batch.
    pub(crate) fn take_batch(&self) -> Vec<Pending> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH_REQUESTS_MAX
            && bytes < self.batch_bytes_max
            && let Some(pending) = waiting.requests.pop()
        {
            bytes += size_of(&pending.request);
            batch.push(pending);
        }
        drop(waiting);
        self.room.notify_waiters();
        batch
    }

    /// For the driver: requests of the batch that was taken last, which was decided without them. They come first in the next.
    pub(crate) fn put_back(&self, requests: Vec<Pending>) {
        let mut waiting = self.lock();
        let now = waiting.primacy.map(Primacy);
        let kept = requests.into_iter().rev().filter(|pending| Some(pending.primacy) == now);
        kept.for_each(|pending| waiting.requests.put_back(pending));
    }

    /// For the driver: a primacy begins.
    pub(crate) fn open(&self) {
        let mut waiting = self.lock();
        waiting.primacies += 1;
        waiting.primacy = Some(waiting.primacies);
        waiting.wake_at = 1;
    }

    /// For the driver: the primacy is over, if there was one.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.primacy = None;
        waiting.requests = Requests::default();
        waiting.reads.clear();
        waiting.allowed.clear();
        drop(waiting);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn settle_read(&mut self, read: ReadId, outcome: Result<(), Declined>) {
        if let Some(reply) = self.reads.remove(&read) {
            // The caller may have given up.
            let _ = reply.send(outcome);
        }
    }
}

fn size_of(request: &Request) -> usize {
    match &request.action {
        Action::Signed { action: SignedAction::SendMessage { text, .. }, .. } => text.as_str().len() + 256,
        _ => 512,
    }
}

#[cfg(test)]
mod tests;
