//! The example client in Python, made from the proto and docs/api.md alone: two people use it while replicas die and hang.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::PASSWORD;
use whole_process_tests::skipped::skipped;
use whole_process_tests::wait;
use whole_process_tests::workspace::root;

/// The Python that `tests/install` has given what the example needs.
fn python() -> Option<PathBuf> {
    let python = root().join("target/python/bin/python");
    if python.exists() {
        return Some(python);
    }
    skipped("there is no Python with grpcio");
    None
}

/// Someone with the example client, and the folder where it keeps what it must not lose.
struct Person<'a> {
    python: &'a Path,
    servers: String,
    name: &'a str,
    state: &'a Path,
}

impl Person<'_> {
    fn run(&self, command: &str, arguments: &[&str]) -> Child {
        Command::new(self.python)
            .arg(root().join("examples/python/chat.py"))
            .args(["--servers", &self.servers, "--state"])
            .arg(self.state)
            .args([command, self.name])
            .args(arguments)
            .env("TRIALOGUE_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn register(&self) {
        assert!(self.run("register", &[]).wait_with_output().unwrap().status.success());
    }

    /// Begins to send these lines.
    fn send(&self, to: &str, lines: &[String]) -> Child {
        let mut child = self.run("send", &[to]);
        child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        child
    }

    /// The texts of `count` messages, in the order in which they are heard.
    fn hears(&self, count: usize) -> Vec<String> {
        texts(self.run("listen", &["--count", &count.to_string()]))
    }
}

/// What the program has printed, once it has ended well.
fn texts(child: Child) -> Vec<String> {
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let lines = String::from_utf8(done.stdout).unwrap();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    lines.lines().map(text).collect()
}

fn people<'a>(cluster: &Cluster, python: &'a Path, state: &'a Path) -> [Person<'a>; 2] {
    let person = |name| Person { python, servers: cluster.servers(), name, state };
    let people = ["alice", "bob"].map(person);
    people.iter().for_each(Person::register);
    people
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_while_the_primary_dies_and_the_next_one_hangs() {
    let Some(python) = python() else { return };
    let state = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::serving().await;
    let [alice, bob] = people(&cluster, &python, state.path());
    let lines = numbered(600);
    let heard = {
        let count = lines.len().to_string();
        let listening = bob.run("listen", &["--count", &count]);
        tokio::task::spawn_blocking(move || texts(listening))
    };
    let sending = alice.send("bob", &lines);
    let sent = async |more: u64| {
        let before = cluster_messages(&cluster).await;
        wait::until("more is sent", async || cluster_messages(&cluster).await >= before + more).await;
    };
    sent(50).await;
    cluster.kill(0);
    cluster.until_serves(1).await;
    wait::until("more is sent", async || cluster_messages(&cluster).await >= 50).await;
    cluster.pause(1);
    cluster.until_serves(2).await;
    let sent = tokio::task::spawn_blocking(move || texts(sending)).await.unwrap();
    assert_eq!(sent, lines, "each is answered, in order");
    assert_eq!(heard.await.unwrap(), lines, "each is heard once, in order");
    cluster.resume(1);
}

/// What the replica that serves has acknowledged since it was started.
async fn cluster_messages(cluster: &Cluster) -> u64 {
    let mut messages = 0;
    for i in 0..cluster.replicas() {
        if let Some(said) = cluster.heartbeat(i).await
            && said.serving
        {
            messages = said.messages;
        }
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_dies_in_the_middle_goes_on_where_it_was() {
    let Some(python) = python() else { return };
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::serving().await;
    let [alice, bob] = people(&cluster, &python, state.path());
    let lines = numbered(300);
    let mut sending = alice.send("bob", &lines);
    wait::until("some are sent", async || cluster_messages(&cluster).await >= 20).await;
    sending.kill().unwrap();
    sending.wait().unwrap();
    let mut left = alice.send("bob", &["the end".to_owned()]);
    assert!(left.wait().unwrap().success());
    // What was read from standard input and not yet kept is gone with the program; what was kept is sent once.
    let count = usize::try_from(cluster_messages(&cluster).await).unwrap();
    let heard = bob.hears(count);
    let (last, before) = heard.split_last().unwrap();
    assert_eq!(last, "the end");
    assert_eq!(before, &lines[..before.len()]);
    // Where it ended, the next one goes on.
    alice.send("bob", &["one more".to_owned()]).wait().unwrap();
    assert_eq!(bob.hears(1), ["one more"]);
}

/// Each of an account's files is its own, whatever its programs do at the same time; and its outbox has one sender.
#[tokio::test(flavor = "multi_thread")]
async fn one_account_sends_and_listens_at_once() {
    let Some(python) = python() else { return };
    let state = tempfile::tempdir().unwrap();
    let cluster = Cluster::serving().await;
    let [alice, _] = people(&cluster, &python, state.path());
    let lines = numbered(200);
    let listening = alice.run("listen", &["--count", "200"]);
    let heard = tokio::task::spawn_blocking(move || texts(listening));
    let sending = alice.send("alice", &lines);
    wait::until("some are sent", async || cluster_messages(&cluster).await >= 20).await;
    assert!(!alice.send("alice", &lines).wait().unwrap().success(), "a second sender is refused");
    assert_eq!(tokio::task::spawn_blocking(move || texts(sending)).await.unwrap(), lines);
    assert_eq!(heard.await.unwrap(), lines);
}
