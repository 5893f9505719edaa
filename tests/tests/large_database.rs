//! A large database: a start reads its ends, and the rest is read while it serves.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::Millis;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::filling::{fill, text_of};
use whole_process_tests::people::Person;
use whole_process_tests::wait;

const PAGE: usize = 4096;

/// Three replicas that have ended, with more than 16 MiB each.
async fn filled() -> Cluster {
    let mut cluster = Cluster::serving().await;
    cluster.end_all().await;
    let now = Millis::of(SystemTime::now());
    let ends: Vec<_> = (0..3).map(|i| fill(&cluster.database(i), now, 100, 80_000)).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    cluster
}

const BESIDE_SERVING: &str = "looks at the rest of the database while it serves";

#[tokio::test]
async fn a_start_leaves_most_of_a_large_database_for_later_but_not_after_a_power_failure() {
    let mut cluster = filled().await;
    cluster.start_all();
    cluster.until_all_in_sync().await;
    for i in 0..3 {
        assert!(cluster.log_text(i).contains(BESIDE_SERVING), "{}", cluster.log_text(i));
        wait::until("all is read", async || {
            cluster.log_text(i).contains("every row and entry of the database was read")
        })
        .await;
    }
    let told: Vec<usize> = (0..3).map(|i| cluster.log_text(i).len()).collect();
    cluster.lose_power();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    for (i, told) in told.into_iter().enumerate() {
        assert!(!cluster.log_text(i)[told..].contains(BESIDE_SERVING), "{}", cluster.log_text(i));
    }
}

#[tokio::test]
async fn damage_that_a_start_has_not_read_is_found_and_the_replica_begins_anew_while_another_is_in_sync() {
    let mut cluster = filled().await;
    let content = std::fs::read(cluster.database(0)).unwrap();
    let text = text_of(100);
    let at = content.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    let file = std::fs::File::options().write(true).open(cluster.database(0)).unwrap();
    file.write_all_at(&[0x5a; 8], (at / PAGE * PAGE) as u64).unwrap();
    cluster.start_all();
    assert!(!cluster.until_ended(0).await.success());
    assert!(cluster.log_text(0).contains("is damaged"), "{}", cluster.log_text(0));
    cluster.until_serves(1).await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "meanwhile").await;
    cluster.start(0);
    cluster.until_all_in_sync().await;
    assert!(cluster.log_text(0).contains("was damaged"), "{}", cluster.log_text(0));
    cluster.until_all_applied().await;
    cluster.assert_same().await;
}
