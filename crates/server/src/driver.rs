//! The driver: one loop that feeds events to the core and performs its effects. It decides nothing.

mod batches;

use self::batches::Batches;
use crate::clock;
use crate::delivery::Delivery;
use crate::gateway::Gateway;
use crate::impairments::Impairments;
use crate::incoming::{Incoming, Link, StoreAnswer};
use crate::lock;
use crate::power::BootRecord;
use crate::published::Published;
use crate::register::ViewRegister;
use crate::room::RoomLeft;
use crate::run_error::RunError;
use crate::snapshot_transfer::SnapshotSource;
use crate::storage::{Lanes, LogCommand, TablesCommand};
use crate::{LOCK_FILE, Settings};
use api::replica::to_wire;
use chat::Record;
use protocol::{
    Effect, Event, HaltReason, Impairment, Incarnation, LockRecord, Memory, Op, RegisterId, RegisterRead,
    Replica, ReplicaIndex, StreamId, SwapOutcome, Token,
};
use replica_log::LogError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use store::{StoreError, decode_entries};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

/// A piece of the log for a replica that catches up, in bytes.
const LOG_PIECE_BYTES: usize = 1 << 20;
/// How long a log read or a register may keep the driver waiting for nothing when the deadline is unknown.
const IDLE_AT_MOST: Duration = Duration::from_secs(1);

const CLOCK_WRONG: &str = "the clock of this replica is an hour or more from those of two others, which agree; it does not lead until its clock is set right";

const NO_CONNECTIONS: &str = "this replica can't accept connections: it has as many as it may have open files for; raise that limit, or find out who opens them";

/// Everything that the driver needs to perform effects.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) core: Replica<Record>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) index: ReplicaIndex,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    /// For those who answer effects from elsewhere.
    pub(crate) answers: mpsc::Sender<Incoming>,
    pub(crate) storage: Lanes,
    pub(crate) register: Arc<dyn ViewRegister>,
    pub(crate) snapshots: SnapshotSource,
    /// What this process's own lock file says.
    pub(crate) lock: LockRecord,
    pub(crate) boot: Arc<BootRecord>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) published: watch::Sender<Published>,
    pub(crate) impairments: Impairments,
    pub(crate) state: State,
}

/// What the driver remembers between effects and their answers.
#[derive(Debug, Default)]
pub(crate) struct State {
    links: BTreeMap<ReplicaIndex, Link>,
    batches: Batches,
    /// The tables show everything up to here.
    applied: Op,
    /// Events that performing an effect gave rise to at once.
    backlog: VecDeque<Event<Record>>,
    fault: Option<String>,
    halted: Option<HaltReason>,
    /// Why nothing can be proven by a peer's lock, as it was last logged.
    locks_unreadable: BTreeMap<ReplicaIndex, String>,
    /// The core has asked for the end of this process.
    ends: Option<HaltReason>,
    /// How many primacies there were in this process.
    primacies: u64,
    /// Dropped once nothing is left to be handed over.
    handing_over: Option<oneshot::Sender<()>>,
}

impl State {
    /// Of tables that show everything up to there.
    pub(crate) fn new(applied: Op) -> Self {
        Self { applied, ..Self::default() }
    }
}

