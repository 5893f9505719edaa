//! The gateway between the services and the driver: requests that wait for a batch, reads that wait for a lease.
//!
//! Everything here is bounded and belongs to one *primacy*, a span of serving. When it ends, all that waits is dropped, and
//! its callers receive "outcome unknown". None is carried into the next primacy: otherwise message 2 of a stream could be
//! executed after message 1 was dropped.

use crate::incoming::Incoming;
use crate::published::Published;
use chat::{AccountId, Address, Answer, KeptOnFewer, Refusal, Request, TokenHash};
use protocol::{Event, ReadId, ReplicaIndex};
use std::collections::{HashMap, VecDeque};
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
const BATCH_REQUESTS_MAX: usize = 1024;
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

/// A request and who waits for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Settled>,
}

/// Whose share of each batch a request takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// All streams of an account.
    Account(AccountId),
    /// The calls of a session, one by one.
    Session(TokenHash),
    /// All that come without a session.
    Stranger,
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
pub(crate) struct Primacy(u64);

#[derive(Debug, Default)]
struct Waiting {
    /// `Some` while this replica serves.
    primacy: Option<u64>,
    primacies: u64,
    requests: Requests,
    reads: HashMap<ReadId, oneshot::Sender<Result<(), Declined>>>,
}

/// The requests of the next batches: each share has a queue, and they take turns.
#[derive(Debug, Default)]
struct Requests {
    queues: HashMap<Share, VecDeque<Pending>>,
    /// The shares with a queue, the next one first.
    turns: VecDeque<Share>,
    count: usize,
}

impl Requests {
    fn waiting_in(&self, share: Share) -> usize {
        self.queues.get(&share).map_or(0, VecDeque::len)
    }

    fn push(&mut self, share: Share, pending: Pending) {
        let queue = self.queues.entry(share).or_default();
        if queue.is_empty() {
            self.turns.push_back(share);
        }
        queue.push_back(pending);
        self.count += 1;
    }

    /// The next request of the share whose turn it is.
    fn pop(&mut self) -> Option<Pending> {
        let share = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&share)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&share);
        } else {
            self.turns.push_back(share);
        }
        self.count -= 1;
        next
    }
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
}

impl Gateway {
    pub(crate) fn new(
        driver: mpsc::Sender<Incoming>,
        published: watch::Receiver<Published>,
        me: ReplicaIndex,
        addresses: Vec<Address>,
    ) -> Self {
        Self {
            waiting: Mutex::default(),
            room: Notify::new(),
            next_read: AtomicU64::new(0),
            driver,
            published,
            me,
            addresses,
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
        waiting.requests.push(share, Pending { request, reply });
        if waiting.requests.count == 1 {
            wake.send(Incoming::Core(Event::RequestsWaiting));
        }
        Ok(outcome)
    }

    /// Hands in a request and waits for its outcome.
    pub(crate) async fn settle(&self, request: Request) -> Result<Settled, Declined> {
        let primacy = self.primacy()?;
        let share = request.session.map_or(Share::Stranger, Share::Session);
        self.submit(share, request, primacy).await?.await.map_err(|_| Declined::NotServing)
    }

    /// Looks at the committed state once no acknowledged write can be missing from it.
    ///
    /// The look is carried out on another thread, and may be late. A replica that has stopped leading in between applies
    /// what the new primary sends it, before that is committed. So what was seen counts only if the primacy in which the read
    /// was allowed still lasts after the look (invariant 4, and 6 for a listener's pages).
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

    /// For the driver: a read may be answered, or must be refused.
    pub(crate) fn settle_read(&self, read: ReadId, allowed: bool) {
        let mut waiting = self.lock();
        let Some(reply) = waiting.reads.remove(&read) else { return };
        // A primary that serves refuses a read only because too many wait for the lease.
        let refused = if waiting.primacy.is_some() { Declined::Busy } else { Declined::NotServing };
        // The caller may have given up.
        let _ = reply.send(if allowed { Ok(()) } else { Err(refused) });
    }

    /// For the driver: the requests of the next batch, and whether some are left.
    pub(crate) fn take_batch(&self) -> (Vec<Pending>, bool) {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH_REQUESTS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(pending) = waiting.requests.pop()
        {
            bytes += size_of(&pending.request);
            batch.push(pending);
        }
        let left = waiting.requests.count > 0;
        drop(waiting);
        self.room.notify_waiters();
        (batch, left)
    }

    /// For the driver: a primacy begins.
    pub(crate) fn open(&self) {
        let mut waiting = self.lock();
        waiting.primacies += 1;
        waiting.primacy = Some(waiting.primacies);
    }

    /// For the driver: the primacy is over, if there was one.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.primacy = None;
        waiting.requests = Requests::default();
        waiting.reads.clear();
        drop(waiting);
        self.room.notify_waiters();
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

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Action, RequestId};
    use protocol::{Identity, Replica};
    use std::sync::Arc;
    use std::task::Poll;

    /// A gateway that serves, and the driver's end of its queue, which has room for `room` events.
    fn serving(room: usize) -> (Arc<Gateway>, mpsc::Receiver<Incoming>) {
        let (driver, incoming) = mpsc::channel(room);
        let me = ReplicaIndex(0);
        let identity = Identity {
            index: me,
            all: protocol::ReplicaSet::first(1),
            incarnation: protocol::Incarnation(1),
            database: protocol::DatabaseId([0; 16]),
            position: protocol::Position::ORIGIN,
            after_power_failure: false,
            remembered: None,
        };
        let now = protocol::Time::from_micros(0);
        let status = Replica::<chat::Record>::new(identity, protocol::Timing::DEFAULT, now).status(now);
        let (_, published) =
            watch::channel(Published { status, fault: None, disk_full: false, halted: None });
        let address = Address::parse("127.0.0.1:5100").unwrap();
        let gateway = Gateway::new(driver, published, me, vec![address]);
        gateway.open();
        (Arc::new(gateway), incoming)
    }

