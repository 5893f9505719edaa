//! `prove`: the service under real faults, on the user's own machine, with a ledger that counts.
//!
//! Three real replicas, each reaching the others and reached by its clients through proxies ([`proxy`]); people who write
//! and listen ([`habits`]); a nemesis that hurts processes, disks and connections ([`nemesis`]); and a ledger outside of it
//! all (`people::Ledger`). At the end everything is healed, and what was acknowledged is compared with what was heard.

mod clocks;
mod disks;
mod fault;
mod faulty_machine;
mod habits;
mod nemesis;
mod panic;
mod proxy;
mod reading;
mod registers;

use crate::arguments::Prove;
use crate::failure::Failure;
use crate::status::ClusterSummary;
use crate::supervisor::{Supervisor, free_ports};
use crate::verify::verify_data;
use crate::{output, signals};
use chat::Address;
use client::{Client, Options};
use faulty_machine::FaultyMachine;
use habits::{Habit, Listener, PASSWORD, Person, Stage, come_and_go, name, write};
use nemesis::Nemesis;
use panic::Panic;
use people::{Count, Ledger};
use proxy::Proxy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const REPLICAS: u8 = 3;
const PEOPLE: usize = 6;
const WRITERS: usize = 4;
const READERS: usize = 3;
/// How long a client waits for a replica to serve.
const PATIENCE: Duration = Duration::from_mins(1);
/// After the faults, how long until all is well: a replica that kept failing waits half a minute by itself.
const HEALED_WITHIN: Duration = Duration::from_mins(2);

/// The paths between replicas and towards clients.
#[derive(Debug)]
struct Paths {
    /// `between[i][j]` is how replica i reaches replica j.
    between: Vec<Vec<Option<Proxy>>>,
    clients: Vec<Proxy>,
}

/// Says what happens, with the time; silent when only the counts are wanted.
#[derive(Clone, Copy, Debug)]
struct Narrator {
    began: Instant,
    silent: bool,
}

impl Narrator {
    fn say(self, what: &str) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        Ok(output::line(&format!("{:7.2} s  {what}", self.began.elapsed().as_secs_f64()))?)
    }
}

pub(crate) async fn prove(prove: &Prove) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("trialogue-prove-").tempdir()?;
    let seed = prove.seed.unwrap_or_else(rand::random);
    let narrator = Narrator { began: Instant::now(), silent: prove.json };
    narrator.say(&format!("seed {seed}: three replicas are started in {}", folder.path().display()))?;
    let mut supervisor = Supervisor::prepare(folder.path(), free_ports(REPLICAS)?, REPLICAS)?;
    let faults = tempfile::Builder::new().prefix("trialogue-faults-").tempdir()?;
    let faulty = FaultyMachine::make(faults.path())?;
    match &faulty {
        Some(faulty) => supervisor.set_environment(faulty.environment()),
        None => narrator.say("there is no C compiler (cc): no syncs fail, no power, and no clocks")?,
    }
    let paths = lay_paths(&mut supervisor).await?;
    for index in 0..usize::from(REPLICAS) {
        supervisor.start(index)?;
    }
    let proof = Proof { folder: folder.path().to_owned(), supervisor, paths, narrator, faulty, seed };
    let outcome = proof.run(Duration::from_secs_f64(prove.minutes * 60.0), prove.json).await;
    if outcome.is_err() {
        // What the replicas said may tell why.
        let kept = folder.keep();
        crate::failure::complain(&format!("databases and logs are kept in {}", kept.display()));
    }
    outcome
}

async fn lay_paths(supervisor: &mut Supervisor) -> Result<Paths, Failure> {
    let real = supervisor.settings().addresses.clone();
    let mut between = Vec::new();
    for i in 0..real.len() {
        let mut from_here = Vec::new();
        for (j, target) in real.iter().enumerate() {
            from_here.push(if i == j { None } else { Some(Proxy::to(target.clone()).await?) });
        }
        let addresses = from_here
            .iter()
            .zip(&real)
            .map(|(proxy, own)| proxy.as_ref().map_or(own, |proxy| &proxy.address).clone());
        supervisor.set_addresses(i, addresses.collect());
        between.push(from_here);
    }
    let mut clients = Vec::new();
    for target in &real {
        clients.push(Proxy::to(target.clone()).await?);
    }
    Ok(Paths { between, clients })
}

struct Proof {
    folder: std::path::PathBuf,
    supervisor: Supervisor,
    paths: Paths,
    narrator: Narrator,
    faulty: Option<FaultyMachine>,
    seed: u64,
}

