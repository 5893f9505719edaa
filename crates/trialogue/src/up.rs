//! `up`: the whole service on this machine, in one command.

use crate::arguments::{Common, Up};
use crate::failure::{Failure, complain};
use crate::output;
use crate::playground::{Order, Playground, Process, What};
use crate::signals::Caught;
use crate::supervisor::Supervisor;
use chat::Address;
use client::{Client, Options};
use server::ClusterKey;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;

/// A replica that ends is started again after this, and later each time it ends soon after.
const RESTART_FIRST: Duration = Duration::from_millis(200);
const RESTART_AT_MOST: Duration = Duration::from_secs(10);
const LIVED_LONG: Duration = Duration::from_secs(10);
/// How long the service may take to answer before people are told what it waits for.
const TELL_AFTER: Duration = Duration::from_secs(5);

struct Restart {
    /// When a replica that has ended is due.
    due: Option<Instant>,
    wait: Duration,
    started: Instant,
}

pub(crate) async fn up(_: &Common, up: Up) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let playground = up.playground.then(|| Address::loopback(up.port + u16::from(up.replicas)));
    let mut supervisor = Supervisor::prepare_playground(&up.data, up.port, up.replicas, playground.clone())?;
    if !supervisor.settings().register_folder().exists() {
        // An operator who expected another service here, whose folder was removed or moved, learns of it now.
        let folder = supervisor.settings().data.display().to_string();
        complain(&format!("there was no service in {folder}: a new one begins there, without any messages"));
    }
    let replicas = usize::from(up.replicas);
    let playground = match playground {
        Some(address) => Some(open_playground(address, &supervisor).await?),
        None => None,
    };
    for index in 0..replicas {
        supervisor.start(index)?;
    }
    let outcome = watch(&mut supervisor, &up, playground, &mut signals).await;
    supervisor.end(signals.received()).await;
    outcome
}

async fn open_playground(address: Address, supervisor: &Supervisor) -> Result<Playground, Failure> {
    let settings = supervisor.settings();
    let key = ClusterKey::read(&settings.key_file()).map_err(Failure::of)?;
    let client = Client::new(settings.addresses.clone(), Options::default());
    Playground::open(address, &settings.addresses, client, &key).await
}

async fn watch(
    supervisor: &mut Supervisor,
    up: &Up,
    mut playground: Option<Playground>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let replicas = usize::from(up.replicas);
    let new = || Restart { due: None, wait: RESTART_FIRST, started: Instant::now() };
    let mut restarts: Vec<Restart> = (0..replicas).map(|_| new()).collect();
    let client = Client::new(supervisor.settings().addresses.clone(), Options { timeout: TELL_AFTER });
    let mut ready = false;
    loop {
        let due = restarts.iter().filter_map(|restart| restart.due).min();
        let wake = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        if let Some(playground) = &playground {
            playground
                .processes
                .send_replace((0..replicas).map(|index| process_of(supervisor, index)).collect());
        }
        tokio::select! {
            () = signals.received() => return Ok(()),
            Some(order) = next_order(&mut playground) => {
                let Order { replica, what, done } = order;
                let hurts = match what {
                    What::Kill => Some("killed"),
                    What::Pause => Some("paused"),
                    What::Restart => supervisor.runs(replica).then_some("restarted"),
                    What::Resume => None,
                };
                if let (Some(playground), Some(how)) = (&playground, hurts) {
                    playground.conversation.disturbed_by(format!("replica {replica} was {how}"));
                }
                if matches!(what, What::Kill | What::Restart) {
                    // Whatever was due for it, this takes its place.
                    restarts[replica] = new();
                }
                let outcome = obey(supervisor, replica, what).await.map_err(Failure::sentence);
                // The page that gave the order may have disconnected.
                let _ = done.send(outcome);
            }
            (index, status) = supervisor.ended() => {
                let restart = &mut restarts[index];
                if restart.started.elapsed() >= LIVED_LONG {
                    restart.wait = RESTART_FIRST;
                }
                let why = why(supervisor, index, status);
                if up.no_restart {
                    complain(&format!("replica {index} ended ({why}); it stays down"));
                    if (0..replicas).all(|index| !supervisor.runs(index)) {
                        return Err(Failure::Failed("no replica is left".into()));
                    }
                } else {
                    complain(&format!("replica {index} ended ({why}); it is started again"));
                    restart.due = Some(Instant::now() + restart.wait);
                    restart.wait = (restart.wait * 2).min(RESTART_AT_MOST);
                }
            }
            () = wake => {
                for (index, restart) in restarts.iter_mut().enumerate() {
                    if restart.due.is_some_and(|due| due <= Instant::now()) {
                        restart.due = None;
                        restart.started = Instant::now();
                        supervisor.start(index)?;
                    }
                }
            }
            served = client.ready(), if !ready => {
                if served.is_ok() {
                    ready = true;
                    output::line(&ready_lines(supervisor, up, playground.as_ref()))?;
                } else {
                    complain(&waiting(&client).await);
                }
            }
        }
    }
}

