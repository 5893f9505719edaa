//! The examples of the client library, run as a reader of them would, while the primary is killed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::people::{PASSWORD, Person};

fn example(name: &str, cluster: &Cluster, arguments: &[&str]) -> Child {
    let program = program().parent().unwrap().join("examples").join(name);
    assert!(
        program.exists(),
        "{} is not built: cargo build --release -p client --examples",
        program.display()
    );
    Command::new(program)
        .arg(cluster.address(2).to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_one_example_sends_the_other_receives_once_and_in_order_over_a_fail_over() {
    let mut cluster = Cluster::serving().await;
    for name in ["alice", "bob"] {
        Person::register(&cluster, name).await;
    }
    let mut sending = example("send", &cluster, &["alice", PASSWORD, "bob"]);
    let mut listening = example("listen", &cluster, &["bob", PASSWORD, "200"]);
    let mut lines = sending.stdin.take().unwrap();
    for n in 0..100 {
        writeln!(lines, "line {n}").unwrap();
    }
    let mut received = BufReader::new(listening.stdout.take().unwrap()).lines();
    assert_eq!(received.next().unwrap().unwrap(), "alice: line 0");
    cluster.kill(0);
    for n in 100..200 {
        writeln!(lines, "line {n}").unwrap();
    }
    drop(lines);
    for n in 1..200 {
        assert_eq!(received.next().unwrap().unwrap(), format!("alice: line {n}"));
    }
    assert!(sending.wait().unwrap().success() && listening.wait().unwrap().success());
}
