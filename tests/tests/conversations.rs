//! Conversations: what is unread, what the other side has and has seen, live and after a fail-over.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use client::{AccountId, Conversation, Heard, Listening, MessageId, Reason, Start};
use std::time::Duration;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;
use whole_process_tests::wait::GENEROUS;

/// A device that keeps up with everything of its account.
async fn device(person: &Person) -> Listening {
    let start = Start { own_messages: true, receipts: true, ..Start::default() };
    let mut listening = person.session.listen(start);
    until(&mut listening, |heard| matches!(heard, Heard::Listening { .. })).await;
    listening
}

/// Hears on until something is what is waited for.
async fn until(listening: &mut Listening, wanted: impl Fn(&Heard) -> bool) -> Heard {
    loop {
        let next = tokio::time::timeout(GENEROUS, listening.next()).await;
        let heard = next.expect("in time").expect("an open stream").unwrap();
        if wanted(&heard) {
            return heard;
        }
    }
}

async fn receipt(listening: &mut Listening) -> client::Receipt {
    match until(listening, |heard| matches!(heard, Heard::Receipt(_))).await {
        Heard::Receipt(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

async fn with(person: &Person, name: &str) -> Conversation {
    let page = person.session.conversations(None, 0).await.unwrap();
    assert!(!page.more);
    page.conversations.into_iter().find(|conversation| conversation.with == name).unwrap()
}

#[tokio::test]
async fn a_sender_learns_what_has_arrived_and_was_seen_across_a_fail_over() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "Bob").await;
    let mut phone = device(&alice).await;
    let first = alice.send("bob", "hello").await;
    let second = alice.send("bob", "are you there?").await;
    let before = with(&bob, "alice").await;
    assert_eq!((before.unread, before.last.unwrap().text.as_str()), (2, "are you there?"));

    // Bob has the first, then sees it.
    bob.acknowledge(first).await;
    let told = receipt(&mut phone).await;
    let bobs_number = with(&alice, "Bob").await.with_id;
    assert_eq!(
        (told.with_id, told.delivered_up_to, told.seen_up_to, told.read_up_to),
        (bobs_number, first, 0, 0)
    );
    let alices_number = with(&bob, "alice").await.with_id;
    let mut tablet = device(&bob).await;
    assert_eq!(bob.mark_seen(alices_number, first).await, first);
    assert_eq!(receipt(&mut phone).await.seen_up_to, first);
    // His other device learns that it is not new any more.
    assert_eq!(receipt(&mut tablet).await.read_up_to, first);
    assert_eq!(with(&bob, "alice").await.unread, 1);

    // The primary dies: what was said stays said, and what happens now is told by the next one.
    cluster.kill(0);
    let seen = with(&alice, "Bob").await;
    assert_eq!((seen.delivered_up_to, seen.seen_up_to), (first, first));
    until(&mut phone, |heard| matches!(heard, Heard::Listening { .. })).await;
    bob.acknowledge(second).await;
    assert_eq!(
        receipt(&mut phone).await.delivered_up_to,
        second,
        "a stream of the new primary knows to whom alice wrote"
    );
    cluster.start(0);
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}

#[tokio::test]
async fn read_marks_can_be_switched_off_by_each_side_for_both() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let sent = alice.send("bob", "hello").await;
    let answered = bob.send("alice", "hello yourself").await;
    let mut phone = device(&alice).await;
    bob.session.show_seen(false).await.unwrap();
    assert!(!bob.session.account().await.unwrap().shows_reads);
    let (alices, bobs) = (with(&bob, "alice").await.with_id, with(&alice, "bob").await.with_id);
    bob.mark_seen(alices, sent).await;
    alice.mark_seen(bobs, answered).await;
    // Alice's own mark comes back to her phone; bob's would have come before it.
    let told = receipt(&mut phone).await;
    assert_eq!((told.read_up_to, told.seen_up_to), (answered, 0));
    assert_eq!(with(&alice, "bob").await.seen_up_to, 0);
    assert_eq!(with(&bob, "alice").await.seen_up_to, 0, "who hides is not told either");
    assert_eq!((with(&bob, "alice").await.unread, with(&alice, "bob").await.unread), (0, 0));

    // Shown again: from the next mark on.
    bob.session.show_seen(true).await.unwrap();
    let again = alice.send("bob", "once more").await;
    bob.mark_seen(alices, again).await;
    assert_eq!(with(&alice, "bob").await.seen_up_to, again);
    let nonsense = bob.session.mark_seen(AccountId(999_999), MessageId(sent)).await.unwrap_err();
    assert!(nonsense.is_refused_for(&Reason::NoSuchAccount), "{nonsense}");
    let beyond = bob.session.mark_seen(AccountId(alices), MessageId(999_999)).await.unwrap_err();
    assert!(beyond.is_refused_for(&Reason::HistoryReplaced), "{beyond}");
    cluster.assert_same().await;
}

#[tokio::test]
async fn many_conversations_come_in_pages_the_newest_first() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    for number in 0..12 {
        let other = Person::register(&cluster, &format!("person{number}")).await;
        other.send("alice", "hello").await;
    }
    alice.send("person3", "hello you").await;
    let mut names = Vec::new();
    let mut before = None;
    loop {
        let page = alice.session.conversations(before, 5).await.unwrap();
        let last = page.conversations.last().unwrap().last.as_ref().unwrap();
        before = Some(MessageId(last.id));
        names.extend(page.conversations.into_iter().map(|conversation| conversation.with));
        if !page.more {
            break;
        }
    }
    let expected: Vec<String> = [3]
        .into_iter()
        .chain((0..12).rev().filter(|number| *number != 3))
        .map(|number| format!("person{number}"))
        .collect();
    assert_eq!(names, expected);
    tokio::time::timeout(Duration::from_secs(30), cluster.assert_same()).await.unwrap();
}
