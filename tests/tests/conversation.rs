//! Talking, while nothing goes wrong.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use client::{Client, ClientError, MessageId, Options, Reason, Start};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{Acknowledged, Listener, PASSWORD, Person};
use whole_process_tests::wait;

#[tokio::test]
async fn bob_hears_alice_live_and_after_having_been_away() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;

    // Away: the messages wait. Their ids grow.
    let ids = [alice.send("bob", "one").await, alice.send("BOB", "two").await];
    assert!(ids[0] < ids[1]);
    assert_eq!(bob.hear_texts(2).await, ["one", "two"]);
    // Not acknowledged, so they are there again; acknowledged, they are not.
    assert_eq!(bob.hear_texts(2).await, ["one", "two"]);
    bob.acknowledge(ids[1]).await;

    // Live: two listeners of one account both get everything.
    let (desk, phone) = (Listener::open(&bob).await, Listener::open(&bob).await);
    let three = alice.send("bob", "three").await;
    for listener in [desk, phone] {
        let (id, text) = (MessageId(three), "three".to_owned());
        let sent = [Acknowledged { id, text, at: std::time::Instant::now() }];
        listener.assert_heard_exactly(&sent).await;
    }
    // A cursor goes back as far as one likes.
    let all = bob.hear(3, Start { after: Some(MessageId(0)), ..Start::default() }).await;
    assert_eq!(all.iter().map(|message| &*message.text).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert!(all.iter().all(|message| message.from == "alice" && message.to == "bob" && message.sent_at > 0));
    cluster.assert_same().await;
}

#[tokio::test]
async fn texts_arrive_byte_for_byte() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let long = "0123456789abcde\n".repeat(1024);
    assert_eq!(long.len(), chat::MESSAGE_BYTES_MAX);
    let texts = [
        "two\nlines\tand a tab".to_owned(),
        "👩‍👩‍👧 emoji, ﷽, e\u{301}, \u{202e}backwards".to_owned(),
        "\"quotes\" 'single' `back` \\ %s $(rm -rf)".to_owned(),
        "'; DROP TABLE messages; --".to_owned(),
        "<script>alert(1)</script> {\"json\": null}".to_owned(),
        " spaces around ".to_owned(),
        long,
    ];
    for text in &texts {
        // To oneself: that is allowed.
        alice.send("alice", text).await;
    }
    assert_eq!(alice.hear_texts(texts.len()).await, texts);
}

