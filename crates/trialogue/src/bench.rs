//! `bench`: how quick the service is on this machine, and beside each figure the limit that it stands under, in the same run.
//!
//! The load runs in this process. Each replica is a process of its own, and so is the do-nothing server that calls are
//! compared with. Against a service that runs already, nothing is killed, and what only its processes could tell is missing.

mod load;
mod machine;
mod nothing;
mod report;

use crate::account::client_of;
use crate::arguments::{Bench, Common};
use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::{Supervisor, free_ports};
use crate::{output, signals};
use chat::Address;
use client::{Client, Heard, Options, Session, Start};
use futures_util::FutureExt;
use load::{Load, Sender, TEXT, Times};
use machine::{Usage, fdatasync};
use nothing::NothingServer;
use people::{Person, Writer};
use report::{Cost, Delivery, Gaps, InFlight, OneSender, Report};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const REPLICAS: u8 = 3;
/// People who send, each to the next.
const ACCOUNTS: usize = 16;
const CALLS: usize = 2000;
const IN_FLIGHT: [usize; 3] = [16, 64, 256];
/// Rounds of each rate, with the do-nothing server in turn, so that both see the same machine.
const ROUNDS: usize = 5;
/// Messages of the pipelined stream without an answer.
const PIPELINED: usize = 200;
const DELIVERIES: usize = 500;
/// Nothing may take longer than this.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn bench(common: &Common, bench: &Bench) -> Result<(), Failure> {
    if let Some(port) = bench.nothing {
        return nothing::serve(port).await;
    }
    let folder = tempfile::Builder::new().prefix("trialogue-bench-").tempdir()?;
    let report = if common.servers_named {
        Box::pin(Measuring::of_running(client_of(common), bench).run(folder.path(), None)).await?
    } else {
        Box::pin(of_its_own(folder.path(), bench)).await?
    };
    if bench.json {
        Ok(output::json(&serde_json::to_value(&report).map_err(Failure::of)?)?)
    } else {
        Ok(output::line(report.to_string().trim_end())?)
    }
}

/// Measures three replicas that it starts itself, in a folder that is removed afterwards.
async fn of_its_own(folder: &Path, bench: &Bench) -> Result<Report, Failure> {
    let mut supervisor = Supervisor::prepare(folder, free_ports(REPLICAS)?, REPLICAS)?;
    let began = Instant::now();
    for index in 0..usize::from(REPLICAS) {
        supervisor.start(index)?;
    }
    let client = Client::new(supervisor.settings().addresses.clone(), Options { timeout: LIMIT });
    let ready = tokio::select! {
        ready = client.ready() => ready.map_err(Failure::from),
        _ = signals::interrupted() => Err(interrupted()),
    };
    let outcome = match ready {
        Ok(()) => {
            let ready = began.elapsed();
            let mut measuring = Measuring::of_running(client, bench);
            measuring.report.start_to_ready_ms = Some(ready.as_secs_f64() * 1e3);
            measuring.run(folder, Some(&mut supervisor)).await
        }
        Err(failure) => Err(failure),
    };
    supervisor.end(std::future::pending()).await;
    outcome
}

fn interrupted() -> Failure {
    Failure::Failed("interrupted".into())
}

struct Measuring {
    client: Client,
    span: Duration,
    kills: usize,
    silent: bool,
    /// Of its accounts, which a service that runs may show to others.
    password: String,
    report: Report,
}

impl Measuring {
    fn of_running(client: Client, bench: &Bench) -> Self {
        let span = Duration::from_secs_f64(bench.seconds);
        let password = format!("{:032x}", rand::random::<u128>());
        Self { client, span, kills: bench.kills, silent: bench.json, password, report: Report::default() }
    }

    /// Says what is being measured, on standard error.
    fn progress(&self, what: &str) {
        if !self.silent {
            // Progress that can not be written is no failure.
            let _ = writeln!(std::io::stderr(), "{what} …");
        }
    }

    /// Measures until all is measured or the person interrupts it. In a service that runs it leaves no account behind.
    async fn run(mut self, folder: &Path, supervisor: Option<&mut Supervisor>) -> Result<Report, Failure> {
        let running = supervisor.is_none();
        let mut interruption = Box::pin(signals::interrupted());
        let processes = tokio::select! {
            processes = self.processes(!running) => processes?,
            _ = &mut interruption => return Err(interrupted()),
        };
        // Before anything was asked of them.
        let idle = processes.as_deref().map(Usage::of).transpose()?;
        let mut people = Vec::new();
        let outcome = match self.register(&mut people, &mut interruption).await {
            Ok(()) => tokio::select! {
                outcome = Box::pin(self.measure_all(folder, supervisor, &people, processes.as_deref().zip(idle))) => outcome,
                _ = interruption => Err(interrupted()),
            },
            Err(failure) => Err(failure),
        };
        if running {
            for person in people {
                person.session.delete_account(&self.password).await?;
            }
        }
        outcome.map(|()| self.report)
    }