    fn request() -> Request {
        let id = RequestId(uuid::Uuid::now_v7());
        Request { id, session: None, sequence: None, action: Action::CloseSession }
    }

    /// Polls something once and drops it, as when its client goes away.
    async fn give_up<T>(work: impl Future<Output = T>) {
        let mut work = Box::pin(work);
        let polled = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending()));
        assert!(polled.await, "it had to wait");
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_while_the_driver_is_busy_leaves_the_next_ones_their_wake_up() {
        let (gateway, mut driver) = serving(1);
        let primacy = gateway.primacy().unwrap();
        gateway.driver.try_send(Incoming::Core(Event::Tick)).unwrap();
        give_up(gateway.submit(Share::Stranger, request(), primacy)).await;
        give_up(gateway.may_read()).await;
        assert!(gateway.lock().requests.count == 0, "nothing is queued without a wake-up");
        assert!(gateway.lock().reads.is_empty(), "no read waits of which the driver does not know");
        assert!(matches!(driver.recv().await, Some(Incoming::Core(Event::Tick))));
        let _first = gateway.submit(Share::Stranger, request(), primacy).await.unwrap();
        assert!(matches!(driver.recv().await, Some(Incoming::Core(Event::RequestsWaiting))));
        let _second = gateway.submit(Share::Stranger, request(), primacy).await.unwrap();
        assert_eq!(gateway.take_batch().0.len(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_not_a_reason_to_go_elsewhere() {
        let (gateway, _driver) = serving(4);
        let primacy = gateway.primacy().unwrap();
        let flood = |n: usize| Share::Session(TokenHash([u8::try_from(n % 100).unwrap(); 32]));
        for n in 0..CROWDED {
            let _outcome = gateway.submit(flood(n), request(), primacy).await.unwrap();
        }
        assert_eq!(gateway.submit(flood(0), request(), primacy).await.unwrap_err(), Declined::Busy);
        for n in CROWDED..WAITING_MAX {
            let _outcome =
                gateway.submit(Share::Account(AccountId(n as u64)), request(), primacy).await.unwrap();
        }
        assert_eq!(gateway.submit(Share::Stranger, request(), primacy).await.unwrap_err(), Declined::Busy);
        gateway.close();
        assert_eq!(
            gateway.submit(Share::Stranger, request(), primacy).await.unwrap_err(),
            Declined::NotServing
        );
    }

    /// One account's flood of two seconds kept everyone else waiting for as long.
    #[tokio::test]
    async fn shares_take_turns_and_one_that_has_its_fill_is_busy_or_slowed() {
        let (gateway, _driver) = serving(4);
        let primacy = gateway.primacy().unwrap();
        let flood = Share::Account(AccountId(1));
        for _ in 0..SHARE_MAX {
            let _outcome = gateway.submit(flood, request(), primacy).await.unwrap();
        }
        assert_eq!(gateway.submit(flood, request(), primacy).await.unwrap_err(), Declined::Busy);
        let honest = request();
        let _outcome = gateway.submit(Share::Account(AccountId(2)), honest.clone(), primacy).await.unwrap();
        let slowed = gateway.submit_in_turn(flood, request(), primacy);
        let mut slowed = Box::pin(slowed);
        let looked = std::future::poll_fn(|context| Poll::Ready(slowed.as_mut().poll(context).is_pending()));
        assert!(looked.await, "the stream is read no further");
        let (batch, left) = gateway.take_batch();
        assert_eq!(batch[1].request.id, honest.id, "everyone is in the next batch");
        assert!(left && batch.len() == BATCH_REQUESTS_MAX);
        let _outcome = slowed.await.unwrap();
    }

    #[tokio::test]
    async fn a_primary_does_not_send_its_callers_to_itself() {
        let (gateway, _driver) = serving(1);
        assert_eq!(gateway.primary_address(), None);
    }

    /// Allows every read, as a driver does whose core holds a lease.
    fn allow_reads(gateway: &Arc<Gateway>, mut driver: mpsc::Receiver<Incoming>) {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            while let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await {
                gateway.settle_read(read, true);
            }
        });
    }

    #[tokio::test]
    async fn what_was_seen_counts_only_in_the_primacy_in_which_the_read_was_allowed() {
        let (gateway, driver) = serving(4);
        allow_reads(&gateway, driver);
        assert_eq!(gateway.read(async { 7 }).await, Ok(7));
        let handed_over = gateway.read(async { gateway.close() });
        assert_eq!(handed_over.await, Err(Declined::NotServing), "another may lead by the time of the look");
        gateway.open();
        let led_again = gateway.read(async {
            gateway.close();
            gateway.open();
        });
        assert_eq!(
            led_again.await,
            Err(Declined::NotServing),
            "the look may have been between two primacies"
        );
        assert_eq!(gateway.read(async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn a_read_that_is_refused_while_this_replica_serves_may_be_repeated_here() {
        let (gateway, mut driver) = serving(4);
        let refuse = async {
            let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await else { panic!() };
            gateway.settle_read(read, false);
        };
        assert_eq!(tokio::join!(gateway.may_read(), refuse).0, Err(Declined::Busy));
        let refuse = async {
            let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await else { panic!() };
            gateway.close();
            gateway.settle_read(read, false);
        };
        assert_eq!(tokio::join!(gateway.may_read(), refuse).0, Err(Declined::NotServing));
    }
}
