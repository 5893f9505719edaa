//! `bench`: how quick the service is on this machine, and beside each figure the limit that it stands under, in the same run.
//!
//! The load runs in this process. Each replica is a process of its own, and so is the do-nothing server that calls are
//! compared with. Against a service that runs already, nothing is killed, and what only its processes could tell is missing.

mod charts;
mod delivering;
mod failing;
mod filled;
mod load;
mod logins;
mod machine;
mod nothing;
mod report;
mod sending;
mod table;

use crate::account::client_of;
use crate::arguments::{Bench, Common};
use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::{Supervisor, free_ports};
use crate::{output, signals};
use chat::Address;
use client::{Client, Options};
use futures_util::FutureExt;
use load::{Load, Sender};
use machine::Usage;
use nothing::NothingServer;
use people::Person;
use report::{Cost, Report};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const REPLICAS: u8 = 3;
/// People who send, each to the next.
const ACCOUNTS: usize = 16;
const IN_FLIGHT: [usize; 3] = [16, 64, 256];
/// Nothing may take longer than this, but what grows with the size of the database.
const LIMIT: Duration = Duration::from_mins(1);
/// A replica takes more than this of the entries that another was filled with in a second.
const ENTRIES_A_SECOND: u64 = 2000;

pub(crate) async fn bench(common: &Common, bench: &Bench) -> Result<(), Failure> {
    if let Some(port) = bench.nothing {
        return nothing::serve(port).await;
    }
    if let Some(folder) = &bench.charts {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    }
    let folder = tempfile::Builder::new().prefix("trialogue-bench-").tempdir()?;
    let report = if common.servers_named {
        Box::pin(Measuring::new(client_of(common), bench).run(folder.path(), None)).await?
    } else {
        Box::pin(of_its_own(folder.path(), bench)).await?
    };
    if let Some(folder) = &bench.charts {
        charts::draw(folder, &report)?;
    }
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
            let mut measuring = Measuring::new(client, bench);
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

/// What is measured, and what was.
struct Measuring {
    client: Client,
    span: Duration,
    kills: usize,
    entries: u32,
    accounts: u64,
    messages: u64,
    listeners: Vec<usize>,
    silent: bool,
    /// Of its accounts, which a service that runs may show to others.
    password: String,
    report: Report,
}

/// The processes of the replicas, and what they had used before anything was asked of them.
type Own<'a> = (&'a [u32], Usage);

impl Measuring {
    fn new(client: Client, bench: &Bench) -> Self {
        Self {
            client,
            span: Duration::from_secs_f64(bench.seconds),
            kills: bench.kills,
            entries: bench.entries,
            accounts: bench.accounts,
            messages: bench.messages,
            listeners: bench.listeners.clone(),
            silent: bench.json,
            password: format!("{:032x}", rand::random::<u128>()),
            report: Report::default(),
        }
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
        let summary = if own { self.until_all_in_sync().await? } else { self.summary().await };
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
        own: Option<Own<'_>>,
    ) -> Result<(), Failure> {
        let nothing = NothingServer::start(free_ports(1)?)?;
        self.sending(folder, people, &nothing, own).await?;
        self.progress("delivery");
        self.report.delivery = delivering::delivery(&people[0].session, &people[1]).await?;
        self.progress("logins");
        self.report.logins = logins::logins(people, &self.password).await?;
        let Some(supervisor) = supervisor else { return Ok(()) };
        if self.kills > 0 {
            self.report.gaps = Some(failing::gaps(self, supervisor, people, self.kills).await?);
        }
        if self.entries > 0 {
            self.progress(&format!("a replica that lacks {} entries", self.entries));
            self.report.catch_up = Some(failing::catch_up(self, supervisor, people, self.entries).await?);
        }
        if self.accounts > 0 {
            self.with_many(supervisor, people, &nothing).await?;
        }
        Ok(())
    }

