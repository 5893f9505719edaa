//! Replicas come back: behind, wiped, stale, damaged, alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use client::{MessageId, Reason, Start};
use std::process::Command;
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::people::{Listener, Person, Writer};
use whole_process_tests::wait;

#[tokio::test]
async fn a_killed_primary_catches_up_from_the_log_while_writes_go_on_and_leads_again() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let listener = Listener::open(&bob).await;
    let writer = Writer::pipelined(&alice, "bob");
    writer.until_more(200).await;
    cluster.kill(0);
    writer.until_more(2000).await;
    cluster.start(0);
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    writer.until_more(200).await;
    let acknowledged = writer.stop().await;
    listener.assert_heard_exactly(&acknowledged).await;
    assert!(!cluster.log_text(0).contains("has taken a snapshot"), "the log reached back far enough");
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_replica_that_the_log_no_longer_reaches_takes_a_snapshot_while_writes_go_on() {
    let mut cluster = Cluster::serving_with(3, "log_entries_max = 50").await;
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let listener = Listener::open(&bob).await;
    let writer = Writer::pipelined(&alice, "bob");
    writer.until_more(100).await;
    cluster.kill(1);
    writer.until_more(3000).await;
    alice.send_more_batches_than_are_kept("alice").await;
    cluster.start(1);
    cluster.until_all_in_sync().await;
    let acknowledged = writer.stop().await;
    listener.assert_heard_exactly(&acknowledged).await;
    assert!(cluster.log_text(1).contains("has taken a snapshot"));
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_wiped_replica_is_a_newcomer_whatever_its_index() {
    let mut cluster = Cluster::serving_with(3, "log_entries_max = 10").await;
    let alice = Person::register(&cluster, "alice").await;
    for wiped in [0, 2] {
        let writer = Writer::pipelined(&alice, "alice");
        writer.until_more(1500).await;
        alice.send_more_batches_than_are_kept("alice").await;
        cluster.kill(wiped);
        cluster.wipe(wiped);
        cluster.start(wiped);
        cluster.until_all_in_sync().await;
        cluster.until_serves(0).await;
        writer.stop().await;
        cluster.assert_same().await;
    }
    assert!(cluster.log_text(0).contains("has taken a snapshot"));
}

#[tokio::test]
async fn whatever_the_order_in_which_all_come_back_everything_acknowledged_is_there() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut expected = Vec::new();
    for (round, order) in orders.into_iter().enumerate() {
        // One replica after the other falls out; only the last one standing has everything.
        for (step, victim) in order.iter().enumerate() {
            let text = format!("round {round} step {step}");
            alice.send("alice", &text).await;
            expected.push(text);
            cluster.kill(*victim);
        }
        // The stale ones first: they wait, and do not serve.
        cluster.start(order[0]);
        cluster.start(order[1]);
        wait::until("both stale ones answer", async || {
            cluster.heartbeat(order[0]).await.is_some() && cluster.heartbeat(order[1]).await.is_some()
        })
        .await;
        let stale = cluster.client_within(std::time::Duration::from_millis(1500));
        assert!(stale.ready().await.is_err(), "order {order:?}: a stale replica serves");
        cluster.start(order[2]);
        cluster.until_all_in_sync().await;
        cluster.until_serves(0).await;
        let heard = alice.hear(expected.len(), Start { after: Some(MessageId(0)), ..Start::default() }).await;
        assert_eq!(
            heard.into_iter().map(|message| message.text).collect::<Vec<_>>(),
            expected,
            "order {order:?}"
        );
    }
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_stale_or_wiped_replica_never_serves_alone_and_recover_says_what_it_costs() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let kept = alice.send("alice", "kept").await;
    let history = {
        let mut listening = alice.session.listen(Start::default());
        loop {
            if let client::Heard::Listening { history } = listening.next().await.unwrap().unwrap() {
                break history;
            }
        }
    };
    cluster.kill(0);
    cluster.until_in_sync(&[1, 2]).await;
    let lost = alice.send("alice", "lost").await;
    cluster.kill_all();
    // The two that were in sync are gone for good.
    cluster.wipe(1);
    cluster.wipe(2);
    cluster.start_all();
    wait::until("all answer", async || {
        cluster.heartbeat(0).await.is_some()
            && cluster.heartbeat(1).await.is_some()
            && cluster.heartbeat(2).await.is_some()
    })
    .await;
    let nobody = cluster.client_within(std::time::Duration::from_secs(3));
    assert!(nobody.ready().await.is_err(), "somebody serves who lacks an acknowledged message");

    let data = cluster.data().to_owned();
    let recover = |accept: bool| {
        let mut command = Command::new(program());
        command.args(["recover", "--data"]).arg(&data);
        if accept {
            command.arg("--accept-data-loss");
        }
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, said) = recover(true);
    assert!(code == Some(1) && said.contains("in use"), "it must not run beside the replicas: {said}");
    cluster.kill_all();
    let (code, said) = recover(false);
    assert!(code == Some(1) && said.contains("not in sync") && said.contains("are lost"), "{said}");
    let recover = Command::new(program())
        .args(["recover", "--accept-data-loss", "--data"])
        .arg(cluster.data())
        .output();
    let recover = recover.unwrap();
    assert!(recover.status.success(), "{}", String::from_utf8_lossy(&recover.stderr));

    cluster.start_all();
    cluster.until_all_in_sync().await;
    let alice = alice.again().await;
    let start = |after, history: &[u8]| Start {
        after: Some(MessageId(after)),
        history: history.to_vec(),
        ..Start::default()
    };
    let heard = alice.hear(1, start(0, &[])).await;
    assert_eq!(heard[0].id, kept);
    // A cursor of the old history is answered with a clear refusal, never with silence.
    for stale in [start(kept, &history), start(lost + 1000, &[])] {
        let mut listening = alice.session.listen(stale);
        let refused = listening.message().await.unwrap().unwrap_err();
        assert!(refused.is_refused_for(&Reason::HistoryReplaced), "{refused}");
    }
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_lost_view_register_is_not_taken_for_a_first_start() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "hello").await;
    cluster.kill_all();
    std::fs::remove_dir_all(cluster.data().join("register")).unwrap();
    cluster.start_all();
    wait::until("they say so", async || {
        let said = [cluster.heartbeat(0).await, cluster.heartbeat(1).await, cluster.heartbeat(2).await];
        said.iter().flatten().filter(|said| said.fault.contains("register was lost")).count() == 3
    })
    .await;
    cluster.kill_all();
    let recovered = Command::new(program())
        .args(["recover", "--accept-data-loss", "--data"])
        .arg(cluster.data())
        .output();
    assert!(recovered.unwrap().status.success());
    cluster.start_all();
    cluster.until_all_in_sync().await;
    assert_eq!(alice.again().await.hear_texts(1).await, ["hello"]);
}

#[tokio::test]
async fn a_damaged_database_is_moved_aside_and_brought_level() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "hello").await;
    cluster.kill(1);
    // All of it: from a whole write-ahead log SQLite would bring the pages back.
    std::fs::remove_file(cluster.replica_folder(1).join("chat.db-wal")).unwrap();
    std::fs::write(cluster.database(1), b"this was a database once".repeat(1000)).unwrap();
    cluster.start(1);
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
    let aside = std::fs::read_dir(cluster.replica_folder(1)).unwrap();
    let names: Vec<String> = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("chat.db.damaged-")), "{names:?}");
}
