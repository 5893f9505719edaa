//! A sender's order in a stream: what is refused for a reason that may pass ends it, and nothing behind it is there before it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1;
use api::v1::send_messages_response::Outcome;
use client::{ClientError, MessageId, Reason};
use std::time::Duration;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::raw::{chat, id, signed};

fn message(to: &str, text: &str, min_copies: u32) -> v1::SendMessageRequest {
    let (to, text) = (to.to_owned(), text.to_owned());
    v1::SendMessageRequest { request_id: id(), to, to_id: 0, text, min_copies }
}

/// What a stream of these messages is answered, each in a word; and that it ends without an error.
async fn answers(cluster: &Cluster, token: &str, messages: &[v1::SendMessageRequest]) -> Vec<String> {
    let mut chat = chat(cluster, 0).await;
    let stream = tokio_stream::iter(messages.to_vec());
    let mut stream = chat.send_messages(signed(stream, token)).await.unwrap().into_inner();
    let mut words = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        assert_eq!(answer.request_id, messages[words.len()].request_id);
        words.push(match answer.outcome.unwrap() {
            Outcome::Sent(_) => "sent".to_owned(),
            Outcome::Refused(refused) => refused.reason,
        });
    }
    words
}

async fn texts(person: &Person, with: &str) -> Vec<String> {
    let page = person.session.conversation(with, None, 100).await.unwrap();
    page.messages.into_iter().rev().map(|message| message.text).collect()
}

#[tokio::test]
async fn a_refusal_that_may_pass_ends_the_stream_and_what_is_resent_keeps_its_place() {
    let mut cluster = Cluster::serving().await;
    let (alice, bob) = (Person::register(&cluster, "alice").await, Person::register(&cluster, "bob").await);
    let [one, mut two, three] =
        [message("bob", "one", 0), message("bob", "two", 3), message("bob", "three", 0)];
    cluster.kill(2);
    cluster.until_in_sync(&[0, 1]).await;
    let all = [one.clone(), two.clone(), three.clone()];
    assert_eq!(answers(&cluster, alice.session.token(), &all).await, ["sent", "TOO_FEW_IN_SYNC"]);
    assert_eq!(texts(&bob, "alice").await, ["one"], "what stands behind a refusal has no effect");
    cluster.start(2);
    cluster.until_all_in_sync().await;
    // The sender did not hear the refusal: it begins again at the first message without an answer.
    assert_eq!(
        answers(&cluster, alice.session.token(), &[two.clone(), three.clone()]).await,
        ["sent", "sent"]
    );
    assert_eq!(texts(&bob, "alice").await, ["one", "two", "three"]);

    // Whoever is registered meanwhile hears all, in order.
    let early = [message("carol", "first", 0), message("bob", "four", 0)];
    assert_eq!(answers(&cluster, alice.session.token(), &early).await, ["NO_SUCH_ACCOUNT"]);
    alice.client.create_account("carol", PASSWORD).await.unwrap();
    assert_eq!(answers(&cluster, alice.session.token(), &early).await, ["sent", "sent"]);
    // More copies than there are replicas rests on how many there are; a known id on what is remembered.
    two.text = "another text".into();
    for bad in [message("bob", "x", 4), two] {
        let words = answers(&cluster, alice.session.token(), &[bad, message("bob", "never", 0)]).await;
        assert!(words.len() == 1 && words[0] != "sent", "{words:?}");
    }
    // What is wrong in itself is answered by itself.
    let wrong = message("bob", &"x".repeat(20_000), 0);
    let no_id = v1::SendMessageRequest { request_id: vec![1], ..message("bob", "x", 0) };
    let mixed = [wrong, no_id, message("b\u{7}b", "x", 0), message("bob", "five", 0)];
    let words = answers(&cluster, alice.session.token(), &mixed).await;
    assert_eq!(words, ["INVALID_INPUT", "INVALID_INPUT", "INVALID_INPUT", "sent"]);
    assert_eq!(texts(&bob, "alice").await, ["one", "two", "three", "four", "five"]);
}

/// The outbox goes on behind each refusal, however many there are, and loses and doubles nothing.
#[tokio::test]
async fn an_outbox_goes_on_behind_what_is_refused() {
    let cluster = Cluster::serving().await;
    let (alice, bob) = (Person::register(&cluster, "alice").await, Person::register(&cluster, "bob").await);
    let outbox = alice.session.outbox();
    let mut tickets = Vec::new();
    for number in 0..200 {
        let to = if number % 7 == 3 { "nobody" } else { "bob" };
        let text = if number % 11 == 5 { String::new() } else { number.to_string() };
        tickets.push((number, outbox.send(to, &text, 0).await.unwrap()));
    }
    let (mut wanted, mut last) = (Vec::new(), MessageId(0));
    for (number, ticket) in tickets {
        let answer = tokio::time::timeout(Duration::from_secs(30), ticket.answered()).await.unwrap();
        match answer {
            Ok(sent) => {
                assert!(sent.id > last, "message {number} has its place behind the one before it");
                last = sent.id;
                wanted.push(number.to_string());
            }
            Err(ClientError::Refused { reason, .. }) if number % 11 == 5 => {
                assert_eq!(reason, Reason::InvalidInput);
            }
            Err(ClientError::Refused { reason, .. }) if number % 7 == 3 => {
                assert_eq!(reason, Reason::NoSuchAccount);
            }
            Err(error) => panic!("message {number}: {error}"),
        }
    }
    assert_eq!(wanted.len(), (0..200).filter(|number| number % 7 != 3 && number % 11 != 5).count());
    assert_eq!(bob.hear_texts(wanted.len()).await, wanted);
}
