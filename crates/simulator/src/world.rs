//! The world: starts and ends processes, lets what is planned happen, and feeds events to the replicas, whose effects it
//! performs (`effects.rs`). Like the server's driver it decides nothing: no role and no view is looked at here.

use crate::agenda::{Agenda, Happening};
use crate::checks;
use crate::client::Client;
use crate::disk::Disk;
use crate::fact::Fact;
use crate::ledger::Ledger;
use crate::listener::Listener;
use crate::lock::LockFile;
use crate::network::{Network, index};
use crate::node::{Clock, Held, Node};
use crate::profile::Profile;
use crate::random::Random;
use crate::register::Register;
use crate::sender::Sender;
use crate::storage::Health;
use crate::trace::Trace;
use protocol::{
    DatabaseId, Event, Identity, Incarnation, Replica, ReplicaSet, Time, Timing, Token, WallTime,
};
const LISTENERS: usize = 2;
/// The wall-clock time at the beginning of every run, in milliseconds: some day in 2026.
const WALL_BEGINS: u64 = 1_790_000_000_000;
/// No run has nearly as many events.
const EVENTS_MAX: u64 = 1_000_000;

/// A cluster and everything around it.
#[derive(Debug)]
pub struct World {
    /// Microseconds since the beginning, by the world's own clock.
    pub now: u64,
    /// The processes that run.
    pub nodes: Vec<Option<Node>>,
    /// The databases.
    pub disks: Vec<Disk>,
    /// How each disk is doing.
    pub health: Vec<Health>,
    /// The view register.
    pub register: Register,
    /// What was acknowledged, answered and read.
    pub ledger: Ledger,
    /// What is told of the run.
    pub trace: Trace,
    /// What the run is like.
    pub profile: Profile,
    pub(crate) random: Random,
    /// What impairs replicas, in the runs in which something does.
    pub(crate) impairments: Option<Random>,
    /// When the page is turned.
    pub(crate) turns: Random,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) senders: Vec<Sender>,
    /// Older copies of databases, kept by an operator who will put them back.
    pub(crate) backups: Vec<Option<Disk>>,
    /// Disks that have lost what they had confirmed, and are not level again yet.
    pub(crate) lied: Vec<bool>,
    /// Databases that were wiped or replaced by an older copy at some time, unknown to the primary, which counts copies.
    pub(crate) replaced: Vec<bool>,
    /// The lock file that each replica's folder has now. A process holds the one that it found at its start.
    pub(crate) locks: Vec<LockFile>,
    pub(crate) files: u64,
    /// How often the machine was started.
    pub(crate) boot: u64,
    /// The boot in which each database was last known to be whole; `None` after a clean end of its process.
    pub(crate) whole_in: Vec<Option<u64>>,
    /// No new operations begin.
    pub(crate) closing: bool,
    pub(crate) faults_left: u64,
    pub(crate) requests: u32,
    pub(crate) reads: u64,
    /// How many streams senders have opened.
    pub(crate) streams: u64,
    agenda: Agenda,
    clocks: Vec<Clock>,
    /// By how many milliseconds each wall clock is wrong.
    pub(crate) wrong_by: Vec<i64>,
    /// By how many it was wrong the last time.
    pub(crate) last_wrong_by: Vec<i64>,
    pub(crate) starts: u64,
    databases: u64,
    /// How many events were handled.
    pub events: u64,
    /// How long it took from the end of the faults until all was well, in microseconds.
    pub(crate) healed_after: u64,
    timing: Timing,
}

