//! Comparing the replicas by their own word: who may, and that it is right while people write.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1;
use api::v1::replica_client::ReplicaClient;
use server::{ClusterKey, digest_answer_is_proven, prove_digest_request};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::{Done, Shell};
use whole_process_tests::people::Person;
use whole_process_tests::raw::{channel, chat, reason};

#[tokio::test]
async fn it_takes_the_key_of_the_cluster_from_a_file() {
    let cluster = Cluster::serving_with(2, "").await;
    let servers = cluster.servers();
    let stranger = Shell::with_servers(&servers);
    let (data, home) = (cluster.data().to_str().unwrap(), stranger.home());
    let key_file = cluster.data().join("cluster.key");
    let key_file = key_file.to_str().unwrap();
    stranger.fails(&["verify"], 2, "none at ./trialogue-data/cluster.key");
    let done = stranger.run(&["verify", "--key-file", "/no/such/key"]);
    assert!(
        done.code == 2 && done.stderr.lines().count() == 1 && done.stderr.contains("--key-file"),
        "{done:?}"
    );
    for arguments in [
        &["verify", "--key-file", key_file][..],
        &["verify", "--servers", &servers, "--data", data],
        &["verify", "--data", data],
    ] {
        assert!(stranger.ok(arguments).contains("2 replicas are the same"), "{arguments:?}");
    }
    // Somebody else's key opens nothing.
    let other = home.join("other.key");
    std::fs::write(&other, "0".repeat(64)).unwrap();
    stranger.fails(&["verify", "--key-file", other.to_str().unwrap()], 1, "chmod 600");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    stranger.fails(
        &["verify", "--key-file", other.to_str().unwrap()],
        1,
        "prove that they have the cluster's key",
    );
}

/// One digest of replica 0, as `verify` asks for it.
async fn request(cluster: &Cluster, key: &ClusterKey, table: &str) -> (v1::DigestRequest, server::Proofs) {
    let mut replica = ReplicaClient::new(channel(cluster, 0).await);
    let given = replica.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner();
    prove_digest_request(
        key,
        v1::DigestRequest { table: table.into(), ..v1::DigestRequest::default() },
        given,
    )
}

#[tokio::test]
async fn a_digest_is_given_once_for_a_proof_and_one_at_a_time() {
    let cluster = Cluster::serving_with(1, "").await;
    let key = ClusterKey::read(&cluster.data().join("cluster.key")).unwrap();
    // A replica may serve before it has logged anything: its log is compared once it has an entry.
    Person::register(&cluster, "alice").await;
    let mut chat = chat(&cluster, 0).await;
    let (once, proofs) = request(&cluster, &key, "log").await;
    let answer = chat.digest(once.clone()).await.unwrap().into_inner();
    assert!(digest_answer_is_proven(&proofs, &answer) && answer.rows >= 1, "{answer:?}");
    let refused = chat.digest(once).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "CLUSTER_KEY_NEEDED"), "again");
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(request(&cluster, &key, "messages").await.0);
    }
    let answers = futures_util::future::join_all(asked.into_iter().map(|request| {
        let mut chat = chat.clone();
        async move { chat.digest(request).await }
    }));
    let refused: Vec<Status> = answers.await.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty(), "twenty at once were all answered");
    for status in refused {
        assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "BUSY"));
        let wait = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!(!wait.is_zero() && wait.as_secs() < 1, "{wait:?}");
    }
    // What is no table and no key of a row is refused, and disturbs nobody.
    for (table, after) in [("database", vec![]), ("log; DROP TABLE log", vec![]), ("log", vec![1, 2])] {
        let mut replica = ReplicaClient::new(channel(&cluster, 0).await);
        let given = replica.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner();
        let asked = v1::DigestRequest { table: table.into(), after, ..v1::DigestRequest::default() };
        let refused = chat.digest(prove_digest_request(&key, asked, given).0).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_INPUT"), "{table}");
    }
}

/// Runs `verify` while alice writes as fast as she can.
async fn while_alice_writes(cluster: &Cluster, alice: &Person, args: &[&str]) -> Done {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let writing = Arc::new(AtomicBool::new(true));
    let writes = async {
        while writing.load(Ordering::Relaxed) {
            alice.send("alice", "again").await;
        }
    };
    let shell = Shell::new(cluster);
    let verifies = async {
        let verify = move || shell.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let done = tokio::task::spawn_blocking(verify).await.unwrap();
        writing.store(false, Ordering::Relaxed);
        done
    };
    tokio::join!(writes, verifies).1
}

/// A row that changes with every message is the same on all replicas only where they show the same op, which they hardly ever do
/// by chance: each has applied what was committed at another moment.
#[tokio::test]
async fn replicas_are_compared_while_people_write() {
    let cluster = Cluster::serving_with(3, "log_entries_max = 50").await;
    let alice = Person::register(&cluster, "alice").await;
    for text in 0..100 {
        alice.send("alice", &format!("message {text}")).await;
    }
    let data = cluster.data().to_str().unwrap();
    let ways = [&["verify", "--timeout", "20s"][..], &["verify", "--data", data, "--timeout", "20s"]];
    for way in ways.repeat(3) {
        let done = while_alice_writes(&cluster, &alice, way).await;
        assert!(done.code == 0 && done.stdout.contains("3 replicas are the same"), "{way:?}: {done:?}");
    }
    // One row that is not what it should be is found among all that changes.
    let changed =
        cluster.sql(1).execute("UPDATE messages SET text = 'x' WHERE text = 'message 7'", []).unwrap();
    assert_eq!(changed, 1);
    for way in ways {
        let done = while_alice_writes(&cluster, &alice, way).await;
        // It differs from both others, and either of them shows it.
        let shown = ["replica 0 and replica 1", "replica 1 and replica 2"]
            .iter()
            .any(|pair| done.stderr.contains(&format!("{pair} differ")));
        assert!(done.code == 1 && shown && done.stderr.contains("table messages"), "{way:?}: {done:?}");
    }
}

/// A copy that was taken after a clean end is a file and a log a replica, on a disk that can't be written to.
#[tokio::test]
async fn copies_on_a_disk_that_is_read_only_are_compared() {
    let mut cluster = Cluster::serving_with(2, "").await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "kept").await;
    cluster.end_all().await;
    let mut copy = Cluster::prepared(2, "");
    let mut disks = Vec::new();
    for i in 0..2 {
        let Some(disk) = copy.mount_disk(i, 64 << 20) else { return };
        std::fs::copy(cluster.database(i), copy.database(i)).unwrap();
        std::fs::create_dir(copy.log_folder(i)).unwrap();
        for file in std::fs::read_dir(cluster.log_folder(i)).unwrap().map(|entry| entry.unwrap()) {
            std::fs::copy(file.path(), copy.log_folder(i).join(file.file_name())).unwrap();
        }
        disk.set_read_only(true);
        disks.push(disk);
    }
    let shell = Shell::with_servers(&copy.servers());
    assert!(
        shell.ok(&["verify", "--data", copy.data().to_str().unwrap()]).contains("2 replicas are the same")
    );
}
