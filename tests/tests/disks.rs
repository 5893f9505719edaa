//! Disks that fail in the ways in which disks fail: syncs that do not come through, power that goes, files that vanish.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test")]

use std::path::Path;
use std::time::Duration;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::faulty_machine::FaultyMachine;
use whole_process_tests::people::Person;
use whole_process_tests::wait;

/// Long enough for a replica that would serve to do so, several times.
const NOBODY_FOR: Duration = Duration::from_secs(4);

async fn with_faulty_machines() -> Option<(Cluster, FaultyMachine)> {
    let mut cluster = Cluster::prepared(3, "");
    let disks = FaultyMachine::under(&mut cluster)?;
    cluster.start_all();
    cluster.until_all_in_sync().await;
    Some((cluster, disks))
}

async fn send(cluster: &Cluster, person: &Person, text: &str, within: Duration) -> bool {
    let session = cluster.client_within(within).session(person.session.token());
    session.send("bob", text, 0).await.is_ok()
}

/// With every sync failing on all three, messages were acknowledged as kept on 3 of 3.
#[tokio::test(flavor = "multi_thread")]
async fn while_every_sync_fails_nothing_is_acknowledged_and_what_was_survives_the_loss_of_power() {
    let Some((mut cluster, disks)) = with_faulty_machines().await else { return };
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    alice.send("bob", "before").await;
    disks.fail_syncs(true);
    for round in 0..3 {
        let text = format!("while all fails {round}");
        assert!(!send(&cluster, &alice, &text, NOBODY_FOR).await, "it is on no disk");
    }
    // One that is started again reads the same pages back, and must not take them for durable either.
    for i in 0..3 {
        cluster.kill(i);
    }
    disks.fail_syncs(false);
    disks.lose_power();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    alice.send("bob", "after").await;
    let heard = bob.hear_texts(2).await;
    assert_eq!((heard[0].as_str(), heard[1].as_str()), ("before", "after"));
    cluster.assert_same().await;
}

/// A replica whose store has failed writes everything anew before it counts: then a power failure takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_syncs_failed_for_a_while_comes_back_with_all_of_it_on_its_disk() {
    let Some((mut cluster, disks)) = with_faulty_machines().await else { return };
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    for round in 0..3 {
        disks.fail_syncs(true);
        assert!(!send(&cluster, &alice, "not kept for certain", Duration::from_secs(2)).await);
        disks.fail_syncs(false);
        cluster.until_all_in_sync().await;
        alice.send("bob", &format!("kept {round}")).await;
    }
    cluster.kill_all();
    disks.lose_power();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
    alice.send("bob", "the last").await;
    let heard = wait_for(&bob, "the last").await;
    let kept: Vec<_> = heard.iter().filter(|text| text.starts_with("kept")).collect();
    assert_eq!(kept, ["kept 0", "kept 1", "kept 2"]);
}

async fn wait_for(person: &Person, last: &str) -> Vec<String> {
    let mut count = 4;
    loop {
        let heard = person.hear_texts(count).await;
        if heard.last().is_some_and(|text| text == last) {
            return heard;
        }
        count += 1;
    }
}

/// What happens to the files of replica 1 while it runs.
type Mischief = fn(&Path);

fn remove(folder: &Path, name: &str) {
    std::fs::remove_file(folder.join(name)).unwrap();
}

