//! What a browser gets of a replica, asked for by programs that are none: the sockets, who may open them, and bad input.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::up::Up;
use whole_process_tests::wait::GENEROUS;

const FRAMES: usize = 3_000;

/// A socket, and the messages that came while something else was waited for.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>, VecDeque<Value>);

impl Socket {
    async fn open(address: &str, path: &str, origin: Option<&str>) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        Ok(Self(tokio_tungstenite::connect_async(request).await?.0, VecDeque::new()))
    }

    /// The status with which it was refused.
    async fn refused(address: &str, path: &str, origin: Option<&str>) -> u16 {
        match Self::open(address, path, origin).await.map(drop).unwrap_err() {
            tungstenite::Error::Http(response) => response.status().as_u16(),
            other => panic!("{other}"),
        }
    }

    async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    /// The next frame of one of these kinds.
    async fn hear(&mut self, kinds: &[&str]) -> Value {
        if kinds.contains(&"message")
            && let Some(message) = self.1.pop_front()
        {
            return message;
        }
        let hear = async {
            loop {
                let Message::Text(text) = self.0.next().await.unwrap().unwrap() else { continue };
                let value: Value = serde_json::from_str(&text).unwrap();
                if kinds.iter().any(|kind| value.get(kind).is_some()) {
                    return value;
                }
                if value.get("message").is_some() {
                    self.1.push_back(value);
                }
            }
        };
        tokio::time::timeout(GENEROUS, hear).await.unwrap()
    }

    /// Makes a call and hears what comes of it.
    async fn call(&mut self, name: &str, parameters: Value) -> Value {
        self.say(json!({ "id": 7, "call": { name: parameters } }).to_string()).await;
        self.hear(&["answer", "refused", "kept_on_fewer", "try_again"]).await
    }
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

