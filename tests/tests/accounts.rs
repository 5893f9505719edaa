//! Who may do what: deletion, impersonation, sessions, and the service between replicas.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use api::v1;
use api::v1::replica_client::ReplicaClient;
use client::{AccountId, MessageId, Reason, RequestId, Start, To};
use server::ClusterKey;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Code;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::raw::{channel, chat, id, reason, signed, with_authorization};
use whole_process_tests::wait::GENEROUS;

/// The error that ends a listening, after whatever was heard before.
async fn end_of(mut listening: client::Listening) -> client::ClientError {
    loop {
        let next = tokio::time::timeout(GENEROUS, listening.next()).await.expect("the stream ends in time");
        if let Err(error) = next.expect("an error before the end") {
            return error;
        }
    }
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_name_is_free_for_a_stranger() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let seen = alice.send("bob", "seen").await;
    bob.acknowledge(seen).await;
    alice.send("bob", "missed").await;
    bob.send("alice", "from bob").await;
    let phone = bob.client.login("bob", PASSWORD).await.unwrap();

    let listening =
        bob.session.listen(Start { after: Some(MessageId(u64::from(u32::MAX))), ..Start::default() });
    drop(listening);
    let listening = bob.session.listen(Start::default());
    let mut stream = chat(&cluster, 0).await;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let request = signed(tokio_stream::wrappers::ReceiverStream::new(said), phone.session.token());
    let mut sending = stream.send_messages(request).await.unwrap().into_inner();

    let wrong = bob.session.delete_account("not the password").await.unwrap_err();
    assert!(wrong.is_refused_for(&Reason::WrongCredentials), "{wrong}");
    bob.session.delete_account(PASSWORD).await.unwrap();

    // Sessions and open streams end, on all devices.
    assert!(end_of(listening).await.is_refused_for(&Reason::SessionInvalid));
    let status = tokio::time::timeout(GENEROUS, sending.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "SESSION_INVALID");
    drop(say);
    for token in [bob.session.token(), phone.session.token()] {
        let refused = alice.client.session(token).send("alice", "from beyond", 0).await.unwrap_err();
        assert!(refused.is_refused_for(&Reason::SessionInvalid), "{refused}");
    }
    let refused = alice.client.login("bob", PASSWORD).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::WrongCredentials), "{refused}");
    let refused = alice.session.send("bob", "anyone there?", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::NoSuchAccount), "{refused}");

    // The sender sees what was delivered and what was not; what bob wrote stays readable.
    let history = alice.session.conversation("bob", None, 10).await.unwrap().messages;
    let shown: Vec<(&str, bool, bool)> =
        history.iter().map(|m| (&*m.text, m.delivered, m.undeliverable)).collect();
    assert_eq!(shown, [("from bob", false, false), ("", false, true), ("seen", true, false)]);
    assert_eq!(alice.hear_texts(1).await, ["from bob"]);

    // A stranger of that name inherits nothing.
    let stranger = Person::register(&cluster, "Bob").await;
    alice.send("bob", "hello stranger").await;
    assert_eq!(stranger.hear_texts(1).await, ["hello stranger"]);
    let old_bob = AccountId(history[0].from_id);
    let refused =
        alice.session.send_with_id(RequestId(uuid::Uuid::now_v7()), old_bob, "secret", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::NoSuchAccount), "{refused}");
    let of_stranger = stranger.session.conversation("alice", None, 10).await.unwrap().messages;
    assert_eq!(of_stranger.iter().map(|m| &*m.text).collect::<Vec<_>>(), ["hello stranger"]);
    let with_stranger = alice.session.conversation("bob", None, 10).await.unwrap().messages;
    assert_eq!(with_stranger.len(), 1);
    let old = format!("#{}", history[0].from_id);
    assert_eq!(alice.session.conversation(To::parse(&old), None, 10).await.unwrap().messages, history);
    cluster.assert_same().await;
}

