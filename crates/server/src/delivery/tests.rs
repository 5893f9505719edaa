//! Who hears of what, and when a stream ends.

use super::queue::QUEUE_MAX;
use super::*;
use chat::Millis;
use protocol::Position;

const LISTENS: Subscription = Subscription { messages: true, own: false, receipts: false };
/// Between the accounts 1 and 2.
const WITH_TWO: ConversationId = ConversationId::direct(AccountId(2), AccountId(1));
const ALL: Subscription = Subscription { messages: true, own: true, receipts: true };

fn message(from: u64, to: u64) -> Entry<Record> {
    numbered(1, from, to)
}

fn numbered(id: u64, from: u64, to: u64) -> Entry<Record> {
    let fact = Fact::MessageSent {
        conversation: ConversationId::direct(AccountId(from), AccountId(to)),
        from: AccountId(from),
        from_name: String::new(),
        to_name: String::new(),
        text: "x".into(),
    };
    Entry { op: protocol::Op(id), ..Position::ORIGIN.follow(Record::new(Millis(1), None, fact)) }
}

#[tokio::test]
async fn a_listener_that_is_too_slow_is_sent_to_the_store_and_holds_up_no_other_listener() {
    let delivery = Arc::new(Delivery::new(128));
    let slow = delivery.register(AccountId(1), SessionId(1), LISTENS).unwrap();
    let quick = delivery.register(AccountId(1), SessionId(2), LISTENS).unwrap();
    assert!(matches!(slow.queue.next().await, Next::ReadFromStore), "everyone begins with the store");
    assert!(matches!(quick.queue.next().await, Next::ReadFromStore));
    for _ in 0..=QUEUE_MAX {
        delivery.committed(&[message(2, 1)]);
        assert!(matches!(quick.queue.next().await, Next::Deliver(_)));
    }
    assert!(matches!(slow.queue.next().await, Next::ReadFromStore));
    delivery.committed(&[message(2, 1)]);
    assert!(matches!(slow.queue.next().await, Next::Deliver(_)));
}

#[test]
fn streams_end_with_their_session_their_account_or_the_primacy_and_leave_no_trace() {
    let delivery = Arc::new(Delivery::new(128));
    let one = delivery.register(AccountId(1), SessionId(1), LISTENS).unwrap();
    let other = delivery.register(AccountId(1), SessionId(2), Subscription::default()).unwrap();
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
    delivery.committed(&[record(Fact::HistoryBegan { history, forgotten: None })]);
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
    let conversation = ConversationId::direct(alice, bob);
    let before = delivery.register(alice, SessionId(1), ALL).unwrap();
    let earlier = delivery.register(alice, SessionId(2), ALL).unwrap();
    let other_device = delivery.register(bob, SessionId(3), ALL).unwrap();
    let stranger = delivery.register(AccountId(9), SessionId(4), ALL).unwrap();
    for stream in [&before, &earlier, &other_device, &stranger] {
        assert!(matches!(stream.queue.next().await, Next::ReadFromStore));
    }
    earlier.expect_receipts(vec![(conversation, vec![MessageId(5), MessageId(6)])]);
    let has = |up_to| record(Fact::MessagesAcknowledged { account: bob, up_to: MessageId(up_to) });
    let receipt = |with, up_to, kind| {
        Next::Deliver(Delivered::Receipt(Receipt { conversation, with, up_to: MessageId(up_to), kind }))
    };
    delivery.committed(&[has(5)]);
    assert_eq!(earlier.queue.next().await, receipt(bob, 5, ReceiptKind::Delivered), "it had written before");
    delivery.committed(&[numbered(7, 1, 2), has(7)]);
    assert!(matches!(before.queue.next().await, Next::Deliver(Delivered::Message { .. })));
    assert_eq!(before.queue.next().await, receipt(bob, 7, ReceiptKind::Delivered), "it has written now");
    assert!(matches!(other_device.queue.next().await, Next::Deliver(Delivered::Message { .. })));
    for shown in [true, false] {
        let shown_up_to = shown.then_some(MessageId(7));
        let up_to = MessageId(8);
        let read = Fact::ConversationSeen { account: bob, conversation, up_to, shown_up_to };
        delivery.committed(&[record(read)]);
        assert_eq!(other_device.queue.next().await, receipt(alice, 8, ReceiptKind::Read));
    }
    assert_eq!(before.queue.next().await, receipt(bob, 7, ReceiptKind::Seen), "shown once, hidden once");
    delivery.committed(&[message(1, 1)]);
    assert!(matches!(before.queue.next().await, Next::Deliver(Delivered::Message { .. })));
    assert!(stranger.queue.drain().is_empty());
    drop((before, earlier, other_device, stranger));
    assert!(delivery.lock().watchers.is_empty());
}

#[tokio::test]
async fn a_listener_that_is_too_slow_for_receipts_is_told_so() {
    let delivery = Arc::new(Delivery::new(128));
    let slow = delivery.register(AccountId(1), SessionId(1), ALL).unwrap();
    assert!(matches!(slow.queue.next().await, Next::ReadFromStore));
    let has = |up_to| record(Fact::MessagesAcknowledged { account: AccountId(2), up_to: MessageId(up_to) });
    for id in 0..=QUEUE_MAX as u64 {
        slow.expect_receipts(vec![(WITH_TWO, vec![MessageId(id)])]);
        delivery.committed(&[has(id)]);
    }
    assert!(matches!(slow.queue.next().await, Next::ReadFromStore));
    assert!(matches!(slow.queue.next().await, Next::ReceiptsMissed));
    slow.expect_receipts(vec![(WITH_TWO, vec![MessageId(1000)])]);
    delivery.committed(&[has(1000)]);
    assert!(matches!(slow.queue.next().await, Next::Deliver(Delivered::Receipt(_))));
}

#[tokio::test]
async fn a_sender_hears_of_its_own_messages_alone() {
    let delivery = Arc::new(Delivery::new(128));
    let alice = delivery.register(AccountId(1), SessionId(1), Subscription { own: false, ..ALL }).unwrap();
    assert!(matches!(alice.queue.next().await, Next::ReadFromStore));
    alice.expect_receipts(vec![(WITH_TWO, vec![MessageId(10)])]);
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
