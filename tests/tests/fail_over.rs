//! Replicas die or hang while people talk.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use client::Reason;
use std::time::{Duration, Instant};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::talk::talk;
use whole_process_tests::wait;

/// What `SQLite` needs to read a database, and hardly anything to write to it.
const SMALL_DISK_BYTES: u64 = 36 * 1024;

#[tokio::test]
async fn any_two_of_three_may_be_killed_at_once() {
    for (dead, alive) in [([0, 1], 2), ([0, 2], 1), ([1, 2], 0)] {
        for pipelined in [false, true] {
            let mut talk = talk(Cluster::serving().await, pipelined).await;
            talk.cluster.kill_at_once(&dead);
            talk.cluster.until_serves(alive).await;
            let (mut cluster, _) = talk.end().await;
            cluster.start_all();
            cluster.until_all_in_sync().await;
            cluster.assert_same().await;
        }
    }
}

#[tokio::test]
async fn one_after_the_other_may_be_killed_while_many_messages_are_in_flight() {
    let mut talk = talk(Cluster::serving().await, true).await;
    for primary in [0, 1] {
        talk.cluster.kill(primary);
        talk.writer.until_more(500).await;
    }
    talk.end().await;
}

#[tokio::test]
async fn the_last_replica_knows_what_the_first_ones_were_told() {
    let mut cluster = Cluster::serving().await;
    let early = Person::register(&cluster, "early").await;
    cluster.kill(0);
    let late = Person::register(&cluster, "late").await;
    cluster.kill(1);
    cluster.until_serves(2).await;
    for name in ["early", "late"] {
        let refused = early.client.create_account(name, PASSWORD).await.unwrap_err();
        assert!(refused.is_refused_for(&Reason::NameTaken), "{refused}");
        early.client.login(name, PASSWORD).await.unwrap();
        let refused = early.client.login(name, "wrong password").await.unwrap_err();
        assert!(refused.is_refused_for(&Reason::WrongCredentials), "{refused}");
    }
    // The sessions from before still work.
    early.send("late", "still here").await;
    assert_eq!(late.hear_texts(1).await, ["still here"]);
}

