//! The power fails: all processes end at once, the machine is started again, and a disk may have lost what it had confirmed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use store::LOG_FOLDER;
use whole_process_tests::cluster::{Cluster, free_ports, program};
use whole_process_tests::people::{Person, Writer};
use whole_process_tests::wait;

/// Waits until a replica says that it waits for these, after a power failure.
async fn until_waits_for(cluster: &Cluster, i: usize, whom: &str) {
    wait::until(&format!("replica {i} waits for {whom}"), async || {
        let said = cluster.heartbeat(i).await;
        said.is_some_and(|said| {
            assert!(!said.serving, "replica {i} serves, and was to wait for {whom}");
            said.fault.contains("after a power failure")
                && said.fault.contains(&format!("what {whom} still has"))
        })
    })
    .await;
}

/// Copies the database of a replica that is down and its log, with all their files.
fn copy_database(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["chat.db", "chat.db-wal", "chat.db-shm"] {
        drop(std::fs::remove_file(to.join(name)));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    drop(std::fs::remove_dir_all(to.join(LOG_FOLDER)));
    std::fs::create_dir(to.join(LOG_FOLDER)).unwrap();
    for file in std::fs::read_dir(from.join(LOG_FOLDER)).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(file.path(), to.join(LOG_FOLDER).join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_lost_its_newest_messages_waits_for_those_that_have_them() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let before = Writer::pipelined(&alice, "alice");
    before.until_more(50).await;
    before.stop().await;
    cluster.kill_all();
    let older = cluster.data().join("older");
    copy_database(&cluster.replica_folder(0), &older);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let writer = Writer::pipelined(&alice, "alice");
    writer.until_more(50).await;
    let acknowledged = writer.stop().await;

    cluster.lose_power();
    copy_database(&older, &cluster.replica_folder(0));
    cluster.start(0);
    until_waits_for(&cluster, 0, "replica 1 and replica 2").await;
    let status = Command::new(program()).args(["status", "--servers", &cluster.servers()]).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("what replica 1 and replica 2 still has"), "{status}");
    cluster.start(1);
    until_waits_for(&cluster, 1, "replica 2").await;
    cluster.start(2);
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    let again = Writer::pipelined(&alice, "alice");
    again.until_more(10).await;
    again.stop().await;
    cluster.assert_same().await;
    let messages: i64 =
        cluster.sql(0).query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert!(usize::try_from(messages).unwrap() >= 50 + acknowledged.len(), "{messages} messages are left");
}

#[tokio::test]
async fn a_replica_that_the_failure_broke_keeps_no_other_replica_waiting() {
    let mut cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    cluster.lose_power();
    cluster.wipe(2);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster.lose_power();
    let database = File::options().write(true).open(cluster.database(1)).unwrap();
    database.set_len(100).unwrap();
    drop(std::fs::remove_file(cluster.database(1).with_extension("db-wal")));
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}

#[tokio::test]
async fn without_a_power_failure_any_of_them_goes_on_at_once() {
    let mut cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    cluster.kill_all();
    cluster.start(1);
    cluster.until_serves(1).await;
    cluster.start_all();
    cluster.until_all_in_sync().await;
    for i in 0..3 {
        cluster.end_cleanly(i).await;
    }
    cluster.begin_boot();
    cluster.start(2);
    cluster.until_serves(2).await;
}

#[tokio::test]
async fn a_restart_before_the_wait_is_over_does_not_end_it_and_after_it_counts_as_whole() {
    let mut cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    cluster.lose_power();
    cluster.start(0);
    until_waits_for(&cluster, 0, "replica 1 and replica 2").await;
    cluster.end_cleanly(0).await;
    cluster.start(0);
    until_waits_for(&cluster, 0, "replica 1 and replica 2").await;
    cluster.kill(0);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    // Written down by each of them, now that all have shown what they have: any two may be killed again.
    let runs = |i: usize| {
        let boot = std::fs::read_to_string(cluster.boot_id_file()).unwrap();
        std::fs::read_to_string(cluster.replica_folder(i).join("boot")).unwrap().contains(&boot)
    };
    wait::until("all are known to be whole", async || (0..3).all(runs)).await;
    cluster.kill_all();
    cluster.start(2);
    cluster.until_serves(2).await;
}

#[tokio::test]
async fn recover_is_the_way_out() {
    let mut cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    cluster.lose_power();
    for i in [0, 1] {
        cluster.start(i);
    }
    until_waits_for(&cluster, 1, "replica 2").await;
    cluster.kill_all();
    let recovered = Command::new(program())
        .args(["recover", "--accept-data-loss", "--replica", "0", "--data"])
        .arg(cluster.data())
        .output()
        .unwrap();
    assert!(recovered.status.success(), "{recovered:?}");
    cluster.start(0);
    cluster.until_serves(0).await;
}

#[tokio::test]
async fn up_names_whom_it_waits_for() {
    let mut cluster = Cluster::serving().await;
    Person::register(&cluster, "alice").await;
    cluster.lose_power();
    // Whoever holds its lock keeps replica 2 from starting.
    let held = File::options().write(true).open(cluster.replica_folder(2).join("lock")).unwrap();
    held.lock().unwrap();
    let mut up = Command::new(program())
        .args(["up", "--port", &free_ports(8).to_string(), "--data"])
        .arg(cluster.data())
        .env("TRIALOGUE_BOOT_ID_FILE", cluster.boot_id_file())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(up.stderr.take().unwrap()).lines();
    let line = said.map(Result::unwrap).find(|line| line.contains("nobody serves yet")).expect("it says so");
    assert!(
        line.contains("after a power failure it waits, before it leads, for what replica 2 still has"),
        "{line}"
    );
    up.kill().unwrap();
    up.wait().unwrap();
}

#[tokio::test]
async fn a_lock_that_can_not_be_tried_is_told_once_and_the_lease_is_waited_out() {
    let mut cluster = Cluster::serving().await;
    let lock = cluster.replica_folder(0).join("lock");
    std::fs::remove_file(&lock).unwrap();
    cluster.kill(0);
    cluster.until_serves(1).await;
    let told = |i: usize| cluster.log_text(i).matches("can't be tried").count();
    assert_eq!(told(1), 1, "{}", cluster.log_text(1));
}

#[tokio::test]
async fn the_lock_of_a_folder_that_was_replaced_is_no_proof_of_death() {
    let mut cluster = Cluster::serving().await;
    let folder = cluster.replica_folder(0);
    let aside = cluster.data().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(aside.join("lock"), folder.join("lock")).unwrap();
    let killed = std::time::Instant::now();
    cluster.kill(0);
    cluster.until_serves(1).await;
    // A secondary that has just answered the last beat is silent for a whole grace, which began at most one beat earlier.
    assert!(killed.elapsed().as_millis() >= 1000, "replica 1 served after {:?}", killed.elapsed());
}