#[tokio::test]
async fn logout_and_a_new_password_end_sessions_and_their_streams_at_once() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let phone = alice.client.login("alice", PASSWORD).await.unwrap();
    let tablet = alice.client.login("alice", PASSWORD).await.unwrap();
    let on_phone = phone.session.listen(Start::default());
    phone.session.logout().await.unwrap();
    assert!(end_of(on_phone).await.is_refused_for(&Reason::SessionInvalid));

    let on_tablet = tablet.session.listen(Start::default());
    alice.session.change_password(PASSWORD, "quite another one").await.unwrap();
    assert!(end_of(on_tablet).await.is_refused_for(&Reason::SessionInvalid));
    alice.send("alice", "the session that changed it stays").await;
    assert!(
        alice.client.login("alice", PASSWORD).await.unwrap_err().is_refused_for(&Reason::WrongCredentials)
    );
    alice.client.login("alice", "quite another one").await.unwrap();
}

#[tokio::test]
async fn a_session_expires_with_its_streams() {
    let mut cluster = Cluster::serving_with(1, "").await;
    let alice = Person::register(&cluster, "alice").await;
    // The shortest session that settings may ask for lasts a minute; this one is made to end sooner, while no process knows it.
    cluster.end_all().await;
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(5);
    let soon = i64::try_from(soon.as_millis()).unwrap();
    assert_ne!(cluster.sql(0).execute("UPDATE sessions SET expires_at = ?1", [soon]).unwrap(), 0);
    cluster.start_all();
    let listening = alice.session.listen(Start::default());
    assert!(end_of(listening).await.is_refused_for(&Reason::SessionInvalid));
    let refused = alice.session.send("alice", "too late", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::SessionInvalid), "{refused}");
}

#[tokio::test]
async fn every_call_refuses_a_client_without_a_session() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let revoked = alice.client.login("alice", PASSWORD).await.unwrap().session;
    revoked.logout().await.unwrap();
    let mut other_case = alice.session.token().to_owned();
    other_case.replace_range(..1, if other_case.starts_with('A') { "B" } else { "A" });
    let mut chat = chat(&cluster, 0).await;
    let tokens = [
        None,
        Some(String::new()),
        Some("Bearer ".to_owned()),
        Some("Bearer nonsense".to_owned()),
        Some(format!("Basic {}", alice.session.token())),
        Some(alice.session.token().to_owned()),
        Some(format!("Bearer {other_case}")),
        Some(format!("Bearer {}", revoked.token())),
    ];
    for token in tokens {
        macro_rules! refused {
            ($call:ident, $message:expr) => {{
                let request = match &token {
                    Some(token) => with_authorization($message, token),
                    None => tonic::Request::new($message),
                };
                let status = chat
                    .$call(request)
                    .await
                    .err()
                    .unwrap_or_else(|| panic!("{} was allowed with {token:?}", stringify!($call)));
                assert_eq!(
                    status.code(),
                    Code::Unauthenticated,
                    "{} with {token:?}: {status}",
                    stringify!($call)
                );
            }};
        }
        let message = v1::SendMessageRequest {
            request_id: id(),
            to: "alice".into(),
            to_id: 0,
            text: "x".into(),
            min_copies: 0,
        };
        refused!(logout, v1::LogoutRequest { request_id: id() });
        refused!(delete_account, v1::DeleteAccountRequest { request_id: id(), password: PASSWORD.into() });
        refused!(
            change_password,
            v1::ChangePasswordRequest {
                request_id: id(),
                password: PASSWORD.into(),
                new_password: PASSWORD.into()
            }
        );
        refused!(list_accounts, v1::ListAccountsRequest::default());
        refused!(send_message, message.clone());
        refused!(send_messages, tokio_stream::iter([message]));
        refused!(listen_messages, v1::ListenMessagesRequest::default());
        refused!(
            acknowledge_messages,
            v1::AcknowledgeMessagesRequest { request_id: id(), up_to: 1, history: vec![] }
        );
        refused!(list_messages, v1::ListMessagesRequest { with: "alice".into(), ..Default::default() });
    }
    assert_eq!(alice.session.conversation("alice", None, 10).await.unwrap().messages, []);
}