impl Proof {
    async fn run(self, span: Duration, json: bool) -> Result<(), Failure> {
        let Self { folder, supervisor, paths, narrator, faulty, seed } = self;
        let entrances: Vec<Address> = paths.clients.iter().map(|proxy| proxy.address.clone()).collect();
        let client = || Client::new(entrances.clone(), Options { timeout: PATIENCE });
        let observer = Client::new(supervisor.settings().addresses.clone(), Options { timeout: PATIENCE });
        observer.ready().await?;
        let ledger = Arc::new(Ledger::default());
        let mut everyone = Vec::new();
        for number in 0..PEOPLE {
            let client = client();
            client.create_account(&name(number), PASSWORD).await?;
            let session = client.login(&name(number), PASSWORD).await?.session;
            everyone.push(Person { number, session });
        }
        let (stop, stopped) = watch::channel(false);
        let stage = Stage { people: PEOPLE, ledger: ledger.clone(), stopped };
        let mut listeners = Vec::new();
        for (number, person) in everyone.iter().enumerate() {
            listeners.push(Listener::open(person, Habit::Steady, &ledger, seed));
            let habit = if number % 2 == 0 { Habit::Leaving } else { Habit::Slow };
            listeners.push(Listener::open(person, habit, &ledger, seed.wrapping_add(number as u64)));
        }
        let mut busy: Vec<_> = (0..WRITERS)
            .map(|number| {
                let seed = seed.wrapping_mul(31).wrapping_add(number as u64);
                tokio::spawn(write(everyone[number].clone(), stage.clone(), seed))
            })
            .collect();
        busy.extend((0..READERS).map(|number| {
            let seed = seed.wrapping_mul(37).wrapping_add(number as u64);
            tokio::spawn(reading::read(everyone[number].clone(), stage.clone(), seed))
        }));
        busy.push(tokio::spawn(come_and_go(client(), everyone[PEOPLE - 1].clone(), stage.clone())));
        narrator.say(&format!(
            "{WRITERS} people write, {READERS} read, {} listeners listen, guests come and go",
            listeners.len()
        ))?;

        let mut nemesis =
            Nemesis::new(supervisor, paths, observer.clone(), ledger.clone(), narrator, faulty, seed);
        let interrupted = signals::interrupted();
        let struck = tokio::select! {
            struck = nemesis.strike_for(span) => struck,
            _ = interrupted => Ok(()),
        };
        nemesis.heal().await?;
        struck?;
        narrator.say("the faults end; everyone is started again")?;
        stop.send_replace(true);
        listeners.iter().for_each(Listener::hurry);
        all_well(&observer, &mut nemesis).await?;
        for task in busy {
            task.await.map_err(Failure::of)?;
        }
        let count = all_heard(&ledger).await;
        drop(listeners);
        let verified = verify_data(&folder, PATIENCE).await;
        let panics = nemesis.panics();
        report(&nemesis, &ledger, &count, &observer, seed, json).await?;
        let mut complaints = ledger.take_complaints();
        complaints.extend(panics.iter().map(Panic::to_string));
        match verified {
            Ok(same) => narrator.say(&same)?,
            Err(Failure::Failed(difference)) => complaints.push(difference),
            Err(other) => return Err(other),
        }
        nemesis.end().await;
        for complaint in &complaints {
            crate::failure::complain(complaint);
        }
        if count.is_clean() && complaints.is_empty() { Ok(()) } else { Err(Failure::Reported) }
    }
}

/// Waits until all replicas are in sync and the lowest serves.
async fn all_well(observer: &Client, nemesis: &mut Nemesis) -> Result<(), Failure> {
    let deadline = Instant::now() + HEALED_WITHIN;
    loop {
        let summary = ClusterSummary::of(&observer.replicas().await);
        if summary.all_in_sync() && summary.primary() == Some(0) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Failed(format!(
                "{HEALED_WITHIN:?} after the faults not all is well: {}",
                summary.json()
            )));
        }
        nemesis.start_all()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until all listeners have heard what was acknowledged or shown. What a listener has not received by the deadline is
/// lost, and the count says so.
async fn all_heard(ledger: &Ledger) -> Count {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = ledger.count(Duration::ZERO, Instant::now());
        if count.lost + count.ghosts == 0 || Instant::now() > deadline {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn report(
    nemesis: &Nemesis,
    ledger: &Ledger,
    count: &Count,
    observer: &Client,
    seed: u64,
    json: bool,
) -> Result<(), Failure> {
    let mut gaps = ledger.gaps_after_kills();
    gaps.sort();
    let millis = |gap: Duration| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
    let median = gaps.get(gaps.len() / 2).copied().map(millis);
    let view = ClusterSummary::of(&observer.replicas().await).view;
    if json {
        let struck: BTreeMap<String, u64> =
            nemesis.struck().iter().map(|(fault, times)| (fault.to_string(), *times)).collect();
        return Ok(output::json(&serde_json::json!({
            "seed": seed,
            "faults": struck,
            "acknowledged": count.acknowledged,
            "heard": count.heard,
            "view_changes": view.saturating_sub(1),
            "longest_gap_ms": millis(ledger.longest_gap()),
            "gaps_after_kills_ms": gaps.iter().copied().map(millis).collect::<Vec<_>>(),
            "median_gap_after_kill_ms": median,
            "lost": count.lost,
            "twice": count.twice,
            "disordered": count.disordered,
            "never_sent": count.never_sent,
            "ghosts": count.ghosts,
        }))?);
    }
    let faults: Vec<String> =
        nemesis.struck().iter().map(|(kind, times)| format!("{times} × {kind}")).collect();
    output::line(&format!("faults: {}", faults.join(", ")))?;
    output::line(&format!("view changes: {}", view.saturating_sub(1)))?;
    output::line(&format!(
        "longest gap between two acknowledgements: {} ms; after {} kills of the primary, in the median: {} ms",
        millis(ledger.longest_gap()),
        gaps.len(),
        median.map_or_else(|| "-".to_owned(), |median| median.to_string())
    ))?;
    output::line(&format!(
        "acknowledged {}, heard {} by all listeners together, lost {}, twice {}, disordered {}, never sent {}, ghosts {}",
        count.acknowledged,
        count.heard,
        count.lost,
        count.twice,
        count.disordered,
        count.never_sent,
        count.ghosts
    ))?;
    Ok(())
}
