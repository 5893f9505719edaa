//! What crowds cost: each attack beside an honest sender who writes every 100 ms, under the default settings.
//!
//! `cargo build --release -p trialogue && cargo run --release -p whole-process-tests --example crowds`
//!
//! The program under test is the one beside the folder of this one, so a copy of this one measures an older program.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark: what fails here is a failed measurement"
)]

use api::v1;
use api::v1::chat_client::ChatClient;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;
use whole_process_tests::raw::{id, signed};

const FOR: Duration = Duration::from_secs(8);
const QUIET: Duration = Duration::from_secs(3);
const HONEST_WAITS: Duration = Duration::from_mins(1);

/// What attackers may do. They come from 127.0.0.2, the honest sender from 127.0.0.3.
#[derive(Clone, Copy, Debug)]
enum Attack {
    None,
    DeafListeners,
    DearPatterns,
    WrongLogins,
    OneAccountsMessages,
    SilentConnections,
}

impl Attack {
    const ALL: [Self; 6] = [
        Self::None,
        Self::DeafListeners,
        Self::DearPatterns,
        Self::WrongLogins,
        Self::OneAccountsMessages,
        Self::SilentConnections,
    ];

    const fn what(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::DeafListeners => {
                "400 listeners of one account that read nothing, and 20 messages of 10 KB a second to it"
            }
            Self::DearPatterns => "patterns that are dear to compile, without a session, 50 at a time",
            Self::WrongLogins => "300 wrong logins a second, each given up after 30 ms",
            Self::OneAccountsMessages => {
                "one account sends all that it can, by 8 streams and 64 calls at a time"
            }
            Self::SilentConnections => "200 connections a second that begin as HTTP/2 and say nothing more",
        }
    }

    /// Begins the attack; it ends when what is returned is dropped.
    async fn begin(self, cluster: &Cluster, mallory: &Person) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        match self {
            Self::None => {}
            Self::DeafListeners => deaf_listeners(&mut tasks, cluster, mallory).await,
            Self::DearPatterns => {
                for n in 0..50_u32 {
                    let mut chat = ChatClient::new(from(cluster, 2).await);
                    tasks.spawn(async move {
                        for m in 0_u32.. {
                            let pattern =
                                format!("(((((a{{1,50}}){{1,{}}}){{1,50}}){{1,50}}", 40 + (n + m) % 10);
                            let request = v1::ListAccountsRequest { pattern, ..Default::default() };
                            // It is refused, one way or another.
                            drop(chat.list_accounts(request).await);
                        }
                    });
                }
            }
            Self::WrongLogins => {
                let channel = from(cluster, 2).await;
                tasks.spawn(async move {
                    let mut calls = JoinSet::new();
                    let mut pace = interval(Duration::from_micros(3_300));
                    for n in 0_u32.. {
                        pace.tick().await;
                        let mut chat = ChatClient::new(channel.clone());
                        calls.spawn(async move {
                            let name = format!("nobody{}", n % 500);
                            let request = v1::LoginRequest {
                                request_id: id(),
                                name,
                                password: "a wrong password".into(),
                            };
                            drop(timeout(Duration::from_millis(30), chat.login(request)).await);
                        });
                        while calls.try_join_next().is_some() {}
                    }
                });
            }
            Self::OneAccountsMessages => one_accounts_messages(&mut tasks, cluster, mallory).await,
            Self::SilentConnections => {
                let address = cluster.address(0).to_string();
                tasks.spawn(async move {
                    let mut pace = interval(Duration::from_millis(5));
                    let mut held = Vec::new();
                    loop {
                        pace.tick().await;
                        if let Ok(mut stream) = TcpStream::connect(&address).await {
                            // It may be closed already.
                            drop(stream.write_all(b"PRI * HTTP/2.0").await);
                            held.push(stream);
                        }
                    }
                });
            }
        }
        tasks
    }
}

