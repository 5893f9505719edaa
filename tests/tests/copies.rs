//! Copies: whoever asks for so many is told "done" only once so many replicas hold it, and what was done on fewer is told.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::status::{Kept, Meaning, meaning};
use api::v1;
use api::v1::send_messages_response::Outcome;
use client::{ClientError, MessageId, Reason, Start};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::people::Person;
use whole_process_tests::raw::{chat, id, signed};

fn message(request_id: &[u8], text: &str, min_copies: u32) -> v1::SendMessageRequest {
    let (to, text) = ("bob".to_owned(), text.to_owned());
    v1::SendMessageRequest { request_id: request_id.to_vec(), to, to_id: 0, text, min_copies }
}

/// How many copies there are of how many, by a refusal that is none.
fn kept(refused: &v1::Refused) -> (i32, &str, u32, u32) {
    let Kept { copies, replicas, .. } = Kept::read(&refused.metadata, &refused.message);
    (refused.code, &refused.reason, copies, replicas)
}

const ABORTED: i32 = 10;

/// A secondary hangs while a message is on its way to three replicas.
#[tokio::test]
async fn a_message_kept_on_fewer_replicas_than_asked_for_says_so_until_enough_hold_it() {
    let cluster = Cluster::serving().await;
    let (alice, bob) = (Person::register(&cluster, "alice").await, Person::register(&cluster, "bob").await);
    let mut chat = chat(&cluster, 0).await;
    let wanted = message(&id(), "on three", 3);
    cluster.pause(2);
    let status = chat.send_message(signed(wanted.clone(), alice.session.token())).await.unwrap_err();
    let Meaning::KeptOnFewer(Kept { copies, replicas, .. }) = meaning(&status) else { panic!("{status}") };
    assert_eq!((status.code(), copies, replicas), (tonic::Code::Aborted, 2, 3));

    // It is no refusal: it has its place and is delivered. Asked again, with fewer demanded, it is there.
    assert_eq!(bob.hear_texts(1).await, ["on three"]);
    let status = chat.send_message(signed(wanted.clone(), alice.session.token())).await.unwrap_err();
    assert!(matches!(meaning(&status), Meaning::KeptOnFewer(_)), "a retry is not told more: {status}");
    let fewer = v1::SendMessageRequest { min_copies: 2, ..wanted.clone() };
    let sent = chat.send_message(signed(fewer, alice.session.token())).await.unwrap().into_inner();
    // What is new and asks for three is refused without effect.
    let status =
        chat.send_message(signed(message(&id(), "never", 3), alice.session.token())).await.unwrap_err();
    assert_eq!(whole_process_tests::raw::reason(&status), "TOO_FEW_IN_SYNC");

    cluster.resume(2);
    cluster.until_all_in_sync().await;
    let again = chat.send_message(signed(wanted, alice.session.token())).await.unwrap().into_inner();
    assert_eq!((again.id, again.copies), (sent.id, 3));
    let heard = bob.hear(1, Start::default()).await;
    assert_eq!(heard[0].id, sent.id);
    let page = bob.session.conversation("alice", None, 10).await.unwrap();
    assert_eq!(page.messages.len(), 1, "one effect, however often it was asked for");
}

