//! What somebody with a copy of the folder, another account or an old session gets: nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1;
use client::{Heard, Listening, Reason, Start};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use files::RealFiles;
use hmac::{Hmac, KeyInit, Mac};
use protocol::Op;
use sha2::Sha256;
use std::path::{Path, PathBuf};
use store::log_folder;
use tonic::Status;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::raw::{chat, id, reason, signed};
use whole_process_tests::wait::GENEROUS;

const OTHER: &str = "another password";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

/// Every request id that a database holds, of its table and of its log.
fn request_ids(database: &Path) -> Vec<uuid::Uuid> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let mut ids = Vec::new();
    let mut table =
        connection.prepare("SELECT id FROM requests UNION ALL SELECT id FROM message_requests").unwrap();
    ids.extend(
        table
            .query_map([], |row| row.get::<_, [u8; 16]>(0))
            .unwrap()
            .map(|id| uuid::Uuid::from_bytes(id.unwrap())),
    );
    for entry in replica_log::look(&RealFiles, &log_folder(database)).unwrap().entries_after(Op(0)) {
        let record = chat::Record::decode(&entry.unwrap().record).unwrap();
        ids.extend(record.request().map(|mark| mark.id.0));
    }
    ids
}

#[tokio::test]
async fn a_copy_of_the_whole_folder_opens_no_session() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    alice.send("bob", "secret").await;
    cluster.kill_all();
    let copy = tempfile::tempdir().unwrap();
    for file in files(cluster.data()) {
        let to = copy.path().join(file.strip_prefix(cluster.data()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;

    // No token lies in any file, in whatever form.
    for token in [alice.session.token(), bob.session.token()] {
        let raw = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        let numbers = serde_json::to_string(&raw).unwrap();
        for form in [token.as_bytes(), &raw, HEXLOWER.encode(&raw).as_bytes(), numbers.as_bytes()] {
            for file in files(copy.path()) {
                let content = std::fs::read(&file).unwrap();
                let found = content.windows(form.len()).any(|window| window == form);
                assert!(!found, "a token stands in {}", file.display());
            }
        }
    }
    // And none is computed from the key and the ids of the requests, as they once were.
    let key = std::fs::read_to_string(copy.path().join("cluster.key")).unwrap();
    let key = HEXLOWER.decode(key.trim().as_bytes()).unwrap();
    let mut ids: Vec<uuid::Uuid> =
        (0..3).flat_map(|i| request_ids(&copy.path().join(format!("replica-{i}/chat.db")))).collect();
    ids.sort();
    ids.dedup();
    assert!(ids.len() >= 4, "two accounts and two logins");
    for id in ids {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"trialogue session token v1");
        mac.update(id.as_bytes());
        let token = BASE64URL_NOPAD.encode(&mac.finalize().into_bytes());
        let opened = alice.client.session(&token).account().await;
        assert!(opened.is_err(), "a session was opened from a copy of the folder: {opened:?}");
    }
    assert_eq!(alice.session.account().await.unwrap().name, "alice");
}

async fn end_of(mut listening: Listening) -> client::ClientError {
    loop {
        let next = tokio::time::timeout(GENEROUS, listening.next()).await.expect("the stream ends in time");
        if let Err(error) = next.expect("an error before the end") {
            return error;
        }
    }
}

#[tokio::test]
async fn the_streams_of_a_session_that_a_65th_login_closes_end_at_once() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let listening = alice.session.listen(Start::default());
    let mut stream = chat(&cluster, 0).await;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let request = signed(tokio_stream::wrappers::ReceiverStream::new(said), alice.session.token());
    let mut sending = stream.send_messages(request).await.unwrap().into_inner();
    let mut newest = alice.session.clone();
    for _ in 0..64 {
        newest = alice.client.login("alice", PASSWORD).await.unwrap().session;
    }
    assert!(end_of(listening).await.is_refused_for(&Reason::SessionInvalid));
    let status = tokio::time::timeout(GENEROUS, sending.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "SESSION_INVALID");
    drop(say);
    newest.send("alice", "the newest stays", 0).await.unwrap();
}

/// A device that has begun to listen, with receipts.
async fn device(person: &Person) -> Listening {
    let start = Start { receipts: true, ..Start::default() };
    let mut listening = person.session.listen(start);
    loop {
        let next = tokio::time::timeout(GENEROUS, listening.next()).await.unwrap().unwrap().unwrap();
        if matches!(next, Heard::Listening { .. }) {
            return listening;
        }
    }
}

/// Everything heard up to and with a message.
async fn heard_until(listening: &mut Listening, text: &str) -> Vec<Heard> {
    let mut all = Vec::new();
    loop {
        let next = tokio::time::timeout(GENEROUS, listening.next()).await.unwrap().unwrap().unwrap();
        let last = matches!(&next, Heard::Message(message) if message.text == text);
        all.push(next);
        if last {
            return all;
        }
    }
}