/// What a browser is answered at once: the head and the body.
async fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn pages_come_with_strict_rules_and_nothing_else_is_there() {
    let cluster = Cluster::serving().await;
    for i in 0..3 {
        let address = cluster.address(i).to_string();
        for path in ["/", "/cluster", "/main.js", "/style.css", "/service-state.js"] {
            let (head, body) = get(&address, path).await;
            assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{path}: {head}");
            for rule in [
                "content-security-policy: default-src 'none'; script-src 'self'",
                "require-trusted-types-for 'script'",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
                "cross-origin-resource-policy: same-origin",
            ] {
                assert!(head.contains(rule), "{path} comes without {rule}: {head}");
            }
            assert!(!head.contains("unsafe-"), "{head}");
        }
        for path in
            ["/nothing", "/README.md", "/cluster.html", "/../Cargo.toml", "/playground/socket", "/%2e%2e/x"]
        {
            let (head, _) = get(&address, path).await;
            assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn a_page_is_told_that_its_message_is_kept_on_fewer_replicas_and_asks_again() {
    let cluster = Cluster::serving_with(2, "min_in_sync = 2").await;
    let alice = Person::register(&cluster, "alice").await;
    let mut socket = Socket::open(&cluster.address(0).to_string(), "/socket", None).await.unwrap();
    let me = socket.call("identify", json!({ "token": alice.session.token() })).await;
    let to_id = &me["answer"]["answer"]["account"]["account_id"];
    let message = json!({ "request_id": id(), "to_id": to_id, "text": "to myself" });
    cluster.pause(1);
    let answer = socket.call("send_message", message.clone()).await;
    let kept = &answer["kept_on_fewer"];
    assert_eq!(
        (&kept["id"], &kept["copies"], &kept["replicas"]),
        (&json!(7), &json!(1), &json!(2)),
        "{answer}"
    );
    cluster.resume(1);
    cluster.until_all_in_sync().await;
    let sent = socket.call("send_message", message).await;
    assert_eq!(sent["answer"]["answer"]["sent"]["copies"], 2, "{sent}");
    assert_eq!(alice.hear_texts(1).await, ["to myself"]);
}

#[tokio::test]
async fn only_pages_of_the_service_open_its_sockets_and_only_they_give_orders() {
    let up = Up::start(&["--playground"]);
    let replica = format!("127.0.0.1:{}", up.port);
    let playground = format!("127.0.0.1:{}", up.port + 3);
    let own = [
        format!("http://{replica}"),
        format!("http://localhost:{}", up.port + 2),
        format!("http://{playground}"),
    ];
    let foreign =
        ["http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1", "null"].map(str::to_owned);
    for (address, path) in
        [(&replica, "/socket"), (&replica, "/cluster/socket"), (&playground, "/playground/socket")]
    {
        for origin in &own {
            Socket::open(address, path, Some(origin)).await.unwrap();
        }
        for origin in &foreign {
            assert_eq!(Socket::refused(address, path, Some(origin)).await, 403, "{path} {origin}");
        }
    }
    // A program that is no browser may chat and look; orders come from pages alone.
    Socket::open(&replica, "/socket", None).await.unwrap();
    assert_eq!(Socket::refused(&playground, "/playground/socket", None).await, 403);
    // Another name of this machine, of which a foreign site may have made itself one, opens nothing.
    let mut request = format!("ws://{playground}/playground/socket").into_client_request().unwrap();
    request.headers_mut().insert("host", format!("evil.example:{}", up.port + 3).parse().unwrap());
    request.headers_mut().insert("origin", format!("http://evil.example:{}", up.port + 3).parse().unwrap());
    assert!(tokio_tungstenite::connect_async(request).await.is_err());

    let mut orders = Socket::open(&playground, "/playground/socket", Some(&own[2])).await.unwrap();
    for (order, why) in [
        (r#"{"order":{"replica":3,"what":"kill"}}"#, "there is no replica 3"),
        (r#"{"order":{"replica":0,"what":"explode"}}"#, "this is no order"),
        ("kill", "this is no order"),
    ] {
        orders.say(order).await;
        let refused = orders.hear(&["refused"]).await;
        assert!(refused["refused"]["message"].as_str().unwrap().contains(why), "{refused}");
    }
    // Without the flag nobody takes orders.
    let cluster = Cluster::serving().await;
    let address = cluster.address(0).to_string();
    assert_eq!(
        Socket::refused(&address, "/playground/socket", Some(&format!("http://{address}"))).await,
        404
    );
    let mut watched = Socket::open(&address, "/cluster/socket", None).await.unwrap();
    assert_eq!(watched.hear(&["cluster"]).await["cluster"]["playground"], Value::Null);
}

#[tokio::test]
async fn a_socket_says_who_leads_and_ends_what_a_session_ends() {
    let mut cluster = Cluster::serving().await;
    let bob = Person::register(&cluster, "bob").await;
    let mut aside = Socket::open(&cluster.address(1).to_string(), "/socket", None).await.unwrap();
    let state = aside.hear(&["state"]).await["state"].clone();
    let first = cluster.address(0).to_string();
    assert_eq!((&state["serving"], &state["primary"]), (&json!(false), &json!(first)));
    let elsewhere = aside.call("list_accounts", json!({ "pattern": "" })).await;
    assert_eq!(elsewhere["refused"]["reason"], "NOT_SIGNED_IN");
    let elsewhere = aside.call("identify", json!({ "token": bob.session.token() })).await;
    assert_eq!(elsewhere["try_again"]["primary"], json!(first));

    let mut socket = Socket::open(&first, "/socket", None).await.unwrap();
    let made = socket
        .call("create_account", json!({ "request_id": id(), "name": "alice", "password": PASSWORD }))
        .await;
    let account = made["answer"]["answer"]["account_created"]["account_id"].clone();
    let opened =
        socket.call("login", json!({ "request_id": id(), "name": "alice", "password": PASSWORD })).await;
    let token = opened["answer"]["answer"]["logged_in"]["token"].clone();
    assert_eq!(
        socket.call("identify", json!({ "token": token })).await["answer"]["answer"]["account"]["account_id"],
        account
    );
    socket.say(json!({ "id": 9, "call": { "listen": { "cursor": null } } }).to_string()).await;
    let listening = socket.hear(&["listening"]).await;
    assert_eq!(listening["listening"]["cursor"]["after"], 0);
    bob.send("alice", "hello").await;
    assert_eq!(socket.hear(&["message"]).await["message"]["text"], "hello");
    // A request has one effect, however often it comes.
    let send = json!({ "request_id": id(), "to_id": account, "text": "a note to myself" });
    let sent = socket.call("send_message", send.clone()).await;
    assert_eq!(sent["answer"]["answer"]["sent"]["copies"], 3);
    assert_eq!(socket.hear(&["message"]).await["message"]["text"], "a note to myself");
    assert_eq!(socket.call("send_message", send).await, sent);
    // Who does not serve says from time to time that it lives.
    let beat = aside.hear(&["beat"]).await;
    assert!(beat["beat"]["clock"].as_u64() >= state["clock"].as_u64(), "{beat} after {state}");
    // Whoever loses the lead says so at once, and the new one by itself.
    cluster.kill(0);
    loop {
        let state = aside.hear(&["state"]).await["state"].clone();
        if state["serving"] == true {
            assert_eq!(&state["in_sync"], &json!(2));
            break;
        }
    }
    assert!(aside.call("identify", json!({ "token": token })).await.get("answer").is_some());
    aside
        .say(
            json!({ "id": 9, "call": { "listen": { "cursor": listening["listening"]["cursor"] } } })
                .to_string(),
        )
        .await;
    for text in ["hello", "a note to myself"] {
        assert_eq!(aside.hear(&["message"]).await["message"]["text"], text);
    }
    // Its own log-out ends what listens.
    aside.say(json!({ "id": 10, "call": { "logout": { "request_id": id() } } }).to_string()).await;
    let over = aside.hear(&["refused"]).await;
    assert_eq!((&over["refused"]["id"], &over["refused"]["reason"]), (&json!(9), &json!("SESSION_INVALID")));
}

#[tokio::test]
async fn whatever_a_page_sends_it_gets_a_clear_answer_and_the_service_goes_on() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let address = cluster.address(0).to_string();
    let mut socket = Socket::open(&address, "/socket", None).await.unwrap();
    for (frame, told, why) in [
        ("", 0, "this is no call"),
        ("{}", 0, "missing field"),
        (r#"{"id":3}"#, 3, "missing field `call`"),
        (r#"{"id":4,"call":{"explode":{}}}"#, 4, "unknown variant"),
        (r#"{"id":5,"call":{"logout":{"request_id":"x"}}}"#, 5, "this is no call"),
        (r#"{"id":6,"call":{"identify":{"token":"x","more":1}}}"#, 6, "unknown field"),
        (r#"{"id":7,"call":{"identify":{"token":"no such token"}}}"#, 7, "the session is not valid"),
        (r#"{"id":8,"call":{"identify":{"token":"\u0000\n"}}}"#, 8, "the session is not valid"),
        (r#"{"id":-1,"call":{}}"#, 0, "this is no call"),
    ] {
        socket.say(frame).await;
        let refused = socket.hear(&["refused"]).await["refused"].clone();
        assert_eq!(refused["id"], told, "{frame}");
        assert!(refused["message"].as_str().unwrap().contains(why), "{frame}: {refused}");
    }
    socket.0.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    assert!(socket.hear(&["refused"]).await["refused"]["message"].as_str().unwrap().contains("text"));
    assert!(socket.call("identify", json!({ "token": alice.session.token() })).await.get("answer").is_some());
    for (to, text, why) in
        [(0, "x", "deleted"), (99, "x", "deleted"), (1, "", "empty"), (1, "a\u{1b}[2J", "control")]
    {
        let refused =
            socket.call("send_message", json!({ "request_id": id(), "to_id": to, "text": text })).await;
        assert!(refused["refused"]["message"].as_str().unwrap().contains(why), "{refused}");
    }
    // Whatever comes, in whatever order: an answer, or the end of the socket, and never that of the process.
    let mut runner = TestRunner::deterministic();
    let frames = any_frame();
    for _ in 0..FRAMES {
        let frame = frames.new_tree(&mut runner).unwrap().current();
        if socket.0.send(Message::text(frame)).await.is_err() {
            socket = Socket::open(&address, "/socket", None).await.unwrap();
        }
        while let Ok(Some(_)) = tokio::time::timeout(std::time::Duration::ZERO, socket.0.next()).await {}
    }
    // A frame that is too large ends its socket.
    let mut large = Socket::open(&address, "/socket", None).await.unwrap();
    large.say("x".repeat(70_000)).await;
    let ended = async { while let Some(Ok(_)) = large.0.next().await {} };
    tokio::time::timeout(GENEROUS, ended).await.unwrap();
    // Half a request, a request for nothing, and a request that is none.
    for bytes in [
        &b"PR"[..],
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"POST /socket HTTP/1.1\r\n\r\n",
    ] {
        TcpStream::connect(&address).await.unwrap().write_all(bytes).await.unwrap();
    }
    alice.send("alice", "still there").await;
    cluster.assert_same().await;
    for i in 0..3 {
        assert!(!cluster.log_text(i).contains("panicked"), "{}", cluster.log_text(i));
    }
}

/// Calls that are nearly right, and some that are not right at all.
fn any_frame() -> impl Strategy<Value = String> {
    let names = [
        "identify",
        "logout",
        "send_message",
        "list_messages",
        "list_conversations",
        "list_accounts",
        "mark_read",
        "listen",
        "acknowledge_messages",
        "set_read_marks",
    ];
    let number = || prop_oneof![0_u64..50, any::<u64>()].prop_map(Value::from);
    let text = || prop_oneof![any::<String>(), Just("x".repeat(20_000)), Just(id())].prop_map(Value::from);
    let value = move || prop_oneof![number(), text(), Just(Value::Null), any::<bool>().prop_map(Value::from)];
    let keys = [
        "request_id",
        "token",
        "to_id",
        "with_id",
        "text",
        "before",
        "page_size",
        "pattern",
        "up_to",
        "history",
        "shown",
        "cursor",
        "page_token",
    ];
    let parameters = proptest::collection::vec((proptest::sample::select(keys.to_vec()), value()), 0..5);
    let near = (any::<u32>(), proptest::sample::select(names.to_vec()), parameters).prop_map(
        |(id, name, parameters)| {
            let parameters: serde_json::Map<String, Value> =
                parameters.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            json!({ "id": id, "call": { name: parameters } }).to_string()
        },
    );
    let right = (0_u64..9, number(), number()).prop_map(|(kind, one, other)| {
        let call = match kind {
            0 => json!({ "list_messages": { "with_id": one, "before": other } }),
            1 => json!({ "list_conversations": { "before": one, "page_size": 3 } }),
            2 => json!({ "mark_read": { "request_id": id(), "with_id": one, "up_to": other } }),
            3 => json!({ "listen": { "cursor": { "history": null, "after": one } } }),
            4 => json!({ "send_message": { "request_id": id(), "to_id": one, "text": "x" } }),
            5 => json!({ "acknowledge_messages": { "request_id": id(), "up_to": one, "history": null } }),
            _ => json!({ "list_accounts": { "pattern": "a|b", "page_token": "" } }),
        };
        json!({ "id": one, "call": call }).to_string()
    });
    prop_oneof![3 => near, 2 => right, 1 => any::<String>()]
}
