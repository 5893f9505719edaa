//! `demo`: a fail-over in half a minute, by itself.

use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::{Supervisor, free_ports};
use crate::{output, signals};
use client::{Client, Options, Start};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const REPLICAS: u8 = 3;
const PASSWORD: &str = "only for this demo";
const WRITE_EVERY: Duration = Duration::from_millis(10);
const CALM: Duration = Duration::from_millis(1500);
/// Nothing in the demo may take longer than this.
const LIMIT: Duration = Duration::from_secs(15);

/// What was sent and what was heard, by text.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: Vec<(String, Instant)>,
    heard: BTreeMap<String, u32>,
    last_error: Option<String>,
}

impl Ledger {
    /// How many were sent, received, lost, and received twice.
    fn count(&self) -> Result<(usize, usize, usize, usize), Failure> {
        if let Some(error) = &self.last_error {
            return Err(Failure::Failed(error.clone()));
        }
        let lost = self.acknowledged.iter().filter(|(text, _)| !self.heard.contains_key(text)).count();
        let twice = self.heard.values().filter(|times| **times > 1).count();
        Ok((self.acknowledged.len(), self.heard.len(), lost, twice))
    }
}

type Shared = Arc<Mutex<Ledger>>;

struct Demo {
    began: Instant,
    supervisor: Supervisor,
    client: Client,
    ledger: Shared,
}

pub(crate) async fn demo() -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("trialogue-demo-").tempdir()?;
    let port = free_ports(REPLICAS)?;
    let mut supervisor = Supervisor::prepare(folder.path(), port, REPLICAS)?;
    for index in 0..usize::from(REPLICAS) {
        supervisor.start(index)?;
    }
    let client = Client::new(supervisor.settings().addresses.clone(), Options { timeout: LIMIT });
    let mut demo = Demo { began: Instant::now(), supervisor, client, ledger: Shared::default() };
    let outcome = tokio::select! {
        outcome = demo.play() => outcome,
        _ = signals::interrupted() => Err(Failure::Failed("interrupted".into())),
    };
    demo.supervisor.end(std::future::pending()).await;
    outcome
}

impl Demo {
    async fn play(&mut self) -> Result<(), Failure> {
        self.say("three replicas are started, each with its own database")?;
        self.client.ready().await?;
        self.say("replica 0 leads; alice and bob register")?;
        let mut tokens = Vec::new();
        for name in ["alice", "bob"] {
            self.client.create_account(name, PASSWORD).await?;
            tokens.push(self.client.login(name, PASSWORD).await?.token);
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut people = Vec::new();
        for (me, other) in [(0, 1), (1, 0)] {
            let names = ["alice", "bob"];
            let writer = write(
                self.client.clone(),
                tokens[me].clone(),
                names[me],
                names[other],
                self.ledger.clone(),
                stopped.clone(),
            );
            people.push(tokio::spawn(writer));
            tokio::spawn(hear(self.client.clone(), tokens[me].clone(), self.ledger.clone()));
        }
        self.say("both listen, and write to each other a hundred times a second")?;
        tokio::time::sleep(CALM).await;
        self.kill_primary().await?;
        tokio::time::sleep(CALM).await;
        self.kill_primary().await?;
        tokio::time::sleep(CALM).await;
        self.say("one replica serves alone; the other two are started again")?;
        for index in 0..usize::from(REPLICAS) {
            if !self.supervisor.runs(index) {
                self.supervisor.start(index)?;
            }
        }
        self.wait("all three are in sync again and replica 0 leads", ClusterSummary::all_in_sync).await?;
        tokio::time::sleep(CALM).await;
        stop.send_replace(true);
        for person in people {
            person.await.map_err(Failure::of)?;
        }
        self.count().await
    }

    async fn kill_primary(&mut self) -> Result<(), Failure> {
        let primary = ClusterSummary::of(&self.client.replicas().await).primary();
        let primary = primary.ok_or_else(|| Failure::Failed("no replica leads".into()))?;
        let killed = Instant::now();
        self.supervisor.kill(primary).await?;
        self.say(&format!("replica {primary}, the primary, is killed (kill -9)"))?;
        let deadline = killed + LIMIT;
        let next = loop {
            let acknowledged =
                self.ledger().acknowledged.iter().find(|(_, at)| *at > killed).map(|(_, at)| *at);
            if let Some(at) = acknowledged {
                break at;
            }
            if Instant::now() > deadline {
                return Err(Failure::Failed("nothing was acknowledged after the kill".into()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        self.say(&format!(
            "{} ms after the kill the next message is acknowledged",
            (next - killed).as_millis()
        ))
    }

    async fn wait(&self, what: &str, holds: impl Fn(&ClusterSummary) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        while !holds(&ClusterSummary::of(&self.client.replicas().await)) {
            if Instant::now() > deadline {
                return Err(Failure::Failed(format!("timed out waiting until {what}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.say(what)
    }

    async fn count(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (sent, received, lost, twice) = self.ledger().count()?;
            if lost == 0 || Instant::now() > deadline {
                output::line(&format!("sent {sent}, received {received}, lost {lost}, twice {twice}"))?;
                return if lost == 0 && twice == 0 { Ok(()) } else { Err(Failure::Reported) };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn say(&self, what: &str) -> Result<(), Failure> {
        Ok(output::line(&format!("{:6.2} s  {what}", self.began.elapsed().as_secs_f64()))?)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

async fn write(
    client: Client,
    token: String,
    me: &'static str,
    other: &'static str,
    ledger: Shared,
    stopped: tokio::sync::watch::Receiver<bool>,
) {
    let mut number = 0;
    while !*stopped.borrow() {
        number += 1;
        let text = format!("{number} from {me}");
        match client.send(&token, other, &text, 0).await {
            Ok(_) => lock(&ledger).acknowledged.push((text, Instant::now())),
            Err(error) => {
                lock(&ledger).last_error = Some(error.to_string());
                return;
            }
        }
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

async fn hear(client: Client, token: String, ledger: Shared) {
    let mut listening = client.listen(&token, Start::default());
    while let Some(message) = listening.message().await {
        match message {
            Ok(message) => *lock(&ledger).heard.entry(message.text).or_default() += 1,
            Err(error) => lock(&ledger).last_error = Some(error.to_string()),
        }
    }
}

fn lock(ledger: &Shared) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