#[tokio::test]
async fn a_sender_learns_how_far_its_own_messages_got_and_hears_of_nothing_else() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let eve = Person::register(&cluster, "eve").await;
    // Eve wrote to bob once, and bob has that; then alice and bob talk.
    let once = eve.send("bob", "hello bob").await;
    bob.acknowledge(once).await;
    let mut spy = device(&eve).await;
    let mut phone = device(&alice).await;
    let eves = eve.session.account().await.unwrap().account_id;
    let alices = alice.session.account().await.unwrap().account_id;
    let mut last = 0;
    for number in 0..5 {
        last = alice.send("bob", &format!("message {number}")).await;
        bob.acknowledge(last).await;
        bob.mark_seen(alices, last).await;
        // Bob marks everything up to here of his conversation with eve too.
        bob.mark_seen(eves, last).await;
    }
    bob.send("eve", "the end").await;
    bob.send("alice", "the end").await;
    let receipts: Vec<Heard> = heard_until(&mut spy, "the end").await;
    let told: Vec<_> = receipts
        .iter()
        .filter_map(|heard| match heard {
            Heard::Receipt(receipt) => Some((receipt.delivered_up_to, receipt.seen_up_to)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(0, once)], "eve hears that hers was seen, once, and nothing else");
    let conversations = eve.session.conversations(None, 0).await.unwrap().conversations;
    assert_eq!((conversations[0].delivered_up_to, conversations[0].seen_up_to), (once, once));
    let conversations = alice.session.conversations(None, 0).await.unwrap().conversations;
    assert_eq!((conversations[0].delivered_up_to, conversations[0].seen_up_to), (last, last));
    let delivered = heard_until(&mut phone, "the end")
        .await
        .into_iter()
        .filter(|heard| matches!(heard, Heard::Receipt(receipt) if receipt.delivered_up_to > 0));
    assert_eq!(delivered.count(), 5, "alice hears of each of hers");
    // An acknowledgement between two messages of a sender says no more than the first of them.
    let first = alice.send("bob", "one").await;
    let between = eve.send("bob", "between").await;
    alice.send("bob", "two").await;
    bob.acknowledge(between).await;
    bob.send("alice", "really").await;
    let heard = heard_until(&mut phone, "really").await;
    let told: Vec<u64> = heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Receipt(receipt) => Some(receipt.delivered_up_to),
            _ => None,
        })
        .collect();
    assert_eq!(told, [first]);
}

#[tokio::test]
async fn no_account_marks_or_hears_anything_of_one_it_never_talked_with() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let sent = alice.send("alice", "a note").await;
    let bobs = bob.session.account().await.unwrap().account_id;
    let mut phone = device(&bob).await;
    let op = cluster.heartbeat(0).await.unwrap().op;
    assert_eq!(alice.mark_seen(bobs, sent).await, 0);
    assert_eq!(cluster.heartbeat(0).await.unwrap().op, op, "an entry was made");
    alice.send("bob", "hello").await;
    let heard = heard_until(&mut phone, "hello").await;
    assert_eq!(heard.len(), 1, "bob heard of it: {heard:?}");
}