/// In a stream it is answered by itself, and what follows goes on.
#[tokio::test]
async fn kept_on_fewer_ends_no_stream_and_an_outbox_asks_until_enough_hold_it() {
    let cluster = Cluster::serving().await;
    let (alice, bob) = (Person::register(&cluster, "alice").await, Person::register(&cluster, "bob").await);
    let mut chat = chat(&cluster, 0).await;
    let (say, said) = mpsc::channel(8);
    let stream = chat.send_messages(signed(ReceiverStream::new(said), alice.session.token()));
    let mut answers = stream.await.unwrap().into_inner();
    let outbox = alice.session.outbox();
    outbox.send("bob", "before", 0).await.unwrap().answered().await.unwrap();

    cluster.pause(2);
    let first = id();
    for request in [message(&first, "one", 3), message(&id(), "two", 0)] {
        say.send(request).await.unwrap();
    }
    let Some(Outcome::Refused(refused)) = answers.message().await.unwrap().unwrap().outcome else { panic!() };
    assert_eq!(kept(&refused), (ABORTED, "KEPT_ON_FEWER", 2, 3));
    let Some(Outcome::Sent(two)) = answers.message().await.unwrap().unwrap().outcome else { panic!() };
    say.send(message(&first, "one", 3)).await.unwrap();
    let Some(Outcome::Refused(refused)) = answers.message().await.unwrap().unwrap().outcome else { panic!() };
    assert_eq!(kept(&refused), (ABORTED, "KEPT_ON_FEWER", 2, 3), "the same, asked again");
    cluster.resume(2);
    cluster.until_all_in_sync().await;
    say.send(message(&first, "one", 3)).await.unwrap();
    let Some(Outcome::Sent(one)) = answers.message().await.unwrap().unwrap().outcome else { panic!() };
    assert!(one.id < two.id && one.copies == 3, "{one:?} {two:?}");

    // The first request after the pause: its batch still counts on the replica that does not answer.
    cluster.pause(2);
    let three = outbox.send("bob", "three", 3).await.unwrap();
    // The outbox goes on beside what it asks for again.
    let four = outbox.send("bob", "four", 0).await.unwrap().answered().await.unwrap();
    assert!(four.id.0 > two.id);
    cluster.resume(2);
    cluster.until_all_in_sync().await;
    let three = three.answered().await.unwrap();
    assert!(three.id < four.id && three.copies == 3, "{three:?} {four:?}");
    let mut texts = bob.hear_texts(5).await;
    assert_eq!(texts.remove(0), "before");
    texts.sort();
    assert_eq!(texts, ["four", "one", "three", "two"]);
}

/// What the operator demands holds for every call that changes something.
#[tokio::test]
async fn min_in_sync_is_demanded_of_the_answer_too() {
    let cluster = Cluster::serving_with(2, "min_in_sync = 2").await;
    let (alice, bob) = (Person::register(&cluster, "alice").await, Person::register(&cluster, "bob").await);
    let sent = alice.send("bob", "before").await;
    let hurried = cluster.client_within(Duration::from_secs(4));
    cluster.pause(1);
    let told = hurried.session(bob.session.token()).acknowledge(MessageId(sent), &[]).await;
    let Err(ClientError::KeptOnFewer { copies: 1, replicas: 2, message }) = told else { panic!("{told:?}") };
    assert!(message.contains("kept on 1 of 2"), "{message}");
    // It has happened, and nothing new does before the other replica is back.
    let told = hurried.session(alice.session.token()).send("bob", "never", 0).await;
    assert!(told.as_ref().is_err_and(|error| error.is_refused_for(&Reason::TooFewInSync)), "{told:?}");
    cluster.resume(1);
    cluster.until_all_in_sync().await;
    assert_eq!(bob.session.account().await.unwrap().acknowledged, sent);
}

/// One-shot commands ask again until their time is over, and then say so in words and by their exit code.
#[tokio::test]
async fn a_command_that_gives_up_says_on_how_many_replicas_its_message_is() {
    let cluster = Cluster::serving_with(2, "").await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    cluster.pause(1);
    let send = ["--timeout", "4s", "send", "alice", "to myself", "--min-copies", "2"];
    let mut told = shell.run(&send);
    while told.code == 1 {
        // The command was slower than the primary, which had already gone on without the other: refused without effect.
        assert!(told.stderr.contains("nothing was changed"), "{told:?}");
        cluster.resume(1);
        cluster.until_all_in_sync().await;
        cluster.pause(1);
        told = shell.run(&send);
    }
    assert!(told.code == 4 && told.stderr.contains("kept on 1 of 2"), "{told:?}");
    // A new one is refused without effect, with the other exit code.
    shell.fails(&["send", "alice", "never", "--min-copies", "2"], 1, "nothing was changed");
    cluster.resume(1);
    cluster.until_all_in_sync().await;
    let history = shell.ok(&["history", "alice"]);
    assert!(history.contains("to myself") && !history.contains("never"), "{history}");
}
