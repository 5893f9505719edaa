//! `demo`: a fail-over in half a minute, by itself.

use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::{Supervisor, free_ports};
use crate::{output, signals};
use client::{Client, MessageId, Options};
use people::{Acknowledged, Content, Count, Ledger, Listener, Person, Writer};
use std::time::{Duration, Instant};

const REPLICAS: u8 = 3;
const PASSWORD: &str = "only for this demo";
const WRITE_EVERY: Duration = Duration::from_millis(10);
const CALM: Duration = Duration::from_millis(1500);
/// Nothing in the demo may take longer than this.
const LIMIT: Duration = Duration::from_secs(15);

struct Demo {
    began: Instant,
    supervisor: Supervisor,
    client: Client,
}

/// Those who write to each other.
const NAMES: [&str; 2] = ["alice", "bob"];

pub(crate) async fn demo() -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("trialogue-demo-").tempdir()?;
    let port = free_ports(REPLICAS)?;
    let mut supervisor = Supervisor::prepare(folder.path(), port, REPLICAS)?;
    for index in 0..usize::from(REPLICAS) {
        supervisor.start(index)?;
    }
    let client = Client::new(supervisor.settings().addresses.clone(), Options { timeout: LIMIT });
    let mut demo = Demo { began: Instant::now(), supervisor, client };
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
        let mut people = Vec::new();
        for name in NAMES {
            people.push(Person::register(self.client.clone(), name, PASSWORD).await?);
        }
        let writers = [0, 1].map(|me| Writer::one_by_one(&people[me], NAMES[1 - me], WRITE_EVERY));
        let listeners = [0, 1].map(|me| Listener::start(&people[me]));
        self.say("both listen, and write to each other a hundred times a second")?;
        tokio::time::sleep(CALM).await;
        self.kill_primary(&writers).await?;
        tokio::time::sleep(CALM).await;
        self.kill_primary(&writers).await?;
        tokio::time::sleep(CALM).await;
        self.say("one replica serves alone; the other two are started again")?;
        for index in 0..usize::from(REPLICAS) {
            if !self.supervisor.runs(index) {
                self.supervisor.start(index)?;
            }
        }
        self.wait("all three are in sync again and replica 0 leads", ClusterSummary::all_in_sync).await?;
        tokio::time::sleep(CALM).await;
        let [alice, bob] = writers.map(Writer::stop);
        self.count([alice.await?, bob.await?], &listeners).await
    }

    async fn kill_primary(&mut self, writers: &[Writer]) -> Result<(), Failure> {
        let primary = ClusterSummary::of(&self.client.replicas().await).primary();
        let primary = primary.ok_or_else(|| Failure::Failed("no replica leads".into()))?;
        let killed = Instant::now();
        self.supervisor.kill(primary).await?;
        self.say(&format!("replica {primary}, the primary, is killed (kill -9)"))?;
        let deadline = killed + LIMIT;
        let next = loop {
            if let Some(at) = writers.iter().filter_map(|writer| writer.first_after(killed)).min() {
                break at;
            }
            if let Some(error) = writers.iter().find_map(Writer::failure) {
                return Err(error.into());
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

    async fn count(
        &self,
        acknowledged: [Vec<Acknowledged>; 2],
        listeners: &[Listener; 2],
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let ledger = Ledger::default();
            for (me, other) in [(0, 1), (1, 0)] {
                for Acknowledged { id, text, at } in &acknowledged[me] {
                    ledger.acknowledged(*id, Content::of(me, other, text), *at);
                }
                let listener = ledger.listener(me);
                for message in listeners[me].heard() {
                    ledger.heard(listener, MessageId(message.id), Content::of(other, me, &message.text));
                }
            }
            let count = ledger.count(Duration::ZERO, Instant::now());
            if let Some(error) = listeners.iter().find_map(Listener::failure) {
                return Err(error.into());
            }
            if count.lost == 0 || Instant::now() > deadline {
                let Count { acknowledged: sent, heard: received, lost, twice, .. } = count;
                output::line(&format!("sent {sent}, received {received}, lost {lost}, twice {twice}"))?;
                return if count.is_clean() { Ok(()) } else { Err(Failure::Reported) };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn say(&self, what: &str) -> Result<(), Failure> {
        Ok(output::line(&format!("{:6.2} s  {what}", self.began.elapsed().as_secs_f64()))?)
    }
}
