//! Any language can find its way; and two thousand listeners find theirs back.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use api::v1::chat_client::ChatClient;
use api::v1::{HeartbeatRequest, HeartbeatResponse};
use client::{Client, Heard, Options, Start};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;
use whole_process_tests::raw::channel;
use whole_process_tests::wait;

#[tokio::test]
async fn reflection_describes_the_public_service_and_not_the_private_one() {
    let cluster = Cluster::serving().await;
    let mut reflection = ServerReflectionClient::new(channel(&cluster, 1).await);
    let ask = |message_request| {
        tokio_stream::iter([ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        }])
    };
    let mut answers = reflection
        .server_reflection_info(ask(MessageRequest::ListServices(String::new())))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"trialogue.v1.Chat".to_owned()), "{names:?}");
    assert!(!names.contains(&"trialogue.v1.Replica".to_owned()), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol("trialogue.v1.Chat.SendMessage".into());
    let mut answers = reflection.server_reflection_info(ask(symbol)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
}

const WAITING: HeartbeatRequest = HeartbeatRequest { wait_ms: u32::MAX, known_view: 1 };

/// Asks a replica until it has something to tell; each answer before that was kept back for as long as any may be.
async fn told(
    mut chat: ChatClient<Channel>,
    question: HeartbeatRequest,
    tells: impl Fn(&HeartbeatResponse) -> bool,
) -> HeartbeatResponse {
    loop {
        let began = Instant::now();
        let answer = chat.heartbeat(question).await.unwrap().into_inner();
        let was_kept_back = began.elapsed() >= Duration::from_secs(1);
        if tells(&answer) {
            assert!(!was_kept_back, "it was told with the end of the time alone: {answer:?}");
            return answer;
        }
        assert!(was_kept_back, "nothing was to be told yet: {answer:?}");
    }
}

/// A client that looks for the primary hears of the new one when it serves, and not with a later question.
#[tokio::test]
async fn a_heartbeat_that_waits_is_answered_by_the_replica_that_takes_over_when_it_serves() {
    let mut cluster = Cluster::serving().await;
    let mut chats = Vec::new();
    for i in 0..3 {
        chats.push(ChatClient::new(channel(&cluster, i).await));
    }
    told(chats[0].clone(), WAITING, |answer| answer.serving).await;
    // A client that has heard of no view, and knows this address alone, learns at once where the others are.
    let knows_nothing = HeartbeatRequest { known_view: 0, ..WAITING };
    told(chats[1].clone(), knows_nothing, |answer| !answer.serving && answer.addresses.len() == 3).await;
    let unchanged = HeartbeatRequest { wait_ms: 5, ..WAITING };
    let unchanged = chats[1].heartbeat(unchanged).await.unwrap().into_inner();
    assert!(!unchanged.serving && unchanged.primary == Some(0), "the time is over: {unchanged:?}");

    let next = tokio::spawn(told(chats[1].clone(), WAITING, |answer| answer.serving));
    let other = tokio::spawn(told(chats[2].clone(), WAITING, |answer| answer.primary == Some(1)));
    // Those are on their way before the primary dies.
    for chat in &mut chats[1..] {
        chat.heartbeat(HeartbeatRequest::default()).await.unwrap();
    }
    cluster.kill(0);
    assert_eq!(next.await.unwrap().primary, Some(1));
    assert!(!other.await.unwrap().serving, "it knows who leads, and does not");
}

const CHAT: &str = "trialogue.v1.Chat";

#[tokio::test]
async fn health_tells_who_serves() {
    let mut cluster = Cluster::serving().await;
    let check = async |i: usize, service: &str, cluster: &Cluster| {
        let mut health = HealthClient::new(channel(cluster, i).await);
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        answer.status()
    };
    assert_eq!(check(0, CHAT, &cluster).await, ServingStatus::Serving);
    assert_eq!(check(1, CHAT, &cluster).await, ServingStatus::NotServing);
    assert_eq!(check(1, "", &cluster).await, ServingStatus::Serving, "as a process it is well");
    cluster.kill(0);
    wait::until("the next one is healthy", async || check(1, CHAT, &cluster).await == ServingStatus::Serving)
        .await;
}

const LISTENERS: usize = 2000;
const ACCOUNTS: usize = 20;
const CLIENTS: usize = 20;

#[tokio::test]
async fn two_thousand_listeners_that_lose_the_primary_are_all_heard_again_within_five_seconds() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut people = Vec::new();
    for i in 0..ACCOUNTS {
        people.push(Person::register(&cluster, &format!("person{i}")).await);
    }
    let servers: Vec<_> = (0..3).map(|i| cluster.address(i)).collect();
    let clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client::new(servers.clone(), Options { timeout: wait::GENEROUS })).collect();
    let open = Arc::new(AtomicUsize::new(0));
    let (before, after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut listeners = Vec::new();
    for i in 0..LISTENERS {
        let mut listening =
            clients[i % CLIENTS].session(people[i % ACCOUNTS].session.token()).listen(Start::default());
        let (open, before, after) = (open.clone(), before.clone(), after.clone());
        listeners.push(tokio::spawn(async move {
            let mut opened = false;
            let mut texts = Vec::new();
            while texts.len() < 2 {
                match listening.next().await.unwrap().unwrap() {
                    Heard::Listening { .. } if !opened => {
                        opened = true;
                        open.fetch_add(1, Ordering::Relaxed);
                    }
                    Heard::Message(message) => {
                        if texts.is_empty() { &before } else { &after }.fetch_add(1, Ordering::Relaxed);
                        texts.push(message.text);
                    }
                    Heard::Listening { .. }
                    | Heard::Reconnecting
                    | Heard::Receipt(_)
                    | Heard::ReceiptsMissed => {}
                }
            }
            assert_eq!(texts, ["before", "after"]);
        }));
    }
    wait::until("all listen", async || open.load(Ordering::Relaxed) == LISTENERS).await;
    for i in 0..ACCOUNTS {
        alice.send(&format!("person{i}"), "before").await;
    }
    wait::until("all have heard", async || before.load(Ordering::Relaxed) == LISTENERS).await;
    cluster.kill(0);
    let killed = Instant::now();
    for i in 0..ACCOUNTS {
        alice.send(&format!("person{i}"), "after").await;
    }
    wait::until("all have heard again", async || after.load(Ordering::Relaxed) == LISTENERS).await;
    let took = killed.elapsed();
    println!("{LISTENERS} listeners were all heard again {} ms after the kill", took.as_millis());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    for listener in listeners {
        listener.await.unwrap();
    }
}
