//! Whatever is sent: a clear error, no panic, and the service goes on.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use api::v1;
use api::v1::chat_client::ChatClient;
use api::v1::send_messages_response::Outcome;
use client::Reason;
use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::raw::{channel, chat, id, reason, signed};

const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 64;

#[tokio::test]
async fn each_bad_input_gets_its_clear_refusal() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let client = &alice.client;
    let long = |n| "x".repeat(n);
    for (name, why) in [
        ("", "empty"),
        (&*long(33), "33 characters"),
        ("two words", "not allowed"),
        ("semi;colon", "';'"),
        ("bell\u{7}", "not allowed"),
        ("nul\0", "not allowed"),
    ] {
        let refused = client.create_account(name, PASSWORD).await.unwrap_err();
        assert!(
            refused.is_refused_for(&Reason::InvalidInput) && refused.to_string().contains(why),
            "{name:?}: {refused}"
        );
    }
    for (password, why) in
        [("", "too short"), ("seven77", "too short"), (&*long(257), "too long"), ("eight\u{7}888", "control")]
    {
        let refused = client.create_account("bob", password).await.unwrap_err();
        assert!(
            refused.is_refused_for(&Reason::InvalidInput) && refused.to_string().contains(why),
            "{refused}"
        );
    }
    for (text, why) in
        [("", "empty"), (&*long(16_385), "16385 bytes"), ("a\u{1b}[2J", "control"), ("a\r\n", "control")]
    {
        let refused = alice.session.send("alice", text, 0).await.unwrap_err();
        assert!(
            refused.is_refused_for(&Reason::InvalidInput) && refused.to_string().contains(why),
            "{refused}"
        );
    }
    let refused = alice.session.send("nobody", "x", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::NoSuchAccount), "{refused}");
    for (pattern, why) in [
        ("(", "not valid"),
        ("(\\w{900}){900}", "too costly"),
        (&*long(257), "257 characters"),
        ("(a)\\1", "not valid"),
    ] {
        let refused = alice.session.accounts(pattern, "").await.unwrap_err();
        assert!(
            refused.is_refused_for(&Reason::InvalidInput) && refused.to_string().contains(why),
            "{refused}"
        );
    }
    let refused = alice.session.conversation("alice", None, 501).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::InvalidInput), "{refused}");
    let refused = alice.session.conversation("nobody", None, 10).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::NoSuchAccount), "{refused}");
    // In a stream a refused message does not affect those after it.
    let outbox = alice.session.outbox();
    let mut outcomes = Vec::new();
    for (to, text) in [("alice", "one"), ("nobody", "two"), ("alice", ""), ("alice", "four")] {
        outcomes.push(outbox.send(to, text, 0).await.unwrap());
    }
    let mut told = Vec::new();
    for receipt in outcomes {
        told.push(receipt.answered().await.is_ok());
    }
    assert_eq!(told, [true, false, false, true]);
    assert_eq!(alice.hear_texts(2).await, ["one", "four"]);
}

/// Bytes as they are, whatever message they should be.
#[derive(Clone, Debug, Default)]
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        std::io::Write::write_all(&mut tonic_buf(buffer), &item)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use bytes::Buf;
        let mut all = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut all);
        Ok(Some(all))
    }
}

fn tonic_buf<'a>(buffer: &'a mut tonic::codec::EncodeBuf<'_>) -> impl std::io::Write + 'a {
    use bytes::BufMut;
    buffer.writer()
}

async fn call_with_bytes(
    channel: Channel,
    method: &str,
    bytes: Vec<u8>,
    token: &str,
) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/trialogue.v1.Chat/{method}").parse().unwrap();
    grpc.unary(signed(bytes, token), path, RawCodec).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn bytes_that_are_no_message_or_no_text_are_refused() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let channel = channel(&cluster, 0).await;
    // Field 2 (a string) of SendMessageRequest, two bytes that are no UTF-8.
    let not_utf8 = vec![0x12, 0x02, 0xff, 0xfe];
    let truncated = vec![0x12, 0x7f, 0x61];
    let too_large = [vec![0x1a, 0x80, 0x80, 0x08], vec![b'x'; 131_072]].concat();
    for method in ["SendMessage", "CreateAccount", "Login", "ListMessages", "ListAccounts"] {
        for bytes in [&not_utf8, &truncated, &too_large] {
            let status = call_with_bytes(channel.clone(), method, bytes.clone(), alice.session.token())
                .await
                .unwrap_err();
            let wanted = if *bytes == too_large { "MESSAGE_TOO_LARGE" } else { "INVALID_INPUT" };
            assert_eq!(reason(&status), wanted, "{method}: {status}");
        }
    }
    let status =
        call_with_bytes(channel.clone(), "NoSuchCall", vec![], alice.session.token()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    alice.send("alice", "still here").await;
}

