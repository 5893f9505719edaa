//! How long a writer waits when a replica is killed. Alone in its test program, so that nothing else takes the cores.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use std::time::Duration;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{Listener, Person, Writer, longest_gap};

const RUNS: usize = 5;

/// Kills one replica while alice writes and bob listens, and gives the writer's longest gap.
async fn gap_after_killing(victim: usize) -> Duration {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let listener = Listener::open(&bob).await;
    let writer = Writer::one_by_one(&alice, "bob");
    writer.until_more(200).await;
    cluster.kill(victim);
    writer.until_more(200).await;
    let acknowledged = writer.stop().await;
    listener.assert_heard_exactly(&acknowledged).await;
    let gap = longest_gap(&acknowledged);
    if gap > Duration::from_millis(100) {
        // Rare and worth a look, though the median is what is promised.
        (0..3).for_each(|i| println!("--- replica {i}:\n{}", cluster.log_text(i)));
    }
    gap
}

async fn median_gap(victim: usize, what: &str) -> Duration {
    let mut gaps = Vec::new();
    for _ in 0..RUNS {
        gaps.push(gap_after_killing(victim).await);
    }
    gaps.sort();
    let millis: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    println!("longest gap after the {what} was killed, {RUNS} runs, in ms: {millis:?}");
    gaps[RUNS / 2]
}

#[tokio::test]
async fn a_killed_replica_costs_a_writer_moments() {
    let primary = median_gap(0, "primary").await;
    assert!(primary < Duration::from_millis(150), "the median gap after the primary's death is {primary:?}");
    let secondary = median_gap(1, "secondary").await;
    assert!(
        secondary < Duration::from_millis(100),
        "the median gap after a secondary's death is {secondary:?}"
    );
}