/// What is printed once a replica serves. In one piece: a reader that takes the first line alone ends nothing by that.
fn ready_lines(supervisor: &Supervisor, up: &Up, playground: Option<&Playground>) -> String {
    let mut lines = vec![
        format!(
            "ready: {} replicas at {}; data in {}",
            up.replicas,
            addresses(up),
            output::plain(&supervisor.settings().data.display().to_string())
        ),
        format!("in a browser: http://127.0.0.1:{}/ to chat, /cluster to watch", up.port),
    ];
    lines.extend(playground.map(|playground| format!("the playground: http://{}/", playground.address)));
    lines.join("\n")
}

/// The next order; none ever comes where there is no playground.
async fn next_order(playground: &mut Option<Playground>) -> Option<Order> {
    match playground {
        Some(playground) => playground.orders.recv().await,
        None => std::future::pending().await,
    }
}

/// A replica that was killed by order stays down until it is started again by order.
async fn obey(supervisor: &mut Supervisor, index: usize, what: What) -> Result<(), Failure> {
    match what {
        What::Kill => supervisor.kill(index).await,
        What::Pause => supervisor.pause(index),
        What::Resume => supervisor.resume(index),
        What::Restart => {
            supervisor.kill(index).await?;
            supervisor.start(index)
        }
    }
}

fn process_of(supervisor: &Supervisor, index: usize) -> Process {
    match (supervisor.runs(index), supervisor.is_paused(index)) {
        (false, _) => Process::Down,
        (true, true) => Process::Paused,
        (true, false) => Process::Runs,
    }
}

/// The addresses as `--servers` takes them.
fn addresses(up: &Up) -> String {
    let ports: Vec<String> = (0..u16::from(up.replicas)).map(|i| (up.port + i).to_string()).collect();
    format!("127.0.0.1:{}", ports.join(","))
}

/// What the service waits for, in one line.
async fn waiting(client: &Client) -> String {
    let replicas = client.replicas().await;
    let each = replicas.iter().enumerate().map(|(index, replica)| match &replica.heartbeat {
        None => format!("replica {index} does not answer"),
        Some(said) if !said.fault.is_empty() => format!("replica {index}: {}", said.fault),
        Some(said) if said.in_sync.is_empty() => format!("replica {index} waits for a first start of all replicas"),
        Some(said) if said.in_sync.contains(&said.replica) => format!("replica {index} is a {}", said.role),
        Some(said) => format!(
            "replica {index} is not in sync and waits for one of {:?} (if they are gone for good, see: trialogue recover --help)",
            said.in_sync
        ),
    });
    format!("nobody serves yet: {}", each.collect::<Vec<_>>().join("; "))
}

fn why(supervisor: &Supervisor, index: usize, status: std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Err(error) => error.to_string(),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(0)) => "by itself".into(),
            (None, _) => supervisor.last_words(index).unwrap_or_else(|| status.to_string()),
        },
    }
}

/// Ctrl-C, and its relatives.
struct Signals {
    interrupt: Caught,
    terminate: Caught,
    hang_up: Caught,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: Caught::new(SignalKind::interrupt())?,
            terminate: Caught::new(SignalKind::terminate())?,
            hang_up: Caught::new(SignalKind::hangup())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            () = self.interrupt.received() => {}
            () = self.terminate.received() => {}
            () = self.hang_up.received() => {}
        }
    }
}
