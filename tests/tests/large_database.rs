//! A large database: a start reads its ends, and the rest is read while it serves.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::Millis;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::filling::{fill, text_of};
use whole_process_tests::people::Person;

const PAGE: usize = 4096;

/// Three replicas that have ended, with more than 20 MB each.
async fn filled() -> Cluster {
    let mut cluster = Cluster::serving().await;
    cluster.end_all().await;
    let now = Millis::of(SystemTime::now());
    let ends: Vec<_> = (0..3).map(|i| fill(&cluster.database(i), now, 100, 100_000)).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    cluster
}

fn bytes(cluster: &Cluster, i: usize) -> u64 {
    std::fs::metadata(cluster.database(i)).unwrap().len()
}

/// How much the replica's process has read, from the disk or from memory.
fn bytes_read(cluster: &Cluster, i: usize) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", cluster.pid(i))).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_start_reads_a_part_of_a_large_database_and_all_of_it_after_a_power_failure() {
    let mut cluster = filled().await;
    cluster.start_all();
    cluster.until_serves(0).await;
    let (read, whole) = (bytes_read(&cluster, 0), bytes(&cluster, 0));
    assert!(read < whole, "{read} bytes of {whole}");
    cluster.until_all_in_sync().await;
    cluster.lose_power();
    cluster.start_all();
    cluster.until_serves(0).await;
    let (read, whole) = (bytes_read(&cluster, 0), bytes(&cluster, 0));
    assert!(read > whole, "{read} bytes of {whole}");
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