#[tokio::test]
async fn no_account_reads_or_writes_as_another() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let eve = Person::register(&cluster, "eve").await;
    alice.send("bob", "secret").await;
    // What a message says of its sender comes from the session alone.
    eve.send("bob", "I am alice").await;
    let heard = bob.hear(2, Start::default()).await;
    assert_eq!(heard.iter().map(|m| &*m.from).collect::<Vec<_>>(), ["alice", "eve"]);
    assert_eq!(eve.session.conversation("alice", None, 10).await.unwrap().messages, []);
    let own = eve.session.conversation("bob", None, 10).await.unwrap().messages;
    assert_eq!(own.iter().map(|m| &*m.text).collect::<Vec<_>>(), ["I am alice"]);
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_are_answered_alike() {
    let cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    let client = cluster.client();
    let mut answers = Vec::new();
    for (name, password) in
        [("alice", "wrong password"), ("nobody", "wrong password"), ("bad name", PASSWORD), ("alice", "")]
    {
        answers.push(client.login(name, password).await.unwrap_err());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn without_the_cluster_key_the_service_between_replicas_is_closed() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let hello = |cluster_id: &[u8]| v1::Hello {
        replica: 2,
        replicas: 3,
        protocol: api::PROTOCOL,
        program: api::PROGRAM.into(),
        cluster_id: cluster_id.to_vec(),
        nonce: vec![7; 32],
    };
    let say = |message| v1::ReplicaMessage { message: Some(message), ..v1::ReplicaMessage::default() };
    let id = cluster.heartbeat(0).await.unwrap().cluster_id;
    for i in 0..3 {
        let mut replica = ReplicaClient::new(channel(&cluster, i).await);
        let challenge = replica.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().challenge;
        for proof in [vec![], vec![0; 32], challenge.clone()] {
            let snapshot = v1::FetchSnapshotRequest {
                replica: 1,
                nonce: vec![7; 32],
                challenge: challenge.clone(),
                proof: proof.clone(),
            };
            let refused =
                replica.fetch_snapshot(snapshot).await.expect_err("a snapshot was sent to a stranger");
            assert_eq!(refused.code(), Code::PermissionDenied);
            let digest =
                v1::DigestRequest { challenge: challenge.clone(), proof, ..v1::DigestRequest::default() };
            let refused = chat(&cluster, i).await.digest(digest).await.unwrap_err();
            assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "CLUSTER_KEY_NEEDED"));
        }
        let nothing = tokio_stream::iter([v1::ReplicaMessage::default()]);
        assert_eq!(replica.exchange(nothing).await.unwrap_err().code(), Code::PermissionDenied);
        let another = tokio_stream::iter([say(v1::replica_message::Message::Hello(hello(&[7; 16])))]);
        let refused = replica.exchange(another).await.unwrap_err();
        assert!(refused.message().contains("another cluster") || i == 2, "{refused}");
    }
    // Who knows the cluster's id, which is no secret, gets a Hello, and without a proof not a word more.
    let mut replica = ReplicaClient::new(channel(&cluster, 0).await);
    let proof = v1::Proof { proof: vec![0; 32] };
    let said = [v1::replica_message::Message::Hello(hello(&id)), v1::replica_message::Message::Proof(proof)]
        .map(say);
    let mut answers = replica.exchange(tokio_stream::iter(said)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert!(matches!(first.message, Some(v1::replica_message::Message::Hello(_))), "{first:?}");
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    // The view is as it was: nobody was disturbed.
    tokio::time::timeout(Duration::from_secs(5), alice.send("alice", "x")).await.unwrap();
    assert_eq!(cluster.heartbeat(0).await.unwrap().view, 1);
}

/// Meets a replica as its peers do.
async fn meet(
    cluster: &Cluster,
    key: &ClusterKey,
    as_replica: u32,
) -> (tokio::sync::mpsc::Sender<v1::ReplicaMessage>, tonic::Streaming<v1::ReplicaMessage>) {
    let (sender, said) = tokio::sync::mpsc::channel(8);
    let say = |message| v1::ReplicaMessage { message: Some(message), ..v1::ReplicaMessage::default() };
    let nonce = server::draw_nonce();
    let hello = v1::Hello {
        replica: as_replica,
        replicas: 3,
        protocol: api::PROTOCOL,
        program: api::PROGRAM.into(),
        cluster_id: key.cluster_id().0.to_vec(),
        nonce: nonce.to_vec(),
    };
    sender.send(say(v1::replica_message::Message::Hello(hello))).await.unwrap();
    let mut replica = ReplicaClient::new(channel(cluster, 0).await);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut answers = replica.exchange(said).await.unwrap().into_inner();
    let Some(v1::replica_message::Message::Hello(theirs)) = answers.message().await.unwrap().unwrap().message
    else {
        panic!("it does not say who it is");
    };
    let proofs = key.proofs(server::Call {
        purpose: server::Purpose::Stream,
        caller: as_replica,
        called: 0,
        caller_nonce: &nonce,
        called_nonce: &theirs.nonce,
    });
    let proof = proofs.by(server::Side::Caller, &[]);
    sender.send(say(v1::replica_message::Message::Proof(v1::Proof { proof }))).await.unwrap();
    let Some(v1::replica_message::Message::Proof(theirs)) = answers.message().await.unwrap().unwrap().message
    else {
        panic!("it does not prove who it is");
    };
    assert!(proofs.verify(server::Side::Called, &[], &theirs.proof));
    (sender, answers)
}