#[tokio::test]
async fn a_request_s_answer_is_for_who_made_it_with_the_passwords_it_was_made_with() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    Person::register(&cluster, "bob").await;
    let eve = Person::register(&cluster, "eve").await;
    let mut chat = chat(&cluster, 0).await;
    let refusal = |status: Result<(), Status>| reason(&status.unwrap_err());

    // A message, by its id and its text, from another account, from nobody, from a session that is none.
    let send = v1::SendMessageRequest {
        request_id: id(),
        to: "bob".into(),
        text: "hello".into(),
        ..Default::default()
    };
    let sent = chat.send_message(signed(send.clone(), alice.session.token())).await.unwrap().into_inner();
    let again = chat.send_message(signed(send.clone(), alice.session.token())).await.unwrap().into_inner();
    assert_eq!(again.id, sent.id);
    let foreign = chat.send_message(signed(send.clone(), eve.session.token())).await.map(drop);
    assert_eq!(refusal(foreign), "REQUEST_ID_REUSED");
    let nobody = chat.send_message(signed(send.clone(), "none")).await.map(drop);
    assert_eq!(refusal(nobody), "SESSION_INVALID");

    // An account, and its login.
    let create = v1::CreateAccountRequest {
        request_id: id(),
        name: "carol".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let created = chat.create_account(create.clone()).await.unwrap().into_inner();
    assert_eq!(chat.create_account(create.clone()).await.unwrap().into_inner(), created);
    let other = v1::CreateAccountRequest { password: OTHER.into(), ..create };
    assert_eq!(refusal(chat.create_account(other).await.map(drop)), "REQUEST_ID_REUSED");
    let login = v1::LoginRequest { request_id: id(), name: "carol".into(), password: PASSWORD.into() };
    let opened = chat.login(login.clone()).await.unwrap().into_inner();
    assert_eq!(chat.login(login.clone()).await.unwrap().into_inner(), opened);
    let other = v1::LoginRequest { password: OTHER.into(), ..login.clone() };
    assert_eq!(refusal(chat.login(other).await.map(drop)), "WRONG_CREDENTIALS");
    let other = v1::LoginRequest { name: "bob".into(), ..login.clone() };
    assert_eq!(refusal(chat.login(other).await.map(drop)), "REQUEST_ID_REUSED");

    // A new password: the old one and the new one belong to it, and nobody else gets its answer.
    let change = v1::ChangePasswordRequest {
        request_id: id(),
        password: PASSWORD.into(),
        new_password: "quite another one".into(),
    };
    chat.change_password(signed(change.clone(), &opened.token)).await.unwrap();
    chat.change_password(signed(change.clone(), &opened.token)).await.unwrap();
    for other in [
        v1::ChangePasswordRequest { password: OTHER.into(), ..change.clone() },
        v1::ChangePasswordRequest { new_password: OTHER.into(), ..change.clone() },
    ] {
        let refused = chat.change_password(signed(other, &opened.token)).await.map(drop);
        assert_eq!(refusal(refused), "REQUEST_ID_REUSED");
    }
    let foreign = chat.change_password(signed(change, eve.session.token())).await.map(drop);
    assert_eq!(refusal(foreign), "REQUEST_ID_REUSED");
    assert_eq!(
        refusal(chat.login(login).await.map(drop)),
        "WRONG_CREDENTIALS",
        "a password that was changed"
    );

    // A deletion, whose session and account are gone: who made it and brings the password again is told.
    let delete = v1::DeleteAccountRequest { request_id: id(), password: "quite another one".into() };
    chat.delete_account(signed(delete.clone(), &opened.token)).await.unwrap();
    chat.delete_account(signed(delete.clone(), &opened.token)).await.unwrap();
    let other = v1::DeleteAccountRequest { password: OTHER.into(), ..delete.clone() };
    assert_eq!(
        refusal(chat.delete_account(signed(other, &opened.token)).await.map(drop)),
        "REQUEST_ID_REUSED"
    );
    let foreign = chat.delete_account(signed(delete.clone(), eve.session.token())).await.map(drop);
    assert_eq!(refusal(foreign), "REQUEST_ID_REUSED");
    let nobody = chat.delete_account(signed(delete, "none")).await.map(drop);
    assert_eq!(refusal(nobody), "SESSION_INVALID");
    // And a logout.
    let phone = alice.client.login("alice", PASSWORD).await.unwrap().session;
    let logout = v1::LogoutRequest { request_id: id() };
    chat.logout(signed(logout.clone(), phone.token())).await.unwrap();
    chat.logout(signed(logout.clone(), phone.token())).await.unwrap();
    assert_eq!(
        refusal(chat.logout(signed(logout.clone(), eve.session.token())).await.map(drop)),
        "REQUEST_ID_REUSED"
    );
    assert_eq!(refusal(chat.logout(signed(logout, "none")).await.map(drop)), "SESSION_INVALID");
}

/// Two tries of one call that run at once: both hash the password, each with a salt of its own.
#[tokio::test]
async fn tries_that_run_at_once_are_one_request() {
    let cluster = Cluster::serving().await;
    let connection = chat(&cluster, 0).await;
    let create = v1::CreateAccountRequest {
        request_id: id(),
        name: "carol".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let tries = (0..4).map(|_| {
        let (mut chat, create) = (connection.clone(), create.clone());
        async move { chat.create_account(create).await.unwrap().into_inner().account_id }
    });
    let accounts = futures_util::future::join_all(tries).await;
    assert!(accounts.iter().all(|account| *account == accounts[0]), "{accounts:?}");
    let login = v1::LoginRequest { request_id: id(), name: "carol".into(), password: PASSWORD.into() };
    let tries = (0..4).map(|_| {
        let (mut chat, login) = (connection.clone(), login.clone());
        async move { chat.login(login).await.unwrap().into_inner().token }
    });
    let tokens = futures_util::future::join_all(tries).await;
    assert!(tokens.iter().all(|token| *token == tokens[0]), "one login opened several sessions");
    assert_eq!(cluster.client().session(&tokens[0]).account().await.unwrap().name, "carol");
}