impl World {
    /// A world in which no process runs yet.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let replicas = profile.replicas;
        let clock = |random: &mut Random| {
            if !profile.clocks_apart {
                return Clock { offset: 0, rate: 1000 };
            }
            Clock { offset: random.below(1_000_000_000), rate: random.pick(&[800, 900, 1000, 1100, 1200]) }
        };
        Self {
            now: 0,
            nodes: (0..replicas).map(|_| None).collect(),
            disks: (0..replicas).map(|i| Disk::new(i as u64 + 1)).collect(),
            health: vec![Health::default(); replicas],
            register: Register::new(replicas),
            ledger: Ledger::new(),
            trace: Trace::default(),
            network: Network::new(LISTENERS),
            clients: (0..profile.clients).map(|_| Client::default()).collect(),
            listeners: (0..LISTENERS).map(|_| Listener::default()).collect(),
            senders: (0..profile.senders).map(|_| Sender::default()).collect(),
            backups: vec![None; replicas],
            lied: vec![false; replicas],
            replaced: vec![false; replicas],
            locks: (0..replicas as u64).map(LockFile::new).collect(),
            files: replicas as u64,
            boot: 1,
            whole_in: vec![None; replicas],
            closing: false,
            faults_left: 0,
            requests: 0,
            reads: 0,
            streams: 0,
            agenda: Agenda::default(),
            clocks: (0..replicas).map(|_| clock(&mut random)).collect(),
            wrong_by: vec![0; replicas],
            last_wrong_by: vec![0; replicas],
            starts: 0,
            databases: 100,
            events: 0,
            healed_after: 0,
            timing: Timing::DEFAULT,
            random,
            impairments: None,
            turns: Random::new(seed.rotate_left(32)),
            profile,
        }
    }

    /// A number of microseconds of the range; its beginning, where everything takes a fixed time.
    pub(crate) fn micros(&mut self, from: u64, to: u64) -> u64 {
        if self.profile.jitter { self.random.within(from..to) } else { from }
    }

    pub(crate) fn later(&mut self, delay: u64, happening: Happening) {
        self.agenda.add(self.now + delay, happening);
    }

    pub(crate) fn planned(&self) -> impl Iterator<Item = &Happening> {
        self.agenda.iter()
    }

    pub(crate) fn local(&self, i: usize) -> Time {
        self.clocks[i].local(self.now)
    }

    /// The right wall-clock time.
    pub(crate) const fn right_time(&self) -> WallTime {
        WallTime(WALL_BEGINS + self.now / 1000)
    }

    /// The wall clock of a replica.
    pub(crate) fn wall(&self, i: usize) -> WallTime {
        WallTime(self.right_time().0.saturating_add_signed(self.wrong_by[i]))
    }

    pub(crate) fn incarnation(&self, i: usize) -> u64 {
        self.nodes[i].as_ref().map_or(0, |node| node.incarnation)
    }

    pub(crate) fn alive(&self, i: usize, incarnation: u64) -> bool {
        self.nodes[i].as_ref().is_some_and(|node| node.incarnation == incarnation)
    }

    pub(crate) fn new_database(&mut self) -> DatabaseId {
        self.databases += 1;
        Disk::new(self.databases).database
    }

    /// Starts a process on what its disk holds; nothing happens if it runs already.
    pub fn start(&mut self, i: usize) {
        if self.nodes[i].is_some() {
            return;
        }
        self.starts += 1;
        if !self.open_store(i) {
            return;
        }
        let disk = &self.disks[i];
        let identity = Identity {
            index: index(i),
            all: ReplicaSet::first(u8::try_from(self.nodes.len()).expect("few replicas")),
            incarnation: Incarnation(self.starts),
            database: disk.database,
            logged: disk.position(),
            committed: disk.known_committed(),
            applied: disk.applied(),
            after_power_failure: self.whole_in[i].is_some_and(|boot| boot != self.boot),
            remembered: (*disk.memory).clone(),
        };
        self.whole_in[i] = self.whole_in[i].or(Some(self.boot));
        self.locks[i].take(identity.incarnation);
        let replica = Replica::new(identity, self.timing, self.profile.bounds, self.local(i));
        let lock = self.locks[i].file;
        self.nodes[i] = Some(Node::new(index(i), replica, self.starts, self.nodes.len(), lock));
        for peer in 0..self.nodes.len() {
            self.reconnect(i, peer);
        }
        self.handle(i, Event::Tick);
    }

    /// Ends a process at once.
    pub fn crash(&mut self, i: usize) {
        let Some(node) = self.nodes[i].take() else { return };
        self.end_in_the_middle_of_a_write(i, &node);
        self.leave_lost_files(i);
        for stream in node.streams.into_iter().flatten() {
            self.close(stream);
        }
        self.hang_up(node.subscriptions);
        self.end_feeds(node.feeds);
    }

    /// Ends a process cleanly: what it has written is known to be whole, if it was before.
    pub fn stop(&mut self, i: usize) {
        self.whole_in[i] = self.whole_in[i].filter(|boot| *boot != self.boot);
        self.crash(i);
    }

    /// Stops a process in its tracks; time goes on.
    pub fn pause(&mut self, i: usize) {
        if let Some(node) = &mut self.nodes[i] {
            node.paused = true;
        }
    }

    /// Lets a paused process go on, with what has reached it meanwhile.
    pub fn resume(&mut self, i: usize) {
        let Some(node) = &mut self.nodes[i] else { return };
        if !node.paused {
            return;
        }
        node.paused = false;
        let held = std::mem::take(&mut node.held);
        // Whichever the process looks at first: the clock, or what has arrived.
        if !self.profile.jitter || self.random.percent(50) {
            self.handle(i, Event::Tick);
        }
        for arrival in held {
            match arrival {
                Held::Event(event) => self.handle(i, event),
                Held::Call { client, attempt, call } => self.arrive(i, client, attempt, call),
                Held::Carried { stream, carried } => self.arrive_by_stream(i, stream, carried),
                Held::Look(read) => self.look(i, read),
                Held::Report(seen) => self.report(i, seen),
            }
        }
        self.handle(i, Event::Tick);
    }

    /// Nothing passes from `from` to `to` until [`World::heal`]; the streams do not break by themselves.
    pub fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.network.cut.insert((from, to));
        }
    }

    /// Lets `span` microseconds pass.
    pub fn run_for(&mut self, span: u64) {
        let end = self.now + span;
        while let Some((at, happening)) = self.agenda.next(end) {
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell { to, incarnation, event } => {
                if self.alive(to, incarnation) {
                    self.handle(to, *event);
                }
            }
            Happening::Tick { to, incarnation } => self.tick(to, incarnation),
            Happening::TickEarly { to, incarnation } => self.tick_early(to, incarnation),
            Happening::Deliver { at, message } => self.deliver(at, *message),
            Happening::Connect { a, b } => self.connect(a, b),
            Happening::Start { node } => self.start(node),
            Happening::Resume { node } => self.resume(node),
            Happening::Store { at, incarnation, effect } => self.store(at, incarnation, effect),
            Happening::WriteLog { at, incarnation } => self.write_log(at, incarnation),
            Happening::CopySnapshot { to, incarnation, token, from, memory } => {
                self.copy_snapshot(to, incarnation, token, from, memory);
            }
            Happening::SwapSnapshot { to, incarnation, token, copy } => {
                self.swap_snapshot(to, incarnation, token, *copy);
            }
            Happening::ReadRegister { by, incarnation, token } => self.read_register(by, incarnation, token),
            Happening::Swap { by, incarnation, token, register, view, answered } => {
                self.swap(by, incarnation, token, (register, view), answered);
            }
            Happening::ProveDeath { by, incarnation, token, peer, process } => {
                self.prove_death(by, incarnation, token, peer, process);
            }
            Happening::Begin { client } => self.begin(client),
            Happening::Arrive { node, client, attempt, call } => self.arrive(node, client, attempt, call),
            Happening::Reply { client, attempt, outcome } => self.reply(client, attempt, outcome),
            Happening::Overdue { client, attempt } => self.overdue(client, attempt),
            Happening::Look { at, incarnation, read } => {
                if self.alive(at, incarnation) {
                    self.look(at, read);
                }
            }
            Happening::Report { at, incarnation, seen } => {
                if self.alive(at, incarnation) {
                    self.report(at, *seen);
                }
            }
            Happening::Listen { listener } => self.listen(listener),
            Happening::Hear { listener, session, op, request } => self.hear(listener, session, op, request),
            Happening::Doubt { listener, session } => self.doubt(listener, session),
            Happening::Sender { sender, step } => self.step(sender, step),
            Happening::RightClock { node } => self.set_clock_wrong(node, 0),
            Happening::TellClock { node } => self.tell_clock(node),
            Happening::Fault { once } => self.strike(once),
        }
        checks::who_is_level_again(self);
        checks::acknowledged_is_everywhere(self);
        checks::no_fork_in_sync(self);
    }

    fn tick(&mut self, to: usize, incarnation: u64) {
        if !self.alive(to, incarnation) {
            return;
        }
        let now = self.now;
        if let Some(node) = &mut self.nodes[to]
            && node.tick_at.is_some_and(|at| at <= now)
        {
            node.tick_at = None;
            self.handle(to, Event::Tick);
        }
    }

    fn prove_death(&mut self, by: usize, incarnation: u64, token: Token, peer: usize, process: Incarnation) {
        let lock = &self.locks[peer];
        // A replica that asks for an earlier run of its own holds that lock itself.
        let held = self
            .nodes
            .iter()
            .enumerate()
            .any(|(i, node)| i != by && node.as_ref().is_some_and(|node| node.lock == lock.file));
        let proven =
            !held && lock.proves_death(process) && !self.random.percent(self.profile.proofs_withheld);
        let delay = self.micros(50, 400);
        let event = Box::new(Event::DeathAnswered { token, proven });
        self.later(delay, Happening::Tell { to: by, incarnation, event });
    }

    pub(crate) fn handle(&mut self, i: usize, event: Event<Fact>) {
        self.handle_at(i, event, false);
    }

    /// Whatever a core does because of the time alone, it does at a deadline of which it has told: a tick before that must
    /// come to nothing.
    fn tick_early(&mut self, to: usize, incarnation: u64) {
        let now = self.now;
        let due = |node: &Node| node.incarnation == incarnation && node.tick_at.is_some_and(|at| at > now);
        if self.nodes[to].as_ref().is_some_and(due) {
            self.handle_at(to, Event::Tick, true);
        }
    }

    fn handle_at(&mut self, i: usize, event: Event<Fact>, early: bool) {
        let local = self.local(i);
        let Some(node) = &mut self.nodes[i] else { return };
        if node.paused {
            node.held.push_back(Held::Event(event));
            return;
        }
        self.events += 1;
        assert!(self.events < EVENTS_MAX, "invariant 7: the replicas keep each other busy for ever");
        self.trace.event(self.now, i, &node.replica, local, &event);
        node.takes_note(&event);
        let effects = node.replica.handle(local, event);
        assert!(
            !early || effects.is_empty(),
            "replica {i} does something before its deadline, as if it had been told of none: {effects:?}"
        );
        checks::what_is_known_to_be_committed(self, i);
        checks::tables_show_what_is_committed(self, i);
        let dies = !effects.is_empty() && self.random.in_ten_thousand(self.profile.crashes_between_effects);
        let dies_after = if dies { self.random.index(effects.len() + 1) } else { usize::MAX };
        for (place, effect) in effects.into_iter().enumerate() {
            if place == dies_after || self.nodes[i].is_none() {
                break;
            }
            self.perform(i, effect);
        }
        checks::one_primary_a_view(self, i);
        checks::under_way(self, i);
        if dies {
            self.trace.write(self.now, i, &"dies between two effects");
            self.crash_and_restart(i);
            return;
        }
        let now = self.now;
        let clock = self.clocks[i];
        let Some(node) = &mut self.nodes[i] else { return };
        if let Some(deadline) = node.replica.next_deadline(local) {
            let at = clock.world(deadline).max(now + 1);
            if node.tick_at.is_none_or(|earlier| earlier > at || earlier <= now) {
                node.tick_at = Some(at);
                let incarnation = node.incarnation;
                if self.random.percent(self.profile.early_ticks) {
                    let early = self.random.below(at - now);
                    self.later(early, Happening::TickEarly { to: i, incarnation });
                }
                self.later(at - now, Happening::Tick { to: i, incarnation });
            }
        }
    }
}
