//! What waits at the gateway, and for what.

use super::*;
use chat::{AccountId, Action, RequestId, TokenHash};
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
        logged: protocol::Position::ORIGIN,
        committed: protocol::Position::ORIGIN,
        applied: protocol::Position::ORIGIN,
        after_power_failure: false,
        remembered: None,
    };
    let now = protocol::Time::from_micros(0);
    let status =
        Replica::<chat::Record>::new(identity, protocol::Timing::DEFAULT, protocol::Bounds::DEFAULT, now)
            .status(now);
    let (_, published) = watch::channel(Published { status, fault: None, disk_full: false, halted: None });
    let address = Address::parse("127.0.0.1:5100").unwrap();
    let gateway = Gateway::new(driver, published, me, &[address], Bounds::DEFAULT);
    gateway.open();
    (Arc::new(gateway), incoming)
}

fn request() -> Request {
    let id = RequestId(uuid::Uuid::now_v7());
    Request { id, sequence: None, action: Action::BeginHistory }
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
    assert_eq!(gateway.take_batch().len(), 2);
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
        let _outcome = gateway.submit(Share::Account(AccountId(n as u64)), request(), primacy).await.unwrap();
    }
    assert_eq!(gateway.submit(Share::Stranger, request(), primacy).await.unwrap_err(), Declined::Busy);
    gateway.close();
    assert_eq!(gateway.submit(Share::Stranger, request(), primacy).await.unwrap_err(), Declined::NotServing);
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
    let batch = gateway.take_batch();
    assert_eq!(batch[1].request.id, honest.id, "everyone is in the next batch");
    assert_eq!(batch.len(), BATCH_REQUESTS_MAX);
    assert!(gateway.wake_at(1), "some are left");
    let _outcome = slowed.await.unwrap();
}

#[tokio::test]
async fn the_driver_hears_of_requests_once_enough_of_them_wait() {
    let (gateway, mut driver) = serving(9);
    let primacy = gateway.primacy().unwrap();
    let mut heard = async |submitted: usize| {
        for _ in 0..submitted {
            let _outcome = gateway.submit(Share::Stranger, request(), primacy).await.unwrap();
        }
        matches!(driver.try_recv(), Ok(Incoming::Core(Event::RequestsWaiting)))
    };
    assert!(heard(1).await, "the first in a primacy waits for nothing");
    gateway.take_batch();
    assert!(!gateway.wake_at(3));
    assert!(!heard(2).await);
    assert!(heard(1).await);
    assert!(!heard(1).await, "that is said once");
    assert!(!gateway.wake_at(5), "four wait, and more are in flight");
    assert!(gateway.wake_at(1), "and now fewer: they need not be said again");
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
            gateway.allow_read(read, Op(0), Op(0));
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
    assert_eq!(led_again.await, Err(Declined::NotServing), "the look may have been between two primacies");
    assert_eq!(gateway.read(async { 8 }).await, Ok(8));
}

#[tokio::test]
async fn a_read_that_is_refused_while_this_replica_serves_may_be_repeated_here() {
    let (gateway, mut driver) = serving(4);
    let refuse = async {
        let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await else { panic!() };
        gateway.refuse_read(read);
    };
    assert_eq!(tokio::join!(gateway.may_read(), refuse).0, Err(Declined::Busy));
    let refuse = async {
        let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await else { panic!() };
        gateway.close();
        gateway.refuse_read(read);
    };
    assert_eq!(tokio::join!(gateway.may_read(), refuse).0, Err(Declined::NotServing));
}

#[tokio::test]
async fn a_read_that_is_allowed_waits_until_the_tables_show_what_it_may_see() {
    let (gateway, mut driver) = serving(4);
    let mut read = Box::pin(gateway.read(async { 7 }));
    let begun = std::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
    assert!(begun.await);
    let Some(Incoming::Core(Event::ReadWaiting { read: number })) = driver.recv().await else { panic!() };
    gateway.allow_read(number, Op(5), Op(3));
    gateway.applied(Op(4));
    let waits = std::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
    assert!(waits.await, "the tables show op 4, and op 5 was committed when the read was allowed");
    gateway.applied(Op(5));
    assert_eq!(read.await, Ok(7));

    let allowed = async {
        let Some(Incoming::Core(Event::ReadWaiting { read })) = driver.recv().await else { panic!() };
        gateway.allow_read(read, Op(9), Op(5));
        gateway.close();
        gateway.applied(Op(9));
    };
    assert_eq!(tokio::join!(gateway.read(async { 8 }), allowed).0, Err(Declined::NotServing));
}

#[tokio::test]
async fn what_a_batch_was_decided_without_comes_first_in_the_next() {
    let (gateway, _driver) = serving(9);
    let primacy = gateway.primacy().unwrap();
    let mut sent = Vec::new();
    let mut outcomes = Vec::new();
    for account in [1, 2, 1, 2] {
        let request = request();
        sent.push(request.id);
        let share = Share::Account(AccountId(account));
        outcomes.push(gateway.submit(share, request, primacy).await.unwrap());
    }
    let mut batch = gateway.take_batch();
    let later = request();
    outcomes.push(gateway.submit(Share::Account(AccountId(1)), later.clone(), primacy).await.unwrap());
    gateway.put_back(batch.split_off(1));
    let batch = gateway.take_batch();
    let ids: Vec<RequestId> = batch.iter().map(|pending| pending.request.id).collect();
    for account in [[sent[2], later.id].as_slice(), &[sent[1], sent[3]]] {
        let places: Vec<_> = account.iter().map(|id| ids.iter().position(|other| other == id)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "each account's own in their order: {places:?}");
    }
    assert_eq!(ids.len(), 4);
    assert!(!gateway.wake_at(1), "none is left");

    gateway.close();
    gateway.open();
    gateway.put_back(batch);
    assert!(gateway.take_batch().is_empty(), "nothing is carried from one primacy into the next");
}
