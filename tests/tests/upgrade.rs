//! A service that an older version has left goes on with this one: nothing is lost, and the way back stays open until all
//! replicas have been in sync.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1;
use client::{MessageId, Start};
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::wait;

const ALICES_PASSWORD: &str = "correct horse battery";
const BOBS_PASSWORD: &str = "stapled to the horse!";
/// Of the two that were in sync.
const IN_SYNC: [u8; 2] = [0, 1];

/// Three databases as the last version before the log was begun anew has left them, of which two were in sync.
fn left_by_an_older_version() -> Cluster {
    let cluster = Cluster::prepared(3, "");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/store/tests/schemas/6.db");
    for (i, id) in (0..3).zip(1_u8..) {
        std::fs::create_dir_all(cluster.replica_folder(i)).unwrap();
        std::fs::copy(kept, cluster.database(i)).unwrap();
        let database = rusqlite::Connection::open(cluster.database(i)).unwrap();
        database.execute("UPDATE database SET id = ?1", [[id; 16]]).unwrap();
        database.execute_batch("DELETE FROM remembered; DELETE FROM remembered_members").unwrap();
    }
    // A register from before it had an identity, which says nothing of its format either.
    let member = |index: u8| v1::Member { replica: index.into(), database: vec![index + 1; 16] };
    let view = v1::View {
        number: 5,
        members: IN_SYNC.map(member).to_vec(),
        in_sync: 0b11,
        op: 23,
        proposed_by: Some(v1::Proposer { replica: 0, incarnation: 1, attempt: 1 }),
    };
    let body = view.encode_to_vec();
    let register = cluster.data().join("register");
    std::fs::create_dir(&register).unwrap();
    let bytes = [Sha256::digest(&body).to_vec(), body].concat();
    std::fs::write(register.join(format!("view-{:020}", view.number)), bytes).unwrap();
    cluster
}

fn copy_from_before(cluster: &Cluster, i: usize) -> PathBuf {
    cluster.database(i).with_file_name("chat.db.before-log")
}

#[tokio::test]
async fn a_service_of_an_older_version_goes_on_and_its_copies_go_when_all_are_in_sync() {
    let mut cluster = left_by_an_older_version();
    cluster.start(0);
    cluster.start(1);
    cluster.until_in_sync(&[0, 1]).await;
    let client = cluster.client();
    let alice = client.login("alice", ALICES_PASSWORD).await.unwrap().session;
    let page = alice.conversation("bob", None, 10).await.unwrap();
    let texts: Vec<&str> = page.messages.iter().map(|message| &*message.text).collect();
    assert_eq!(texts, ["unread", "line\n\"quote\" 👋 \u{2028}", "hello alice", "hello bob"]);
    let list = alice.conversations(None, 10).await.unwrap().conversations;
    let told: Vec<_> = list.iter().map(|one| (&*one.with, one.deleted, one.unread, one.read_up_to)).collect();
    assert_eq!(told, [("bob", false, 1, 9), ("carol", true, 1, 0), ("Alice", false, 0, 0)]);
    assert!(page.messages.iter().all(|message| message.conversation_id == list[0].conversation_id));

    let sent = alice.send("bob", "after", 2).await.unwrap();
    assert!(sent.id > MessageId(23));
    let bob = client.login("bob", BOBS_PASSWORD).await.unwrap().session;
    let mut listening = bob.listen(Start::default());
    let heard = listening.message().await.unwrap().unwrap();
    assert_eq!((heard.id, &*heard.text), (sent.id.0, "after"));
    assert_eq!(heard.conversation_id, list[0].conversation_id);

    for i in [0, 1] {
        assert!(copy_from_before(&cluster, i).exists(), "not all were in sync yet");
    }
    cluster.start(2);
    cluster.until_all_in_sync().await;
    wait::until("the copies are gone", async || (0..3).all(|i| !copy_from_before(&cluster, i).exists()))
        .await;
    cluster.assert_same().await;
}