impl Driver {
    /// Runs until the process ends, or until the store is lost.
    pub(crate) async fn run(mut self) -> Result<(), RunError> {
        self.handle(Event::Tick);
        loop {
            self.publish();
            self.look_whether_handed_over();
            if let Some(reason) = self.state.ends {
                return Err(RunError::Ends(reason));
            }
            let now = clock::now();
            let wait = self.core.next_deadline(now).map_or(IDLE_AT_MOST, |deadline| deadline - now);
            tokio::select! {
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => self.take(incoming)?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(wait) => self.handle(Event::Tick),
            }
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), RunError> {
        match incoming {
            Incoming::Core(event) => {
                if let Event::StreamClosed { peer, stream } = event {
                    // Nothing comes from it any more: the peer must learn that, too.
                    self.close_link(peer, stream);
                }
                self.handle(event);
            }
            Incoming::Store(answer) => self.on_store(answer)?,
            Incoming::OfAPeer { peer, impaired } => {
                self.impairments.set_other(peer, impaired);
                self.tell_impairments();
            }
            Incoming::Impairment { impairment, begins } => self.impair(impairment, begins),
            Incoming::Ends { handed_over } => {
                self.state.handing_over = Some(handed_over);
                self.impair(Impairment::Ending, true);
            }
            Incoming::Linked { peer, link } => {
                let stream = link.stream;
                self.state.links.insert(peer, link);
                self.handle(Event::StreamOpened { peer, stream });
            }
            Incoming::SnapshotReady { token, arrived: true } => {
                self.storage.tables(TablesCommand::SwapIn { token });
            }
            Incoming::SnapshotReady { token, arrived: false } => self.handle(Event::SnapshotFailed { token }),
        }
        Ok(())
    }

    fn on_store(&mut self, answer: StoreAnswer) -> Result<(), RunError> {
        match answer {
            StoreAnswer::Executed { token, executed, left } => self.on_executed(token, executed, left),
            StoreAnswer::Logged { token } => self.handle(Event::Logged { token }),
            StoreAnswer::Applied { token, applied } => {
                self.on_applied(applied.op);
                self.handle(Event::Applied { token, applied });
            }
            StoreAnswer::Cut { token } => self.handle(Event::LogCut { token }),
            StoreAnswer::Remembered { token } => self.handle(Event::Remembered { token }),
            StoreAnswer::SwappedIn { token, database, position } => {
                info!(%position, "has taken a snapshot");
                self.state.fault = None;
                self.on_applied(position.op);
                self.handle(Event::SnapshotInstalled { token, database, position });
            }
            StoreAnswer::Repaired { token, logged, applied } => {
                info!(position = %logged, "the store is repaired: everything in it was written anew and synced");
                self.state.fault = None;
                self.on_applied(applied.op);
                self.handle(Event::StoreRepaired { token, logged, applied });
            }
            StoreAnswer::Failed { token, error } => {
                // Behind a write of the log that has failed, those that waited fail too: the first says why.
                if !matches!(error, StoreError::Log(LogError::Closed { .. })) {
                    warn!(%error, "the store failed; until it is repaired this replica counts as no copy");
                    self.state.fault = Some(error.to_string());
                }
                self.state.batches.remove(token);
                self.handle(Event::StoreFailed { token });
            }
            StoreAnswer::Room(left) => self.on_room(left),
            StoreAnswer::FilesLost { error } => {
                warn!(%error, "this replica counts as no copy");
                self.state.fault = Some(error.to_string());
                self.handle(Event::FilesLost);
            }
            StoreAnswer::Lost { error } => return Err(error.into()),
        }
        Ok(())
    }

    fn disk_full(&self) -> String {
        let database = self.settings.database(usize::from(self.index.0));
        format!(
            "the disk of {} is nearly full: while this replica leads, writing is refused, and reading works; make room on it",
            database.display()
        )
    }

    fn on_room(&mut self, left: RoomLeft) {
        match left {
            RoomLeft::Enough => info!("there is room on the disk again"),
            RoomLeft::Short => warn!("{}", self.disk_full()),
            RoomLeft::ShortForLong => {}
        }
        self.impairments.announce(left != RoomLeft::Enough);
        self.impair(Impairment::DiskFull, left == RoomLeft::ShortForLong);
    }

    fn impair(&mut self, impairment: Impairment, begins: bool) {
        self.impairments.set(impairment, begins);
        let said = self.impairments.envelope().alone();
        for link in self.state.links.values() {
            // A full queue says it with its own messages.
            let _ = link.outbound.try_send(said.clone());
        }
        self.tell_impairments();
    }

    fn tell_impairments(&mut self) {
        let (by, better_off) = (self.impairments.gravest(), self.impairments.better_off());
        self.handle(Event::Impaired { by, better_off });
    }

    /// A process that is to end waits while there is something to be handed over.
    fn look_whether_handed_over(&mut self) {
        if self.state.handing_over.is_some() && !self.core.status(clock::now()).handing_over {
            self.state.handing_over = None;
        }
    }

    fn handle(&mut self, event: Event<Record>) {
        self.state.backlog.push_back(event);
        while let Some(event) = self.state.backlog.pop_front().or_else(|| self.look_for_requests()) {
            for effect in self.core.handle(clock::now(), event) {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect<Record>) {
        match effect {
            Effect::Send { peer, stream, message } => {
                let link = self.state.links.get(&peer).filter(|link| link.stream == stream);
                if link.is_some_and(|link| {
                    link.outbound.try_send(self.impairments.envelope().around(to_wire(&message))).is_err()
                }) {
                    // Its queue is full or its stream is over: either way nothing more can be said on it.
                    self.close_link(peer, stream);
                    self.state.backlog.push_back(Event::StreamClosed { peer, stream });
                }
            }
            Effect::Disconnect { peer, stream } => self.close_link(peer, stream),
            Effect::ReadRegister { token } => self.read_register(token),
            Effect::Swap { token, register, view } => self.swap(token, register, view),
            Effect::ProveDeath { token, peer, incarnation } => {
                let proven = self.proves_death(peer, incarnation);
                self.state.backlog.push_back(Event::DeathAnswered { token, proven });
            }
            Effect::Execute { token, copies } => self.execute(token, copies),
            Effect::Log { token, entries, committed } => {
                self.storage.log(LogCommand::Log { token, entries, committed });
            }
            Effect::Cut { token, to } => {
                self.storage.log(LogCommand::Cut { token, to });
            }
            Effect::Apply { token, up_to } => self.storage.tables(TablesCommand::Apply { token, up_to }),
            Effect::RepairStore { token } => self.storage.tables(TablesCommand::Repair { token }),
            Effect::Remember { token, memory } => {
                self.storage.tables(TablesCommand::Remember { token, memory });
            }
            Effect::ReadLog { token, after } => self.read_log(token, after),
            Effect::InstallSnapshot { token, from, memory } => self.fetch_snapshot(token, from, memory),
            Effect::Answer { token, copies } => self.answer(token, copies),
            Effect::AnswerRead { read, at_least } => {
                self.gateway.allow_read(read, at_least, self.state.applied);
            }
            Effect::RefuseRead { read } => self.gateway.refuse_read(read),
            Effect::RefuseRequests => self.gateway.close(),
            Effect::Serve { view } => {
                info!(view = view.0, "serves");
                self.state.primacies += 1;
                self.gateway.open();
                self.begin_history();
            }
            Effect::StopServing => {
                self.gateway.close();
                self.delivery.end_all();
                self.state.batches.clear();
            }
            Effect::PowerFailureOver => self.database_is_whole(),
            Effect::Note(note) => info!("{note}"),
            Effect::End { reason } => self.state.ends = Some(reason),
            Effect::Halt { reason } => {
                warn!("halts: {reason}");
                self.state.halted = Some(reason);
            }
        }
    }

    fn proves_death(&mut self, peer: ReplicaIndex, process: Incarnation) -> bool {
        if peer == self.index {
            // Its lock is held by this process.
            return self.lock.proves_death(self.lock.file, process);
        }
        let folder = self.settings.replica_folder(usize::from(peer.0));
        match lock::proves_death(&folder, LOCK_FILE, process) {
            Ok(proven) => {
                self.state.locks_unreadable.remove(&peer);
                proven
            }
            Err(error) => {
                let why = error.to_string();
                if self.state.locks_unreadable.get(&peer) != Some(&why) {
                    warn!(
                        "the lock in {} can't be tried ({why}): whether replica {peer} is dead can't be proven, and a \
                         takeover from it waits until its lease is over",
                        folder.display()
                    );
                    self.state.locks_unreadable.insert(peer, why);
                }
                false
            }
        }
    }

    fn database_is_whole(&self) {
        let boot = self.boot.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = boot.database_is_whole() {
                // It costs another wait at the next start, if the others are not there.
                warn!(%error, "the end of the power failure could not be written down");
            }
        });
    }

    fn close_link(&mut self, peer: ReplicaIndex, stream: StreamId) {
        if self.state.links.get(&peer).is_some_and(|link| link.stream == stream) {
            self.state.links.remove(&peer);
        }
    }

    /// The tables show more than before, or those of another database are in their place.
    fn on_applied(&mut self, applied: Op) {
        self.state.applied = applied;
        self.gateway.applied(applied);
    }

    fn read_register(&self, token: Token) {
        let (register, answers) = (self.register.clone(), self.answers.clone());
        tokio::spawn(async move {
            let outcome = match register.read().await {
                Ok(Some((register, view))) => RegisterRead::Current { register, view },
                Ok(None) => RegisterRead::Empty,
                Err(error) => {
                    warn!(%error, "the view register could not be read");
                    RegisterRead::Failed
                }
            };
            answer(&answers, Event::RegisterRead { token, outcome }).await;
        });
    }

    fn swap(&self, token: Token, id: RegisterId, view: protocol::View) {
        let (register, answers) = (self.register.clone(), self.answers.clone());
        tokio::spawn(async move {
            let outcome = match register.compare_and_swap(id, view).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    warn!(%error, "the view register did not say what became of a view");
                    SwapOutcome::Unknown
                }
            };
            answer(&answers, Event::SwapAnswered { token, outcome }).await;
        });
    }

    fn read_log(&self, token: Token, after: protocol::Op) {
        let (log, answers) = (self.storage.shared_log().reader(), self.answers.clone());
        let database = self.settings.database(usize::from(self.index.0));
        tokio::task::spawn_blocking(move || {
            let read = || {
                let piece = log.read_after(after, LOG_PIECE_BYTES)?;
                Ok::<_, StoreError>((piece.chain, decode_entries(&database, piece.entries)?))
            };
            let (chain, entries) = match read() {
                Ok(piece) => piece,
                Err(error) => {
                    // Without an answer no replica can be brought level; a snapshot, read page by page, may still work.
                    warn!(%error, "the log could not be read");
                    (None, Vec::new())
                }
            };
            // An error means that the driver has ended: it needs no answer.
            let _ = answers.blocking_send(Incoming::Core(Event::LogRead { token, chain, entries }));
        });
    }

    fn fetch_snapshot(&self, token: Token, from: ReplicaIndex, memory: Option<Memory>) {
        let (source, answers) = (self.snapshots.clone(), self.answers.clone());
        let address = self.settings.addresses[usize::from(from.0)].clone();
        let database = self.settings.database(usize::from(self.index.0));
        tokio::spawn(async move {
            let fetched = source.fetch(from, &address, &database, memory).await;
            if let Err(error) = &fetched {
                warn!(%error, "no snapshot was taken from replica {from}");
            }
            // The driver has ended: so has this replica.
            let _ = answers.send(Incoming::SnapshotReady { token, arrived: fetched.is_ok() }).await;
        });
    }

    fn publish(&mut self) {
        let status = self.core.status(clock::now());
        self.impairments.set_unfit(!status.able);
        let disk_full = self.impairments.is_announced();
        let hindrance = || {
            if status.clock_wrong {
                Some(CLOCK_WRONG.to_owned())
            } else if disk_full {
                Some(self.disk_full())
            } else {
                self.impairments.has(Impairment::NoConnections).then(|| NO_CONNECTIONS.to_owned())
            }
        };
        let fault = self.state.fault.clone().or_else(hindrance);
        let published = Published { status, fault, disk_full, halted: self.state.halted };
        self.published.send_if_modified(|before| {
            let is_news = published.is_news_after(before);
            *before = published;
            is_news
        });
    }
}

async fn answer(answers: &mpsc::Sender<Incoming>, event: Event<Record>) {
    // An error means that the driver has ended: it needs no answer.
    let _ = answers.send(Incoming::Core(event)).await;
}
