//! The floor that speed stands on: sending a message, as a ratio to a do-nothing call of the same message in the same run.
//!
//! `cargo build --release -p trialogue && cargo run --release -p whole-process-tests --example floor`
//!
//! The do-nothing server is a process of its own, like each replica; the load runs in this one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark: what fails here is a failed measurement"
)]

use api::v1::SendMessageRequest;
use api::v1::chat_client::ChatClient;
use futures_util::StreamExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use whole_process_tests::cluster::{Cluster, free_ports, program};
use whole_process_tests::people::Person;
use whole_process_tests::raw::{id, signed};
use whole_process_tests::wait;

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_secs(1);
const ONE_BY_ONE: usize = 1000;
const TEXT: &str = "a message of ordinary length, as people write them all day";

/// A process that ends with this one's interest in it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn message() -> SendMessageRequest {
    SendMessageRequest { request_id: id(), to: "bob".into(), to_id: 0, text: TEXT.into(), min_copies: 0 }
}

/// Calls a second with so many in flight.
async fn rate(channel: &Channel, token: &str) -> f64 {
    let began = Instant::now();
    let mut calls = futures_util::stream::repeat(())
        .take_while(|()| std::future::ready(began.elapsed() < SPAN))
        .map(|()| {
            let mut chat = ChatClient::new(channel.clone());
            let request = signed(message(), token);
            async move { chat.send_message(request).await.unwrap() }
        })
        .buffer_unordered(IN_FLIGHT);
    let mut done = 0_u32;
    while calls.next().await.is_some() {
        done += 1;
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// The median time of a call, one after the other, in microseconds.
async fn median(channel: &Channel, token: &str) -> f64 {
    let mut chat = ChatClient::new(channel.clone());
    let mut times = Vec::new();
    for _ in 0..ONE_BY_ONE {
        let began = Instant::now();
        chat.send_message(signed(message(), token)).await.unwrap();
        times.push(began.elapsed());
    }
    middle(times)
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// The median time of an fdatasync after a page was written, in microseconds.
fn fdatasync(folder: &std::path::Path) -> f64 {
    use std::io::Write;
    let mut file = std::fs::File::create(folder.join("probe")).unwrap();
    let times = (0..ONE_BY_ONE).map(|_| {
        file.write_all(&[7; 4096]).unwrap();
        let began = Instant::now();
        file.sync_data().unwrap();
        began.elapsed()
    });
    middle(times.collect())
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn connect(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().tcp_nodelay(true);
    let mut channel = None;
    wait::until("the server answers", async || {
        channel = endpoint.connect().await.ok();
        channel.is_some()
    })
    .await;
    channel.unwrap()
}

async fn memory(cluster: &Cluster) -> Vec<f64> {
    let mut all = Vec::new();
    for i in 0..cluster.replicas() {
        all.push(resident_mib(cluster.heartbeat(i).await.unwrap().pid));
    }
    all
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let port = free_ports(1);
    // It ends with the other end of its standard input.
    let nothing = ["bench", "--nothing", &port.to_string()];
    let nothing = Process(Command::new(program()).args(nothing).stdin(Stdio::piped()).spawn().unwrap());
    let nothing_channel = connect(port).await;
    let cluster = Cluster::serving().await;
    println!("resident memory of the idle replicas, MiB: {:.1?}", memory(&cluster).await);
    let alice = Person::register(&cluster, "alice").await;
    Person::register(&cluster, "bob").await;
    let channel = connect(cluster.address(0).port()).await;

    // In turn, so that both see the same machine, whatever else it does meanwhile.
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((
            rate(&nothing_channel, alice.session.token()).await,
            rate(&channel, alice.session.token()).await,
        ));
    }
    rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (nothing_rate, rate) = rounds[ROUNDS / 2];
    println!(
        "with {IN_FLIGHT} in flight: {rate:.0} messages a second, {nothing_rate:.0} do-nothing calls, ratio {:.2} \
         (floor 0.25), over {ROUNDS} rounds {:.2} to {:.2}",
        rate / nothing_rate,
        rounds[0].1 / rounds[0].0,
        rounds[ROUNDS - 1].1 / rounds[ROUNDS - 1].0
    );
    let (nothing_median, median) = (
        median(&nothing_channel, alice.session.token()).await,
        median(&channel, alice.session.token()).await,
    );
    let sync = fdatasync(cluster.data());
    let unit = 2.0 * nothing_median + 2.0 * sync;
    println!(
        "one by one: median {median:.0} us; a do-nothing call {nothing_median:.0} us, an fdatasync {sync:.0} us, \
         ratio to two of each {:.2} (floor 3)",
        median / unit
    );
    let outbox = alice.session.outbox();
    let began = Instant::now();
    let (mut sent, mut waiting) = (0_u32, std::collections::VecDeque::new());
    while began.elapsed() < 3 * SPAN {
        waiting.push_back(outbox.send("bob", TEXT, 0).await.unwrap());
        if waiting.len() > 200 {
            waiting.pop_front().unwrap().answered().await.unwrap();
            sent += 1;
        }
    }
    println!(
        "one sender, pipelined: {:.0} messages a second",
        f64::from(sent) / began.elapsed().as_secs_f64()
    );
    println!("resident memory of the replicas afterwards, MiB: {:.1?}", memory(&cluster).await);
    drop(nothing);
}
