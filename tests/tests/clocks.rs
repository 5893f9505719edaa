//! Wall clocks that are wrong, of the machine that the replicas run on, of one replica, and of people's machines.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test")]

use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::faulty_machine::FaultyMachine;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::wait;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

async fn started_with_clock(ahead: i64) -> Option<(Cluster, FaultyMachine)> {
    let mut cluster = Cluster::prepared(3, "");
    let machine = FaultyMachine::under(&mut cluster)?;
    machine.set_clock(None, ahead);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    Some((cluster, machine))
}

/// One write while the clock was days ahead, and every later request of everybody was refused, over restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_a_wrong_clock_leaves_nothing_behind() {
    for wrong in [40 * DAY, 2 * DAY, -2 * DAY] {
        let Some((mut cluster, machine)) = started_with_clock(0).await else { return };
        let alice = Person::register(&cluster, "alice").await;
        let before = alice.session.new_request_id();
        let sent = alice.session.send_with_id(before, "alice", "before", 0).await.unwrap();
        machine.set_clock(None, wrong);
        let stranger = cluster.client();
        stranger.ready().await.unwrap();
        stranger.create_account("meanwhile", PASSWORD).await.unwrap();
        machine.set_clock(None, 0);
        // A client looks at the service's clock every second.
        wait::until("requests are dated by the right clock again", async || {
            stranger.login("meanwhile", PASSWORD).await.is_ok()
        })
        .await;
        wait::until("alice sends on", async || alice.session.send("alice", "after", 0).await.is_ok()).await;
        let retried = alice.session.send_with_id(before, "alice", "before", 0).await.unwrap();
        assert_eq!(retried.id, sent.id, "a retry gets the first answer");
        cluster.end_all().await;
        cluster.start_all();
        cluster.until_all_in_sync().await;
        alice.send("alice", "after a restart").await;
        assert_eq!(alice.hear_texts(3).await, ["before", "after", "after a restart"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_a_wrong_clock_heals_with_the_clock() {
    for wrong in [40 * DAY, -4_000 * DAY] {
        let Some((cluster, machine)) = started_with_clock(wrong).await else { return };
        Person::register(&cluster, "early").await;
        machine.set_clock(None, 0);
        let alice = Person::register(&cluster, "alice").await;
        alice.send("early", "hello").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_clock_is_an_hour_from_two_others_gives_way_and_status_says_so() {
    let Some((cluster, machine)) = started_with_clock(0).await else { return };
    let alice = Person::register(&cluster, "alice").await;
    machine.set_clock(Some(cluster.pid(0)), 2 * HOUR);
    cluster.until_serves(1).await;
    alice.send("alice", "goes on").await;
    wait::until("status says whose clock is wrong", async || {
        cluster.status().await["replicas"][0]["fault"].to_string().contains("clock")
    })
    .await;
    machine.set_clock(Some(cluster.pid(0)), 0);
    cluster.until_all_in_sync().await;
    cluster.until_serves(0).await;
    // For a few seconds no replica leaves; the log and `status` say how far they are apart.
    machine.set_clock(Some(cluster.pid(2)), 5);
    wait::until("the clocks are said to be apart", async || {
        cluster.log_text(0).contains("the clock of replica 2 is") && cluster.log_text(0).contains("ahead")
    })
    .await;
    assert_eq!(cluster.primary().await, 0);
    let status = Shell::new(&cluster).run(&["status"]).stdout;
    assert!(status.contains("clock"), "{status}");
}

/// Requests are dated by the service's clock, so the clock of the client's machine does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_whose_machine_is_days_off_chats_like_anyone() {
    let Some((cluster, machine)) = started_with_clock(0).await else { return };
    let shell = Shell::new(&cluster);
    shell.register("alice");
    for ahead in [2 * DAY, -2 * DAY, -3_650 * DAY] {
        let (_folder, environment) = machine.another_machine(ahead);
        let text = format!("{ahead} seconds ahead");
        let output = shell
            .command(&["send", "--as", "alice", "alice", "--", &text])
            .envs(environment)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ahead} seconds: {stderr}");
    }
    let history = shell.ok(&["history", "--as", "alice", "alice"]);
    assert_eq!(history.matches("seconds ahead").count(), 3, "{history}");
}