#[tokio::test]
async fn a_listener_who_does_not_read_holds_up_no_other_client() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    // This one opens a stream and never reads from it.
    let mut stuck = whole_process_tests::raw::chat(&cluster, 0).await;
    let request =
        whole_process_tests::raw::signed(api::v1::ListenMessagesRequest::default(), bob.session.token());
    let mut unread = stuck.listen_messages(request).await.unwrap().into_inner();
    let quick = Listener::open(&bob).await;
    let text = "x".repeat(chat::MESSAGE_BYTES_MAX);
    let outbox = alice.session.outbox();
    let mut receipts = Vec::new();
    for _ in 0..600 {
        receipts.push(outbox.send("bob", &text, 0).await.unwrap());
    }
    let mut sent = Vec::new();
    for receipt in receipts {
        let (id, text) = (receipt.answered().await.unwrap().id, text.clone());
        sent.push(Acknowledged { id, text, at: std::time::Instant::now() });
    }
    quick.assert_heard_exactly(&sent).await;
    // When it reads at last, nothing is missing.
    let mut ids = Vec::new();
    while ids.len() < sent.len() {
        let event = unread.message().await.unwrap().unwrap().event;
        if let Some(api::v1::listen_messages_response::Event::Message(message)) = event {
            ids.push(message.id);
        }
    }
    assert_eq!(ids, sent.iter().map(|message| message.id.0).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_shows_both_sides_in_pages_and_what_was_delivered() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(alice.send("bob", &format!("to bob {i}")).await);
        ids.push(bob.send("alice", &format!("to alice {i}")).await);
    }
    bob.acknowledge(ids[4]).await;
    let newest = alice.session.conversation("bob", None, 4).await.unwrap();
    assert!(newest.more);
    assert_eq!(newest.messages.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[9], ids[8], ids[7], ids[6]]);
    let older = alice.session.conversation("bob", Some(MessageId(ids[6])), 100).await.unwrap();
    assert!(!older.more);
    assert_eq!(older.messages.len(), 6);
    let delivered: Vec<u64> = older.messages.iter().filter(|m| m.delivered).map(|m| m.id).collect();
    assert_eq!(delivered, [ids[4], ids[2], ids[0]], "what bob has acknowledged, and nothing of alice's");
    // Her own messages too, for a second device.
    let start = Start { after: Some(MessageId(0)), own_messages: true, ..Start::default() };
    assert_eq!(bob.hear(10, start).await.iter().map(|m| m.id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn any_one_address_is_enough() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    for i in 0..3 {
        let client = Client::new(vec![cluster.address(i)], Options::default());
        client.session(alice.session.token()).send("alice", "hello", 0).await.unwrap();
    }
}

#[tokio::test]
async fn an_acknowledgement_says_on_how_many_replicas_it_rests() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let sent = alice.session.send("alice", "three", 3).await.unwrap();
    assert_eq!((sent.copies, sent.replicas), (3, 3));
    cluster.kill(2);
    cluster.until_in_sync(&[0, 1]).await;
    let before = cluster.heartbeat(0).await.unwrap().op;
    let refused = alice.session.send("alice", "three again", 3).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::TooFewInSync), "{refused}");
    assert_eq!(cluster.heartbeat(0).await.unwrap().op, before, "a refusal has no effect");
    let sent = alice.session.send("alice", "two", 2).await.unwrap();
    assert_eq!((sent.copies, sent.replicas), (2, 3));
    let refused = alice.session.send("alice", "never", 4).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::InvalidInput), "{refused}");
}

#[tokio::test]
async fn with_min_in_sync_nothing_is_written_on_too_few_replicas() {
    let mut cluster = Cluster::serving_with(3, "min_in_sync = 2").await;
    let alice = Person::register(&cluster, "alice").await;
    cluster.kill_at_once(&[1, 2]);
    cluster.until_in_sync(&[0]).await;
    let refused = alice.session.send("alice", "x", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::TooFewInSync), "{refused}");
    assert!(
        alice.session.conversation("alice", None, 10).await.unwrap().messages.is_empty(),
        "reading goes on"
    );
    cluster.start(1);
    cluster.until_in_sync(&[0, 1]).await;
    alice.send("alice", "x").await;
}

#[tokio::test]
async fn that_no_replica_serves_is_said_in_time() {
    let cluster = Cluster::prepared(3, "");
    let client = cluster.client_within(std::time::Duration::from_millis(300));
    let error = client.login("alice", PASSWORD).await.unwrap_err();
    assert!(matches!(error, ClientError::NobodyServed { .. }), "{error}");
}

#[tokio::test]
async fn clusters_of_one_two_and_five_replicas_serve_too() {
    for replicas in [1, 2, 5] {
        let mut cluster = Cluster::serving_with(replicas, "").await;
        let alice = Person::register(&cluster, "alice").await;
        alice.send("alice", "before").await;
        cluster.kill_all();
        cluster.start_all();
        cluster.until_all_in_sync().await;
        alice.send("alice", "after").await;
        assert_eq!(alice.hear_texts(2).await, ["before", "after"]);
        wait::until("all are the same", async || {
            let status = cluster.status().await;
            let ops: Vec<_> =
                status["replicas"].as_array().unwrap().iter().map(|r| r["op"].as_u64()).collect();
            ops.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
        cluster.assert_same().await;
    }
}