    /// Waits until the service is ready. The processes of the replicas, if they are this program's own.
    async fn processes(&mut self, own: bool) -> Result<Option<Vec<u32>>, Failure> {
        self.client.ready().await?;
        let summary = self.until_all_in_sync(own).await?;
        self.report.replicas = summary.replicas.len();
        Ok(own.then(|| summary.replicas.iter().filter_map(|replica| replica.pid).collect()))
    }

    /// An account that is begun is made to the end, so that it can be deleted again.
    async fn register(
        &self,
        people: &mut Vec<Person>,
        interruption: &mut (impl Future + Unpin),
    ) -> Result<(), Failure> {
        self.progress(&format!("{ACCOUNTS} accounts"));
        let run = rand::random::<u32>();
        for number in 0..ACCOUNTS {
            if (&mut *interruption).now_or_never().is_some() {
                return Err(interrupted());
            }
            let name = format!("bench-{run:08x}-{number}");
            people.push(Person::register(self.client.clone(), &name, &self.password).await?);
        }
        Ok(())
    }

    async fn measure_all(
        &mut self,
        folder: &Path,
        supervisor: Option<&mut Supervisor>,
        people: &[Person],
        own: Option<(&[u32], Usage)>,
    ) -> Result<(), Failure> {
        self.measure(folder, people, own).await?;
        match supervisor {
            Some(supervisor) => self.gaps(supervisor, people).await,
            None => Ok(()),
        }
    }