    async fn sending(
        &mut self,
        folder: &Path,
        people: &[Person],
        nothing: &NothingServer,
        own: Option<Own<'_>>,
    ) -> Result<(), Failure> {
        let senders = senders(people);
        let nothing = Load::connect(&nothing.address, senders.clone()).await?;
        let service = Load::connect(&self.primary().await?.0, senders).await?;
        self.progress("one sender");
        self.report.one_sender =
            sending::one_sender(&service, &nothing, own.is_some().then_some(folder)).await?;
        for calls in IN_FLIGHT {
            self.progress(&format!("{calls} in flight"));
            let before = own.map(|(processes, _)| Usage::of(processes)).transpose()?;
            let (rate, sent) = sending::in_flight(&service, &nothing, calls, self.span).await?;
            self.report.in_flight.push(rate);
            if let (64, Some((processes, idle)), Some(before)) = (calls, own, before) {
                self.report.cost = Some(cost(processes.len(), idle, before, Usage::of(processes)?, sent));
            }
        }
        self.progress("one pipelined stream");
        self.report.pipelined_per_second =
            sending::pipelined(&people[0].session, &people[1].name, 3 * self.span).await?;
        self.progress("at given rates");
        let most = self.report.in_flight[1].per_second;
        self.report.ladder = sending::ladder(&service, &nothing, most, self.span).await?;
        Ok(())
    }

    /// What cost grows with: accounts, messages, listeners.
    async fn with_many(
        &mut self,
        supervisor: &mut Supervisor,
        people: &[Person],
        nothing: &NothingServer,
    ) -> Result<(), Failure> {
        let filled = filled::fill_and_start(self, supervisor, (self.accounts, self.messages)).await?;
        let (primary, _) = self.primary().await?;
        let load = filled.sends(self, nothing, &primary).await?;
        filled.listing(self, &load, &primary).await?;
        drop(load);
        filled::start_after_all_were_killed(self, supervisor).await?;
        self.until_all_in_sync().await?;
        for listeners in self.listeners.clone() {
            let tokens = filled.tokens.get(..listeners).unwrap_or(&filled.tokens);
            self.progress(&format!("{} listeners", tokens.len()));
            let (primary, process) = self.primary().await?;
            let load = Load::connect(&primary, senders(people)).await?;
            let pair = (&people[0].session, &people[1]);
            let crowd = delivering::crowd((&primary, process), tokens, &load, pair, self.span).await?;
            self.report.crowds.push(crowd);
        }
        Ok(())
    }

    async fn summary(&self) -> ClusterSummary {
        ClusterSummary::of(&self.client.replicas().await)
    }

    async fn until_all_in_sync(&self) -> Result<ClusterSummary, Failure> {
        self.until("all replicas are in sync", ClusterSummary::all_in_sync).await
    }

    /// Waits until the replicas below this index are in sync, and no other is.
    async fn until_only_those_below(&self, index: usize) -> Result<(), Failure> {
        let is_so = |summary: &ClusterSummary| {
            summary.serving
                && summary.replicas.iter().all(|replica| replica.in_sync == (replica.index < index))
        };
        self.until(&format!("only the replicas below {index} are in sync"), is_so).await.map(drop)
    }

    async fn until(
        &self,
        what: &str,
        is_so: impl Fn(&ClusterSummary) -> bool,
    ) -> Result<ClusterSummary, Failure> {
        let deadline =
            Instant::now() + LIMIT + Duration::from_secs((self.accounts + self.messages) / ENTRIES_A_SECOND);
        loop {
            let summary = self.summary().await;
            if is_so(&summary) {
                return Ok(summary);
            }
            if Instant::now() > deadline {
                return Err(Failure::Failed(format!("timed out waiting until {what}")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where the primary listens, and its process.
    async fn primary(&self) -> Result<(Address, u32), Failure> {
        let replicas = self.client.replicas().await;
        let primary = replicas.into_iter().find_map(|replica| {
            let heartbeat = replica.heartbeat.filter(|heartbeat| heartbeat.serving)?;
            Some((replica.address, heartbeat.pid))
        });
        primary.ok_or_else(|| Failure::Failed("no replica serves".into()))
    }
}

/// Each sends to the next.
fn senders(people: &[Person]) -> Vec<Sender> {
    let next = people.iter().cycle().skip(1);
    let sender = |(from, to): (&Person, &Person)| Sender {
        token: from.session.token().to_owned(),
        to: to.name.clone(),
    };
    people.iter().zip(next).map(sender).collect()
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
