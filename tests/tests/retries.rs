//! The same request id twice, also across a fail-over: one effect, one answer.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use api::v1;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::raw::{chat, id, reason, signed};

const NEW_PASSWORD: &str = "another correct horse";

/// Sends every mutating call to one replica, and gives all answers as text. Repeated elsewhere with the same ids, they
/// must be the same.
async fn all_calls(
    cluster: &Cluster,
    i: usize,
    ids: &[Vec<u8>],
    alice: &Person,
    bob: &Person,
) -> Vec<String> {
    let mut chat = chat(cluster, i).await;
    let mut answers = Vec::new();
    let create = v1::CreateAccountRequest {
        request_id: ids[0].clone(),
        name: "carol".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    answers.push(format!("{:?}", chat.create_account(create).await.unwrap().into_inner()));
    let login =
        v1::LoginRequest { request_id: ids[1].clone(), name: "carol".into(), password: PASSWORD.into() };
    let login = chat.login(login).await.unwrap().into_inner();
    answers.push(format!("{login:?}"));
    let text = "once".to_owned();
    let send = v1::SendMessageRequest {
        request_id: ids[2].clone(),
        to: "bob".into(),
        to_id: 0,
        text,
        min_copies: 0,
    };
    let sent = chat.send_message(signed(send, alice.session.token())).await.unwrap().into_inner();
    // How many copies there are now is not part of what happened.
    answers.push(format!("{} {}", sent.id, sent.sent_at));
    let acknowledge =
        v1::AcknowledgeMessagesRequest { request_id: ids[3].clone(), up_to: sent.id, history: Vec::new() };
    answers.push(format!(
        "{:?}",
        chat.acknowledge_messages(signed(acknowledge, bob.session.token())).await.unwrap().into_inner()
    ));
    let change = v1::ChangePasswordRequest {
        request_id: ids[4].clone(),
        password: PASSWORD.into(),
        new_password: NEW_PASSWORD.into(),
    };
    answers.push(format!(
        "{:?}",
        chat.change_password(signed(change, alice.session.token())).await.unwrap().into_inner()
    ));
    let logout = v1::LogoutRequest { request_id: ids[5].clone() };
    answers.push(format!("{:?}", chat.logout(signed(logout, &login.token)).await.unwrap().into_inner()));
    let delete = v1::DeleteAccountRequest { request_id: ids[6].clone(), password: PASSWORD.into() };
    answers.push(format!(
        "{:?}",
        chat.delete_account(signed(delete, bob.session.token())).await.unwrap().into_inner()
    ));
    let streamed = v1::SendMessageRequest {
        request_id: ids[7].clone(),
        to: "alice".into(),
        to_id: 0,
        text: "in a stream".into(),
        min_copies: 0,
    };
    let stream = tokio_stream::iter([streamed]);
    let mut stream = chat.send_messages(signed(stream, alice.session.token())).await.unwrap().into_inner();
    let answer = stream.message().await.unwrap().unwrap();
    let Some(v1::send_messages_response::Outcome::Sent(sent)) = answer.outcome else { panic!("{answer:?}") };
    answers.push(format!("{} {}", sent.id, sent.sent_at));
    answers
}

#[tokio::test]
async fn every_mutating_call_may_be_repeated_also_after_each_fail_over() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let ids: Vec<Vec<u8>> = (0..8).map(|_| id()).collect();
    let first = all_calls(&cluster, 0, &ids, &alice, &bob).await;
    let op = cluster.heartbeat(0).await.unwrap().op;
    assert_eq!(all_calls(&cluster, 0, &ids, &alice, &bob).await, first);
    assert_eq!(cluster.heartbeat(0).await.unwrap().op, op, "a retry made an entry");
    for next in [1, 2] {
        cluster.kill(next - 1);
        cluster.until_serves(next).await;
        assert_eq!(all_calls(&cluster, next, &ids, &alice, &bob).await, first, "at replica {next}");
        assert_eq!(cluster.heartbeat(next).await.unwrap().op, op, "a retry made an entry");
    }
}

#[tokio::test]
async fn an_id_is_for_one_request_and_must_be_one() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut chat = chat(&cluster, 0).await;
    let used = id();
    let send = |request_id: &[u8], text: &str| {
        let message = v1::SendMessageRequest {
            request_id: request_id.to_vec(),
            to: "alice".into(),
            to_id: 0,
            text: text.into(),
            min_copies: 0,
        };
        signed(message, alice.session.token())
    };
    chat.send_message(send(&used, "one")).await.unwrap();
    let status = chat.send_message(send(&used, "two")).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    let random = uuid::Uuid::new_v4();
    for bad in [&[][..], &[1, 2, 3], &[0; 16], random.as_bytes()] {
        let status = chat.send_message(send(bad, "x")).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_INPUT", "{bad:?}: {status}");
    }
    let old = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0));
    let status = chat.send_message(send(old.as_bytes(), "x")).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_OUT_OF_DATE");
}
