//! A primary that can't serve well leaves the lead to another that can; where none can, it goes on as well as it can.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use client::{Reason, Start};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;
use whole_process_tests::talk::talk;
use whole_process_tests::wait;

#[tokio::test]
async fn a_primary_that_is_asked_to_end_hands_over_first() {
    let mut talk = talk(Cluster::serving().await, true).await;
    // At its first start it may have waited for the others.
    let before = talk.cluster.log_text(1).len();
    talk.cluster.end_cleanly(0).await;
    let log = talk.cluster.log_text(0);
    assert!(log.contains("steps down: it is asked to end, and another can lead"), "{log}");
    talk.cluster.until_serves(1).await;
    let others = talk.cluster.log_text(1).split_off(before);
    assert!(!others.contains("waits"), "nothing was waited for: {others}");
    talk.cluster.start(0);
    talk.cluster.until_all_in_sync().await;
    talk.cluster.until_serves(0).await;
    let (cluster, _) = talk.end().await;
    cluster.assert_same().await;
}

/// Who was in sync stays so: after the end of all, any of their disks may be the one that is lost.
#[tokio::test]
async fn replicas_that_end_with_their_supervisor_hand_nothing_over() {
    let mut cluster = Cluster::serving().await;
    cluster.end_all().await;
    assert!(!cluster.log_text(0).contains("asked to end"), "{}", cluster.log_text(0));
}

#[tokio::test]
async fn a_primary_that_can_accept_no_connection_gives_way_and_comes_back() {
    let talk = talk(Cluster::serving().await, false).await;
    let cluster = &talk.cluster;
    cluster.limit_open_files(0, true);
    wait::until("another serves those who knock at its door in vain", async || {
        assert!(cluster.heartbeat(0).await.is_none(), "it can open no file for another connection");
        cluster.heartbeat(1).await.is_some_and(|said| said.serving)
    })
    .await;
    assert!(cluster.log_text(0).contains("it can't accept connections, and another can lead"));
    talk.writer.until_more(50).await;
    cluster.limit_open_files(0, false);
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    let (cluster, _) = talk.end().await;
    cluster.assert_same().await;
}

/// Far more than the database and its write-ahead log need.
const DISK_BYTES: u64 = 96 << 20;

#[tokio::test]
async fn where_every_disk_is_full_reading_works_and_writing_is_refused_with_the_reason() {
    let mut cluster = Cluster::prepared(3, "");
    let mut disks = Vec::new();
    for i in 0..3 {
        let Some(disk) = cluster.mount_disk(i, DISK_BYTES) else { return };
        disks.push(disk);
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "before").await;
    for disk in &disks {
        disk.fill();
    }
    wait::until("all have noticed", async || {
        for i in 0..3 {
            if !cluster.heartbeat(i).await.is_some_and(|said| said.disk_full) {
                return false;
            }
        }
        true
    })
    .await;
    for _ in 0..20 {
        let refused = alice.session.send("alice", "too much", 0).await.unwrap_err();
        assert!(refused.is_refused_for(&Reason::DiskFull), "{refused}");
        assert!(refused.to_string().contains("the disk is nearly full; make room"), "{refused}");
    }
    assert_eq!(alice.session.conversation("alice", None, 10).await.unwrap().messages.len(), 1);
    assert_eq!(alice.hear(1, Start::default()).await[0].text, "before");
    let status = cluster.status().await;
    let state = status["state"].as_str().unwrap();
    assert!(state.starts_with("reading works, writing does not: the disk is nearly full"), "{state}");
    let fault = status["replicas"][2]["fault"].as_str().unwrap();
    assert!(fault.contains("replica-2"), "it says which disk: {fault}");
    for disk in &disks {
        disk.free();
    }
    cluster.until_all_in_sync().await;
    alice.send("alice", "after").await;
    cluster.kill_all();
}

/// One account fills the disk, with one message after the other or with many at a time: it is refused before the database fails.
#[tokio::test]
async fn a_flood_that_fills_the_disk_is_refused_before_the_database_fails() {
    for at_once in [1, 300] {
        let mut cluster = Cluster::prepared(1, "");
        let Some(disk) = cluster.mount_disk(0, 40 << 20) else { return };
        cluster.start_all();
        cluster.until_all_in_sync().await;
        let alice = Person::register(&cluster, "alice").await;
        let outbox = alice.session.outbox();
        let text = "x".repeat(16_000);
        let refused = 'flood: loop {
            let mut tickets = Vec::new();
            for _ in 0..at_once {
                tickets.push(outbox.send("alice", &text, 0).await.unwrap());
            }
            for ticket in tickets {
                let answered = tokio::time::timeout(wait::GENEROUS, ticket.answered()).await.unwrap();
                if let Err(refused) = answered {
                    break 'flood refused;
                }
            }
        };
        assert!(refused.is_refused_for(&Reason::DiskFull), "{at_once} at once: {refused}");
        let log = cluster.log_text(0);
        assert!(!log.contains("the store failed"), "{at_once} at once: {log}");
        assert!(!alice.session.conversation("alice", None, 10).await.unwrap().messages.is_empty());
        drop(outbox);
        cluster.kill_all();
        drop(disk);
    }
}