#[tokio::test]
async fn a_primary_that_hangs_is_replaced_and_says_nothing_of_the_past_when_it_wakes() {
    let talk = talk(Cluster::serving().await, false).await;
    let cluster = &talk.cluster;
    // A client that knows only the old primary.
    let only_old =
        client::Client::new(vec![cluster.address(0)], client::Options { timeout: Duration::from_secs(1) });
    only_old.ready().await.unwrap();
    let token = talk.alice.session.token().to_owned();
    let mut raw = whole_process_tests::raw::chat(cluster, 0).await;

    cluster.pause(0);
    let paused = Instant::now();
    cluster.until_serves(1).await;
    let until_served = paused.elapsed();
    println!("a paused primary was replaced after {} ms", until_served.as_millis());
    assert!(until_served < Duration::from_secs(3), "another served only after {until_served:?}");
    talk.writer.until_more(10).await;

    // These calls wait in the old primary's sockets until it wakes.
    let history = api::v1::ListMessagesRequest { with: "bob".into(), page_size: 1, ..Default::default() };
    let read = tokio::spawn({
        let (mut raw, token) = (raw.clone(), token.clone());
        async move { raw.list_messages(whole_process_tests::raw::signed(history, &token)).await }
    });
    let message = api::v1::SendMessageRequest {
        request_id: whole_process_tests::raw::id(),
        to: "alice".into(),
        to_id: 0,
        text: "to the past".into(),
        min_copies: 0,
    };
    let send = tokio::spawn({
        let token = token.clone();
        async move { raw.send_message(whole_process_tests::raw::signed(message, &token)).await }
    });
    talk.writer.until_more(50).await;
    cluster.resume(0);
    for answer in [read.await.unwrap().map(drop), send.await.unwrap().map(drop)] {
        let status = answer.expect_err("the old primary answers nothing");
        assert_eq!(whole_process_tests::raw::reason(&status), "NOT_PRIMARY", "{status}");
    }
    // It rejoins, and has its place back.
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    let (cluster, _) = talk.end().await;
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_secondary_that_hangs_is_left_out_after_the_confirm_limit_and_comes_back() {
    let talk = talk(Cluster::serving().await, false).await;
    talk.cluster.pause(1);
    talk.cluster.until_in_sync(&[0, 2]).await;
    talk.writer.until_more(50).await;
    talk.cluster.resume(1);
    talk.cluster.until_all_in_sync().await;
    let (cluster, gap) = talk.end().await;
    println!("a paused secondary cost the writer {} ms", gap.as_millis());
    // The limit is 1 s; the rest is for a machine that does many other things.
    assert!(gap < Duration::from_secs(2), "the writer waited {gap:?}");
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_secondary_whose_disk_is_full_leaves_says_why_and_comes_back() {
    let talk = talk(Cluster::serving().await, false).await;
    let cluster = &talk.cluster;
    cluster.limit_files(1, Some(SMALL_DISK_BYTES));
    cluster.until_in_sync(&[0, 2]).await;
    wait::until("it says why", async || {
        cluster.heartbeat(1).await.is_some_and(|said| !said.fault.is_empty())
    })
    .await;
    let fault = cluster.heartbeat(1).await.unwrap().fault;
    println!("replica 1 says: {fault}");
    assert!(fault.contains("replica-1/"), "{fault}");
    talk.writer.until_more(50).await;
    cluster.limit_files(1, None);
    cluster.until_all_in_sync().await;
    let (cluster, _) = talk.end().await;
    assert_eq!(cluster.heartbeat(1).await.unwrap().fault, "");
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_primary_whose_disk_is_full_gives_way_and_nothing_is_lost() {
    let talk = talk(Cluster::serving().await, true).await;
    let cluster = &talk.cluster;
    cluster.limit_files(0, Some(SMALL_DISK_BYTES));
    cluster.until_serves(1).await;
    talk.writer.until_more(50).await;
    assert!(cluster.heartbeat(0).await.unwrap().fault.contains("replica-0/"));
    cluster.limit_files(0, None);
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    let (cluster, _) = talk.end().await;
    cluster.assert_same().await;
}

/// Far more than the database and its write-ahead log need.
const DISK_BYTES: u64 = 128 << 20;

#[tokio::test]
async fn a_disk_without_room_and_one_that_is_read_only_cost_their_replica_its_place_and_clients_no_message() {
    for i in [0, 1] {
        let mut cluster = Cluster::prepared(3, "");
        let Some(disk) = cluster.mount_disk(i, DISK_BYTES) else { return };
        cluster.start_all();
        cluster.until_all_in_sync().await;
        let mut talk = talk(cluster, false).await;
        let others: Vec<u32> = (0..3).filter(|other| usize::try_from(*other).unwrap() != i).collect();
        disk.fill();
        talk.cluster.until_in_sync(&others).await;
        let fault = talk.cluster.heartbeat(i).await.unwrap().fault;
        assert!(fault.contains("full"), "{fault}");
        talk.writer.until_more(50).await;
        disk.free();
        talk.cluster.until_all_in_sync().await;
        assert_eq!(talk.cluster.heartbeat(i).await.unwrap().fault, "");

        talk.cluster.kill(i);
        disk.set_read_only(true);
        talk.cluster.start(i);
        assert!(!talk.cluster.until_ended(i).await.success(), "a replica that can't write does not start");
        assert!(
            talk.cluster.log_text(i).to_lowercase().contains("read-only"),
            "{}",
            talk.cluster.log_text(i)
        );
        talk.writer.until_more(50).await;
        disk.set_read_only(false);
        talk.cluster.start(i);
        talk.cluster.until_all_in_sync().await;
        let (mut cluster, _) = talk.end().await;
        cluster.assert_same().await;
        cluster.kill_all();
    }
}

#[tokio::test]
async fn replicas_end_with_their_supervisor() {
    let mut cluster = Cluster::serving().await;
    for i in 0..3 {
        cluster.orphan(i);
        assert!(cluster.until_ended(i).await.success());
    }
}

/// The disk that is full may be the one with the log. A replica that panics over that would be lost with every line.
#[tokio::test]
async fn a_log_that_cannot_be_written_ends_no_replica() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    for i in 0..3 {
        cluster.kill(i);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        cluster.start_logging_to(i, full);
        cluster.until_all_in_sync().await;
    }
    let before = cluster.status().await;
    // Views change, everyone has something to say, and says it to nobody.
    cluster.kill(0);
    alice.send("alice", "still here").await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    cluster.start_logging_to(0, full);
    cluster.until_all_in_sync().await;
    let after = cluster.status().await;
    for i in 1..3 {
        assert_eq!(
            before["replicas"][i]["pid"], after["replicas"][i]["pid"],
            "replica {i} is the same process"
        );
    }
    cluster.assert_same().await;
}