async fn deaf_listeners(tasks: &mut JoinSet<()>, cluster: &Cluster, mallory: &Person) {
    let mut chat = ChatClient::new(from(cluster, 2).await);
    let token = mallory.session.token().to_owned();
    tasks.spawn(async move {
        let mut held = Vec::new();
        for _ in 0..400 {
            let request = signed(v1::ListenMessagesRequest::default(), &token);
            if let Ok(stream) = chat.listen_messages(request).await {
                held.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    let mut sender = ChatClient::new(from(cluster, 4).await);
    let token = mallory.session.token().to_owned();
    tasks.spawn(async move {
        let mut pace = interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            drop(sender.send_message(signed(message("mallory", 10_000), &token)).await);
        }
    });
}

async fn one_accounts_messages(tasks: &mut JoinSet<()>, cluster: &Cluster, mallory: &Person) {
    for _ in 0..8 {
        let (mut chat, token) = (ChatClient::new(from(cluster, 2).await), mallory.session.token().to_owned());
        tasks.spawn(async move {
            loop {
                let messages = futures_util::stream::repeat_with(|| message("mallory", 1000));
                let Ok(answers) = chat.send_messages(signed(messages, &token)).await else { continue };
                let mut answers = answers.into_inner();
                while answers.message().await.is_ok_and(|answer| answer.is_some()) {}
            }
        });
    }
    let channel = from(cluster, 2).await;
    for _ in 0..64 {
        let (mut chat, token) = (ChatClient::new(channel.clone()), mallory.session.token().to_owned());
        tasks.spawn(async move {
            loop {
                drop(chat.send_message(signed(message("mallory", 1000), &token)).await);
            }
        });
    }
}

fn message(to: &str, bytes: usize) -> v1::SendMessageRequest {
    v1::SendMessageRequest { request_id: id(), to: to.into(), text: "x".repeat(bytes), ..Default::default() }
}

async fn from(cluster: &Cluster, last: u8) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address(0))).unwrap();
    let here = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    endpoint.local_address(Some(here)).connect().await.unwrap()
}

/// How much of the machine the primary takes.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    resident_mib: u64,
    threads: u64,
    files: usize,
}

impl Taken {
    fn by(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |field| {
            let line = status.lines().find_map(|line: &str| line.strip_prefix(field)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Self { resident_mib: number("VmRSS:") / 1024, threads: number("Threads:"), files }
    }

    fn most(self, other: Self) -> Self {
        Self {
            resident_mib: self.resident_mib.max(other.resident_mib),
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
        }
    }
}

/// Writes a message every 100 ms until told to stop; gives how long each took.
async fn honest(channel: Channel, token: String, stop: watch::Receiver<bool>) -> Vec<Duration> {
    let mut chat = ChatClient::new(channel);
    let mut times = Vec::new();
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stop.borrow() {
        pace.tick().await;
        let began = Instant::now();
        let sent = timeout(HONEST_WAITS, chat.send_message(signed(message("alice", 60), &token))).await;
        assert!(matches!(sent, Ok(Ok(_))), "the honest sender was refused, or waited for a minute: {sent:?}");
        times.push(began.elapsed());
    }
    times
}

async fn measure(attack: Attack) {
    let cluster = Cluster::serving().await;
    let [alice, mallory] =
        [Person::register(&cluster, "alice").await, Person::register(&cluster, "mallory").await];
    let pid = cluster.heartbeat(0).await.unwrap().pid;
    let (stop, stopped) = watch::channel(false);
    let honest = tokio::spawn(honest(from(&cluster, 3).await, alice.session.token().to_owned(), stopped));
    let before = Taken::by(pid);
    let attackers = attack.begin(&cluster, &mallory).await;
    let (began, mut during) = (Instant::now(), before);
    let mut samples = interval(Duration::from_millis(100));
    while began.elapsed() < FOR {
        samples.tick().await;
        during = during.most(Taken::by(pid));
    }
    stop.send_replace(true);
    let mut times = honest.await.unwrap();
    drop(attackers);
    sleep(QUIET).await;
    let after = Taken::by(pid);
    times.sort();
    let at = |of_hundred: usize| times[(times.len() - 1) * of_hundred / 100].as_millis();
    println!(
        "{}\n  honest sender, {} messages: p50 {} ms, p99 {} ms, worst {} ms",
        attack.what(),
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    for (when, taken) in [("before", before), ("at most", during), ("after", after)] {
        println!(
            "  primary {when}: {} MiB, {} threads, {} open files",
            taken.resident_mib, taken.threads, taken.files
        );
    }
}

#[tokio::main]
async fn main() {
    for attack in Attack::ALL {
        measure(attack).await;
    }
}