    async fn until_all_in_sync(&self, wait: bool) -> Result<ClusterSummary, Failure> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let summary = ClusterSummary::of(&self.client.replicas().await);
            if summary.all_in_sync() || !wait {
                return Ok(summary);
            }
            if Instant::now() > deadline {
                return Err(Failure::Failed("timed out waiting until all replicas are in sync".into()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn measure(
        &mut self,
        folder: &Path,
        people: &[Person],
        own: Option<(&[u32], Usage)>,
    ) -> Result<(), Failure> {
        let senders: Vec<Sender> = (0..people.len())
            .map(|number| Sender {
                token: people[number].session.token().to_owned(),
                to: people[(number + 1) % people.len()].name.clone(),
            })
            .collect();
        let nothing = NothingServer::start(free_ports(1)?)?;
        let nothing =
            Load::connect(&nothing.address.clone(), senders.clone()).await.map(|load| (load, nothing))?;
        let service = Load::connect(&self.primary().await?, senders).await?;

        self.progress("one sender");
        self.report.one_sender = one_sender(&service, &nothing.0, own.is_some().then_some(folder)).await?;
        for calls in IN_FLIGHT {
            self.progress(&format!("{calls} in flight"));
            let before = own.map(|(processes, _)| Usage::of(processes)).transpose()?;
            let (rate, sent) = self.in_flight(&service, &nothing.0, calls).await?;
            self.report.in_flight.push(rate);
            if let (64, Some((processes, idle)), Some(before)) = (calls, own, before) {
                self.report.cost = Some(cost(processes.len(), idle, before, Usage::of(processes)?, sent));
            }
        }
        self.progress("one pipelined stream");
        self.report.pipelined_per_second =
            pipelined(&people[0].session, &people[1].name, 3 * self.span).await?;
        self.progress("delivery");
        self.report.delivery = delivery(&people[0].session, &people[1]).await?;
        Ok(())
    }

    async fn primary(&self) -> Result<Address, Failure> {
        let replicas = self.client.replicas().await;
        let serving =
            |view: &client::ReplicaView| view.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.serving);
        let primary = replicas.into_iter().find(serving);
        Ok(primary.ok_or_else(|| Failure::Failed("no replica serves".into()))?.address)
    }

    /// The median round, and how many messages were sent in all rounds.
    async fn in_flight(
        &self,
        service: &Load,
        nothing: &Load,
        calls: usize,
    ) -> Result<(InFlight, f64), Failure> {
        let mut rounds = Vec::new();
        let mut sent = 0.0;
        for _ in 0..ROUNDS {
            let limit = nothing.rate(calls, self.span).await?;
            let rate = service.rate(calls, self.span).await?;
            sent += rate * self.span.as_secs_f64();
            rounds.push((rate, limit));
        }
        rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let share = |(rate, limit): (f64, f64)| rate / limit;
        let (per_second, do_nothing_per_second) = rounds[ROUNDS / 2];
        let in_flight = InFlight {
            calls,
            per_second,
            do_nothing_per_second,
            share: share(rounds[ROUNDS / 2]),
            share_worst: share(rounds[0]),
            share_best: share(rounds[ROUNDS - 1]),
        };
        Ok((in_flight, sent))
    }

    /// Kills the primary while a person writes, again and again.
    async fn gaps(&mut self, supervisor: &mut Supervisor, people: &[Person]) -> Result<(), Failure> {
        let mut gaps = Vec::new();
        for kill in 1..=self.kills {
            self.progress(&format!("kill -9 of the primary, {kill} of {}", self.kills));
            let primary = self.until_all_in_sync(true).await?.primary();
            let primary = primary.ok_or_else(|| Failure::Failed("no replica leads".into()))?;
            let writer = Writer::one_by_one(&people[0], &people[1].name, Duration::ZERO);
            tokio::time::sleep(self.span / 2).await;
            let killed = Instant::now();
            supervisor.kill(primary).await?;
            let deadline = killed + LIMIT;
            while writer.first_after(killed).is_none() {
                if let Some(error) = writer.failure() {
                    return Err(error.into());
                }
                if Instant::now() > deadline {
                    return Err(Failure::Failed("nothing was acknowledged after the kill".into()));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(self.span / 2).await;
            let acknowledged = writer.stop().await?;
            // The longest silence from the kill on, not only the first.
            let mut last = killed;
            let mut longest = Duration::ZERO;
            for message in acknowledged.iter().filter(|message| message.at > killed) {
                longest = longest.max(message.at - last);
                last = message.at;
            }
            gaps.push(longest);
            supervisor.start(primary)?;
        }
        let gaps = Times::of(gaps);
        let (median_ms, worst_ms) = (gaps.quantile_ms(0.5), gaps.quantile_ms(1.0));
        self.report.gaps = (self.kills > 0).then_some(Gaps { kills: self.kills, median_ms, worst_ms });
        Ok(())
    }
}

/// In turn with the do-nothing server, in four parts. `folder`: where the replicas write, if that is on this machine.
async fn one_sender(service: &Load, nothing: &Load, folder: Option<&Path>) -> Result<OneSender, Failure> {
    // The first calls of a connection are slower.
    service.one_by_one(CALLS / 10).await?;
    nothing.one_by_one(CALLS / 10).await?;
    let calls = nothing.one_by_one(CALLS).await?;
    let times = service.one_by_one(CALLS).await?;
    let (p50_ms, call) = (times.quantile_ms(0.5), calls.quantile_ms(0.5));
    let sync = folder.map(fdatasync).transpose()?.map(|times| times.quantile_ms(0.5));
    Ok(OneSender {
        p50_ms,
        p99_ms: times.quantile_ms(0.99),
        p999_ms: times.quantile_ms(0.999),
        do_nothing_call_p50_ms: call,
        fdatasync_p50_ms: sync,
        ratio: sync.map(|sync| p50_ms / (2.0 * call + sync)),
    })
}

async fn pipelined(session: &Session, to: &str, span: Duration) -> Result<f64, Failure> {
    let outbox = session.outbox();
    let began = Instant::now();
    let (mut sent, mut waiting) = (0_u32, VecDeque::new());
    while began.elapsed() < span {
        waiting.push_back(outbox.send(to, TEXT, 0).await?);
        if waiting.len() > PIPELINED
            && let Some(first) = waiting.pop_front()
        {
            first.answered().await?;
            sent += 1;
        }
    }
    for ticket in waiting {
        ticket.answered().await?;
        sent += 1;
    }
    Ok(f64::from(sent) / began.elapsed().as_secs_f64())
}

/// Messages to one listener, the next one when the last has arrived.
async fn delivery(from: &Session, to: &Person) -> Result<Delivery, Failure> {
    let mut listening = to.session.listen(Start::default());
    let (heard, mut arrived) = mpsc::unbounded_channel();
    let listener = tokio::spawn(async move {
        while let Some(Ok(event)) = listening.next().await {
            if let Heard::Message(message) = event
                && heard.send((message.id, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    let (mut times, mut after) = (Vec::new(), Vec::new());
    for _ in 0..DELIVERIES {
        let began = Instant::now();
        let sent = from.send(&to.name, TEXT, 0).await?;
        let acknowledged = Instant::now();
        let at = loop {
            let next = tokio::time::timeout(LIMIT, arrived.recv()).await;
            match next {
                Ok(Some((id, at))) if id == sent.id.0 => break at,
                // What was sent to this account before.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(Failure::Failed("a message was acknowledged and not heard".into()));
                }
            }
        };
        times.push(at - began);
        after.push(at.saturating_duration_since(acknowledged));
    }
    listener.abort();
    let (times, after) = (Times::of(times), Times::of(after));
    Ok(Delivery {
        p50_ms: times.quantile_ms(0.5),
        p99_ms: times.quantile_ms(0.99),
        after_acknowledgement_p99_ms: after.quantile_ms(0.99),
    })
}

#[expect(clippy::cast_precision_loss, reason = "bytes and processes, far below 2^52")]
fn cost(replicas: usize, idle: Usage, before: Usage, after: Usage, sent: f64) -> Cost {
    let mib = |bytes: u64| bytes as f64 / replicas as f64 / 1024.0 / 1024.0;
    Cost {
        idle_mib_a_replica: mib(idle.resident),
        loaded_mib_a_replica: mib(after.resident),
        cpu_us_a_message: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / sent,
        written_bytes_a_message_and_replica: after.written.saturating_sub(before.written) as f64
            / replicas as f64
            / sent,
    }
}