#[tokio::test]
async fn a_peer_that_has_the_key_but_makes_no_sense_disturbs_no_other_replica() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let key = ClusterKey::read(&cluster.data().join("cluster.key")).unwrap();
    let hello = |replica, replicas| v1::Hello {
        replica,
        replicas,
        protocol: api::PROTOCOL,
        program: api::PROGRAM.into(),
        cluster_id: key.cluster_id().0.to_vec(),
        nonce: vec![7; 32],
    };
    let said = |hello| v1::ReplicaMessage {
        message: Some(v1::replica_message::Message::Hello(hello)),
        ..v1::ReplicaMessage::default()
    };
    let mut replica = ReplicaClient::new(channel(&cluster, 0).await);
    let short = v1::Hello { nonce: vec![7; 31], ..hello(1, 3) };
    for hello in [hello(0, 3), hello(9, 3), hello(u32::MAX, 3), hello(1, 4), short] {
        let refused = replica.exchange(tokio_stream::iter([said(hello)])).await.unwrap_err();
        assert!(!refused.message().is_empty(), "{refused}");
    }
    alice.send("alice", "x").await;
    assert_eq!(cluster.heartbeat(0).await.unwrap().view, 1);
    // Whoever has proven that it has the key is believed to be that replica; what makes no sense ends its stream.
    cluster.kill(2);
    for nonsense in [v1::ReplicaMessage::default(), said(hello(2, 3))] {
        let (sender, mut answers) = meet(&cluster, &key, 2).await;
        sender.send(nonsense).await.unwrap();
        while let Ok(Some(_)) = tokio::time::timeout(GENEROUS, answers.message()).await.unwrap() {}
    }
    alice.send("alice", "y").await;
    cluster.start(2);
    cluster.until_all_in_sync().await;
}

/// Where registration is closed, accounts are made through the service by callers that prove to have the cluster's key, and by
/// no others.
#[tokio::test]
async fn where_registration_is_closed_the_operator_makes_the_accounts() {
    let mut cluster = Cluster::serving_with(3, "registration = \"closed\"").await;
    let shell = Shell::new(&cluster);
    let refused = cluster.client().create_account("eve", PASSWORD).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::RegistrationClosed), "{refused}");
    let data = cluster.data().to_str().unwrap().to_owned();
    let create = |data: &str| {
        let input = format!("{PASSWORD}\n");
        shell.run_with_input(
            &["create-account", "alice", "--password-stdin", "--data", data],
            input.as_bytes(),
        )
    };
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(cluster.data().join("cluster.key"), other.path().join("cluster.key")).unwrap();
    let key = std::fs::read_to_string(other.path().join("cluster.key")).unwrap();
    let wrong = format!("{}{}", if key.starts_with('0') { '1' } else { '0' }, &key[1..]);
    std::fs::write(other.path().join("cluster.key"), wrong).unwrap();
    let done = create(other.path().to_str().unwrap());
    assert!(done.code == 1 && done.stderr.contains("operator"), "{}", done.stderr);
    // It is an entry like any other: made at the new primary, on all that are in sync.
    cluster.kill(0);
    let done = create(&data);
    assert_eq!((done.code, &*done.stdout), (0, "account alice created\n"), "{}", done.stderr);
    shell.fails(&["send", "alice", "x"], 1, "not logged in");
    cluster.client().login("alice", PASSWORD).await.unwrap();
    cluster.start(0);
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}