const MISCHIEF: [(&str, Mischief); 7] = [
    ("its folder is removed", |folder| std::fs::remove_dir_all(folder).unwrap()),
    ("its database is removed", |folder| remove(folder, "chat.db")),
    ("its write-ahead log is removed", |folder| remove(folder, "chat.db-wal")),
    ("its index of that log is removed", |folder| remove(folder, "chat.db-shm")),
    ("its log is removed", |folder| std::fs::remove_dir_all(folder.join("log")).unwrap()),
    ("another folder takes the place of its log", |folder| {
        std::fs::rename(folder.join("log"), folder.join("aside")).unwrap();
        std::fs::create_dir(folder.join("log")).unwrap();
    }),
    ("another file takes the place of its database", |folder| {
        std::fs::copy(folder.join("chat.db"), folder.join("copy")).unwrap();
        std::fs::rename(folder.join("copy"), folder.join("chat.db")).unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_files_are_gone_says_so_leaves_and_begins_anew() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut sent = Vec::new();
    for (round, (what, mischief)) in MISCHIEF.into_iter().enumerate() {
        let victim = round % 2;
        mischief(&cluster.replica_folder(victim));
        let status = cluster.until_ended(victim).await;
        assert!(!status.success(), "{what}: {status}");
        let said = cluster.log_text(victim);
        assert!(said.contains("was removed or replaced while"), "{what}: {said}");
        let others: Vec<u32> = (0..3).filter(|i| *i != u32::try_from(victim).unwrap()).collect();
        cluster.until_in_sync(&others).await;
        alice.send("alice", what).await;
        sent.push(what);
        cluster.start(victim);
        cluster.until_all_in_sync().await;
        assert_eq!(alice.hear_texts(sent.len()).await, sent, "{what}");
        cluster.assert_same().await;
    }
}

/// The files of all three are gone: nobody serves, whoever holds the last copy keeps it open and says why, and the next start
/// begins no empty service, because the register knows of another.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_files_of_all_are_gone_nothing_is_acknowledged_and_no_empty_service_begins() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    Person::register(&cluster, "bob").await;
    for i in 0..3 {
        std::fs::remove_dir_all(cluster.replica_folder(i)).unwrap();
    }
    wait::until("nobody serves and one says why", async || {
        let mut said = Vec::new();
        for i in 0..3 {
            said.extend(cluster.heartbeat(i).await);
        }
        said.iter().all(|heartbeat| !heartbeat.serving)
            && said.iter().any(|heartbeat| heartbeat.fault.contains("was removed"))
    })
    .await;
    assert!(!send(&cluster, &alice, "on no disk", NOBODY_FOR).await);
    cluster.end_all().await;
    cluster.start_all();
    wait::until("all are back", async || {
        let mut back = 0;
        for i in 0..3 {
            back += usize::from(
                cluster.heartbeat(i).await.is_some_and(|heartbeat| !heartbeat.in_sync.is_empty()),
            );
        }
        back == 3
    })
    .await;
    assert!(!send(&cluster, &alice, "to an empty service", NOBODY_FOR).await);
}

/// A write-ahead log that was removed from all three is still open: what it holds is worked into the database in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_one_whose_write_ahead_log_was_removed_loses_nothing() {
    let mut cluster = Cluster::serving_with(1, "").await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "only there").await;
    std::fs::remove_file(cluster.replica_folder(0).join("chat.db-wal")).unwrap();
    wait::until("it has said so", async || cluster.log_text(0).contains("was removed or replaced")).await;
    wait::until("it is repaired", async || cluster.log_text(0).contains("the store is repaired")).await;
    alice.send("alice", "after").await;
    cluster.kill(0);
    cluster.start(0);
    cluster.until_serves(0).await;
    assert_eq!(alice.hear_texts(2).await, ["only there", "after"]);
}

/// What the write-ahead log takes of the disk is given back when there is nothing to do, and at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_ahead_log_is_small_when_its_replica_is_idle_and_when_it_has_ended() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let log_bytes = |cluster: &Cluster, i: usize| {
        std::fs::metadata(cluster.replica_folder(i).join("chat.db-wal")).map_or(0, |log| log.len())
    };
    let outbox = alice.session.outbox();
    let mut largest = 0;
    for _ in 0..300 {
        outbox.send("alice", &"x".repeat(16_000), 0).await.unwrap().answered().await.unwrap();
        largest = largest.max(log_bytes(&cluster, 1));
    }
    assert!(largest > 1 << 20, "it was large while much was written: {largest}");
    wait::until("all are small", async || (0..3).all(|i| log_bytes(&cluster, i) <= 1 << 20)).await;
    alice.send("alice", "the last one").await;
    cluster.end_cleanly(2).await;
    assert_eq!(log_bytes(&cluster, 2), 0);
    cluster.end_all().await;
    assert_eq!([0, 1].map(|i| log_bytes(&cluster, i)), [0, 0]);
}

/// Its rows differ, so that an entry can't be applied: after a few failures at the same op it takes a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_whose_rows_differ_takes_a_snapshot_at_last() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    // A name that only this replica thinks is taken.
    cluster
        .sql(2)
        .execute(
            "INSERT INTO accounts (id, name, key, password, created_at) VALUES (1, 'carol', 'carol', '', 0)",
            [],
        )
        .unwrap();
    Person::register(&cluster, "carol").await;
    wait::until("replica 2 has taken a snapshot", async || {
        alice.send("alice", "go on").await;
        cluster.log_text(2).contains("has taken a snapshot")
    })
    .await;
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}