/// In a stream, what is no text or too large is refused by itself, and its neighbours are sent; only what is larger than any
/// message could be ends the stream, and says why.
#[tokio::test]
async fn one_bad_message_of_a_stream_is_refused_and_those_beside_it_are_sent() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let message = |text: &[u8]| {
        let [ids, to] = [(0x0a, id()), (0x12, b"alice".to_vec())];
        let mut bytes = Vec::new();
        for (tag, field) in [ids, to, (0x1a, text.to_vec())] {
            bytes.push(tag);
            prost::encoding::encode_varint(field.len() as u64, &mut bytes);
            bytes.extend(field);
        }
        bytes
    };
    let [half_an_emoji, large, larger] =
        [b"\xed\xa0\xbd".to_vec(), vec![b'x'; 100_000], vec![b'x'; 1_500_000]].map(|text| message(&text));
    let given = [message(b"before"), half_an_emoji, large, message(b"after"), larger];
    let ids: Vec<Vec<u8>> = given.iter().map(|message| message[2..18].to_vec()).collect();
    let mut grpc = Grpc::new(channel(&cluster, 0).await);
    grpc.ready().await.unwrap();
    let path = "/trialogue.v1.Chat/SendMessages".parse().unwrap();
    let stream = signed(futures_util::stream::iter(given), alice.session.token());
    let mut answers = grpc.streaming(stream, path, RawCodec).await.unwrap().into_inner();
    let mut heard = Vec::new();
    let ended = loop {
        match answers.message().await {
            Ok(Some(answer)) => heard.push(v1::SendMessagesResponse::decode(&*answer).unwrap()),
            Ok(None) => panic!("it ends without a reason"),
            Err(status) => break status,
        }
    };
    let said = |answer: &v1::SendMessagesResponse| match answer.outcome.as_ref().unwrap() {
        Outcome::Sent(_) => "sent".to_owned(),
        Outcome::Refused(refused) => refused.reason.clone(),
    };
    let outcomes: Vec<String> = heard.iter().map(said).collect();
    assert_eq!(outcomes, ["sent", "INVALID_INPUT", "MESSAGE_TOO_LARGE", "sent"]);
    assert_eq!(heard.iter().map(|answer| answer.request_id.clone()).collect::<Vec<_>>(), ids[..4]);
    assert_eq!((ended.code(), &*reason(&ended)), (Code::OutOfRange, "MESSAGE_TOO_LARGE"), "{ended}");
    assert_eq!(alice.hear_texts(2).await, ["before", "after"]);
}

#[tokio::test]
async fn compressed_requests_are_as_good_as_others_and_no_way_around_the_limits() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = ChatClient::new(channel(&cluster, 0).await)
            .send_compressed(encoding)
            .max_encoding_message_size(usize::MAX);
        let message = |text: String| v1::SendMessageRequest {
            request_id: id(),
            to: "alice".into(),
            text,
            ..Default::default()
        };
        let sent = client.send_message(signed(message("small".into()), alice.session.token())).await.unwrap();
        assert_eq!(sent.into_inner().copies, 3);
        let bomb = client
            .send_message(signed(message("x".repeat(50_000_000)), alice.session.token()))
            .await
            .unwrap_err();
        assert_eq!(reason(&bomb), "MESSAGE_TOO_LARGE", "{bomb}");
        let stream =
            signed(futures_util::stream::iter([message("in a stream".into())]), alice.session.token());
        let mut answers = client.send_messages(stream).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        assert!(matches!(answer.outcome, Some(Outcome::Sent(_))), "{answer:?}");
    }
    assert_eq!(alice.hear_texts(4).await, ["small", "in a stream", "small", "in a stream"]);
}

/// A request of any kind, with fields that are often nearly right.
#[derive(Clone, Debug)]
enum Any {
    Create(v1::CreateAccountRequest),
    Login(v1::LoginRequest),
    Send(v1::SendMessageRequest),
    Acknowledge(v1::AcknowledgeMessagesRequest),
    Accounts(v1::ListAccountsRequest),
    History(v1::ListMessagesRequest),
    Listen(v1::ListenMessagesRequest),
    Conversations(v1::ListConversationsRequest),
    Read(v1::MarkReadRequest),
    Bytes(&'static str, Vec<u8>),
}

fn any_request() -> impl Strategy<Value = Any> {
    let id =
        || prop_oneof![3 => Just(()).prop_map(|()| id()), 1 => proptest::collection::vec(any::<u8>(), 0..20)];
    let name = || prop_oneof![2 => Just("alice".to_owned()), 1 => any::<String>(), 1 => "[a-z]{1,40}"];
    // Short passwords are refused before they are hashed: hashing thousands would only measure Argon2.
    let password = || prop_oneof!["[ -~]{0,7}", "[\\x00-\\x1f]{8,12}"];
    let text = || prop_oneof![any::<String>(), "[a-z\\n\\t]{1,200}", Just("x".repeat(20_000))];
    let number = || prop_oneof![any::<u64>(), 0_u64..100];
    let methods = [
        "Heartbeat",
        "SendMessage",
        "ListMessages",
        "AcknowledgeMessages",
        "Logout",
        "DeleteAccount",
        "Login",
        "ListConversations",
        "MarkRead",
        "SetReadMarks",
        "GetAccount",
    ];
    prop_oneof![
        1 => (id(), name(), password()).prop_map(|(request_id, name, password)| Any::Create(v1::CreateAccountRequest { request_id, name, password, ..Default::default() })),
        1 => (id(), name(), password()).prop_map(|(request_id, name, password)| Any::Login(v1::LoginRequest { request_id, name: format!("{name}\u{7}"), password })),
        6 => (id(), name(), prop_oneof![4 => Just(0), 1 => any::<u64>()], text(), 0_u32..6).prop_map(|(request_id, to, to_id, text, min_copies)| Any::Send(v1::SendMessageRequest { request_id, to, to_id, text, min_copies })),
        3 => (id(), number(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(request_id, up_to, history)| Any::Acknowledge(v1::AcknowledgeMessagesRequest { request_id, up_to, history })),
        3 => (any::<String>(), any::<u32>(), any::<String>()).prop_map(|(pattern, page_size, page_token)| Any::Accounts(v1::ListAccountsRequest { pattern, page_size, page_token })),
        3 => (name(), number(), number(), any::<u32>()).prop_map(|(with, with_id, before, page_size)| Any::History(v1::ListMessagesRequest { with, with_id, before, page_size })),
        2 => (proptest::collection::vec(any::<u8>(), 0..20), number()).prop_map(|(history, after)| Any::Listen(v1::ListenMessagesRequest { cursor: Some(v1::Cursor { history, after }), own_messages: true, receipts: true })),
        2 => (any::<u32>(), number()).prop_map(|(page_size, before)| Any::Conversations(v1::ListConversationsRequest { page_size, before })),
        2 => (id(), number(), number()).prop_map(|(request_id, with_id, up_to)| Any::Read(v1::MarkReadRequest { request_id, with_id, up_to })),
        3 => (proptest::sample::select(methods.to_vec()), proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(method, bytes)| Any::Bytes(method, bytes)),
    ]
}

async fn send_any(channel: Channel, token: &str, request: Any) -> Result<(), Status> {
    let mut chat = ChatClient::new(channel.clone());
    match request {
        Any::Create(message) => chat.create_account(message).await.map(drop),
        Any::Login(message) => chat.login(message).await.map(drop),
        Any::Send(message) => chat.send_message(signed(message, token)).await.map(drop),
        Any::Acknowledge(message) => chat.acknowledge_messages(signed(message, token)).await.map(drop),
        Any::Accounts(message) => chat.list_accounts(signed(message, token)).await.map(drop),
        Any::History(message) => chat.list_messages(signed(message, token)).await.map(drop),
        Any::Listen(message) => chat.listen_messages(signed(message, token)).await.map(drop),
        Any::Conversations(message) => chat.list_conversations(signed(message, token)).await.map(drop),
        Any::Read(message) => chat.mark_read(signed(message, token)).await.map(drop),
        Any::Bytes(method, bytes) => call_with_bytes(channel, method, bytes, token).await.map(drop),
    }
}

#[tokio::test]
async fn ten_thousand_random_requests_disturb_no_client() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let channel = channel(&cluster, 0).await;
    let mut runner = TestRunner::deterministic();
    let requests: Vec<Any> =
        (0..REQUESTS).map(|_| any_request().new_tree(&mut runner).unwrap().current()).collect();
    let answers: Vec<Result<(), Status>> = futures_util::stream::iter(requests)
        .map(|request| {
            let (channel, token) = (channel.clone(), alice.session.token().to_owned());
            async move {
                let shown = format!("{request:?}");
                let answer = send_any(channel, &token, request).await;
                if let Err(status) = &answer {
                    // A fault would be ours; everything else is a refusal with a reason, or the transport's.
                    assert!(
                        !matches!(status.code(), Code::Unavailable | Code::Unknown),
                        "{shown:.300}: {status}"
                    );
                    assert_ne!(reason(status), "FAULT", "{shown:.300}");
                }
                answer
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let allowed = answers.iter().filter(|answer| answer.is_ok()).count();
    println!("{REQUESTS} random requests: {allowed} allowed, {} refused", REQUESTS - allowed);
    assert!(
        allowed > 100 && allowed < REQUESTS - 100,
        "the requests are too good or too bad to prove anything"
    );
    // One view from the first to the last, and everything the same everywhere.
    assert_eq!(cluster.heartbeat(0).await.unwrap().view, 1);
    let mut chat = chat(&cluster, 0).await;
    chat.heartbeat(v1::HeartbeatRequest::default()).await.unwrap();
    alice.send("alice", "still here").await;
    cluster.assert_same().await;
}
