//! Every order of events in small cases: two and three replicas, two writes, a crash and a return at any point, a secondary
//! that suspects the primary wrongly. `stateright` drives the very same protocol object through all of them, breadth first.
//!
//! Time stands still, except where a replica is let to suspect: then its own clock leaps over its waiting times, one after
//! the other. So leases are not looked at here (clocks that leap break any lease), and reads are left to the simulator.
//! A store effect, a swap, a message and a break of a stream each happen at a moment of their own. What a crashed replica
//! had sent may still arrive, or not.
//!
//! `cargo test --release -p protocol --test every_order -- --nocapture --include-ignored` also runs the case that takes minutes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test"
)]

use protocol::{
    Bounds, Effect, Entry, Event, Identity, Incarnation, Message, Op, Position, RegisterId, RegisterRead,
    Replica, ReplicaIndex, ReplicaSet, StreamId, SwapOutcome, Time, Timing, Token, View, ViewNumber,
    WallTime,
};
use simulator::disk::{Dates, Disk};
use simulator::fact::{Action as Wish, Fact, Request};
use stateright::{Checker, Model, Property};
use std::collections::VecDeque;
use std::time::Duration;

/// Whoever suspects leaps over its grace, then over the wait for a lower index, then over the wait for the others.
const LEAP: Duration = Duration::from_millis(2500);

#[derive(Clone, Debug)]
struct Case {
    replicas: usize,
    writes: u32,
    crashes: u32,
    /// Whether a crashed replica may come back, at any moment.
    returns: bool,
    /// How many batches may be in flight.
    in_flight: usize,
    leaps: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    replica: Replica<Fact>,
    clock: Time,
    serving: bool,
    /// The stream to each peer that this replica knows of.
    streams: Vec<Option<StreamId>>,
    /// What the log is to write, in order; and what else the store is asked for, each carried out at a moment of its own.
    log: VecDeque<(Token, Vec<Entry<Fact>>, Position)>,
    store: Vec<Effect<Fact>>,
    requests: Vec<Request>,
    /// What was executed in this primacy and is not applied.
    overlay: Vec<Entry<Fact>>,
    /// The batches in flight: their tokens, and where the log ends with each.
    batches: Vec<(Token, Position)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Swap {
    by: usize,
    incarnation: u64,
    token: Token,
    view: View,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stream {
    /// The two ends: who, and in which run.
    ends: [(usize, u64); 2],
    /// What is under way to the first and to the second end.
    to: [VecDeque<Message<Fact>>; 2],
    /// Closed, and not yet noticed by that end.
    unnoticed: [bool; 2],
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cluster {
    nodes: Vec<Option<Node>>,
    runs: Vec<u64>,
    disks: Vec<Disk>,
    streams: Vec<Stream>,
    swaps: Vec<Swap>,
    views: Vec<View>,
    register: RegisterId,
    acknowledged: Position,
    /// What any replica has known to be committed.
    known: Op,
    led: Vec<(u64, usize)>,
    databases: u64,
    bounds: Bounds,
    writes: u32,
    crashes: u32,
    leaps: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Deliver(usize, usize),
    Notice(usize, usize),
    Log(usize),
    Store(usize, usize),
    Swap(usize),
    Connect(usize, usize),
    Write(usize),
    Crash(usize),
    Start(usize),
    Leap(usize),
}

impl Cluster {
    /// All started, view 1 founded and served, nothing under way.
    fn new(case: &Case) -> Self {
        let mut cluster = Self {
            nodes: vec![None; case.replicas],
            runs: vec![0; case.replicas],
            disks: (0..case.replicas).map(|i| Disk::new(i as u64 + 1)).collect(),
            streams: Vec::new(),
            swaps: Vec::new(),
            views: Vec::new(),
            register: RegisterId([0; 16]),
            acknowledged: Position::ORIGIN,
            known: Op(0),
            led: Vec::new(),
            databases: 100,
            bounds: Bounds {
                batches_in_flight: case.in_flight,
                apply_within: Duration::ZERO,
                ..Bounds::DEFAULT
            },
            writes: 0,
            crashes: 0,
            leaps: 0,
        };
        for i in 0..case.replicas {
            cluster.start(i);
        }
        for a in 0..case.replicas {
            for b in a + 1..case.replicas {
                cluster.connect(a, b);
            }
        }
        let founder = Time::from_micros(200_000);
        for i in 0..case.replicas {
            cluster.nodes[i].as_mut().unwrap().clock = founder;
            cluster.handle(i, Event::Tick);
        }
        let quiet = Case { writes: 0, crashes: 0, leaps: 0, ..case.clone() };
        while let Some(step) = cluster.steps(&quiet).into_iter().next() {
            cluster.step(&step);
        }
        assert!(cluster.nodes[0].as_ref().unwrap().serving, "the founder serves");
        (cluster.writes, cluster.crashes, cluster.leaps) = (case.writes, case.crashes, case.leaps);
        cluster
    }

    fn steps(&self, case: &Case) -> Vec<Step> {
        let mut steps = Vec::new();
        for (place, stream) in self.streams.iter().enumerate() {
            for end in 0..2 {
                let (i, run) = stream.ends[end];
                if self.runs[i] != run || self.nodes[i].is_none() {
                    continue;
                }
                if !stream.to[end].is_empty() {
                    steps.push(Step::Deliver(place, end));
                }
                if stream.unnoticed[end] {
                    steps.push(Step::Notice(place, end));
                }
            }
        }
        steps.extend((0..self.swaps.len()).map(Step::Swap));
        for (i, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else {
                if case.returns {
                    steps.push(Step::Start(i));
                }
                continue;
            };
            if !node.log.is_empty() {
                steps.push(Step::Log(i));
            }
            steps.extend((0..node.store.len()).map(|place| Step::Store(i, place)));
            if self.writes > 0 && node.serving {
                steps.push(Step::Write(i));
            }
            if self.crashes > 0 {
                steps.push(Step::Crash(i));
            }
            if self.leaps > 0 && i > 0 && (self.leaps == case.leaps || node.clock > self.usual_clock()) {
                steps.push(Step::Leap(i));
            }
            for peer in i + 1..self.nodes.len() {
                let free =
                    |a: usize, b: usize| self.nodes[a].as_ref().is_some_and(|node| node.streams[b].is_none());
                let noticed = self
                    .streams
                    .iter()
                    .all(|stream| !stream.open || stream.ends[0].0 != i || stream.ends[1].0 != peer);
                if free(i, peer) && free(peer, i) && noticed {
                    steps.push(Step::Connect(i, peer));
                }
            }
        }
        steps
    }

    /// The clock of those who have not leapt.
    fn usual_clock(&self) -> Time {
        self.nodes.iter().flatten().map(|node| node.clock).min().unwrap_or_default()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Deliver(place, end) => {
                let message = self.streams[place].to[end].pop_front().unwrap();
                let (i, peer) = (self.streams[place].ends[end].0, self.streams[place].ends[1 - end].0);
                let stream = id(place, end);
                self.handle(i, Event::Received { peer: index(peer), stream, message });
            }
            Step::Notice(place, end) => {
                self.streams[place].unnoticed[end] = false;
                // What had not arrived by then never does.
                self.streams[place].to[end].clear();
                let (i, peer) = (self.streams[place].ends[end].0, self.streams[place].ends[1 - end].0);
                let stream = id(place, end);
                let node = self.nodes[i].as_mut().unwrap();
                if node.streams[peer] == Some(stream) {
                    node.streams[peer] = None;
                }
                self.handle(i, Event::StreamClosed { peer: index(peer), stream });
            }
            Step::Log(i) => self.log(i),
            Step::Store(i, place) => self.store(i, place),
            Step::Swap(place) => {
                let swap = self.swaps.remove(place);
                let outcome = match self.views.last() {
                    Some(current) if *current == swap.view => SwapOutcome::Installed,
                    Some(current) if current.number.next() != swap.view.number => {
                        SwapOutcome::Superseded(current.clone())
                    }
                    _ => {
                        self.views.push(swap.view);
                        SwapOutcome::Installed
                    }
                };
                if self.runs[swap.by] == swap.incarnation && self.nodes[swap.by].is_some() {
                    self.handle(swap.by, Event::SwapAnswered { token: swap.token, outcome });
                }
            }
            Step::Connect(a, b) => self.connect(a, b),
            Step::Write(i) => {
                self.writes -= 1;
                let request =
                    Request { id: self.writes + 1, dated: WallTime(0), action: Wish::Set { key: 0 } };
                self.nodes[i].as_mut().unwrap().requests.push(request);
                self.handle(i, Event::RequestsWaiting);
            }
            Step::Crash(i) => {
                self.crashes -= 1;
                self.nodes[i] = None;
                for place in 0..self.streams.len() {
                    for end in 0..2 {
                        if self.streams[place].ends[end] == (i, self.runs[i]) && self.streams[place].open {
                            self.close(place, end);
                        }
                    }
                }
            }
            Step::Start(i) => self.start(i),
            Step::Leap(i) => {
                self.leaps -= 1;
                let node = self.nodes[i].as_mut().unwrap();
                node.clock = node.clock + LEAP;
                self.handle(i, Event::Tick);
            }
        }
    }

    fn start(&mut self, i: usize) {
        self.runs[i] += 1;
        let replicas = self.nodes.len();
        let identity = Identity {
            index: index(i),
            all: ReplicaSet::first(replicas as u8),
            incarnation: Incarnation(self.runs[i]),
            database: self.disks[i].database,
            logged: self.disks[i].position(),
            committed: self.disks[i].known_committed(),
            applied: self.disks[i].applied(),
            after_power_failure: false,
            remembered: (*self.disks[i].memory).clone(),
        };
        let clock = self.usual_clock();
        self.nodes[i] = Some(Node {
            replica: Replica::new(identity, Timing::DEFAULT, self.bounds, clock),
            clock,
            serving: false,
            streams: vec![None; replicas],
            log: VecDeque::new(),
            store: Vec::new(),
            requests: Vec::new(),
            overlay: Vec::new(),
            batches: Vec::new(),
        });
        self.handle(i, Event::Tick);
    }

    fn connect(&mut self, a: usize, b: usize) {
        let place = self.streams.len();
        self.streams.push(Stream {
            ends: [(a, self.runs[a]), (b, self.runs[b])],
            to: [VecDeque::new(), VecDeque::new()],
            unnoticed: [false; 2],
            open: true,
        });
        for (end, i, peer) in [(0, a, b), (1, b, a)] {
            let stream = id(place, end);
            self.nodes[i].as_mut().unwrap().streams[peer] = Some(stream);
            self.handle(i, Event::StreamOpened { peer: index(peer), stream });
        }
    }

    fn close(&mut self, place: usize, by: usize) {
        self.streams[place].open = false;
        self.streams[place].unnoticed[1 - by] = true;
        self.streams[place].to[by].clear();
    }

    /// Everything that waits for the log is written as one group.
    fn log(&mut self, i: usize) {
        let node = self.nodes[i].as_mut().unwrap();
        let group = std::mem::take(&mut node.log);
        for (_, entries, committed) in &group {
            self.disks[i].append(entries.clone());
            self.disks[i].committed = *committed;
        }
        for (token, ..) in group {
            self.handle(i, Event::Logged { token });
        }
    }

    fn store(&mut self, i: usize, place: usize) {
        let disk = &mut self.disks[i];
        let effect = self.nodes[i].as_mut().unwrap().store.remove(place);
        let event = match effect {
            Effect::Cut { token, to } => {
                disk.cut(to);
                Event::LogCut { token }
            }
            Effect::InstallSnapshot { token, from, memory } => {
                let source = usize::from(from.0);
                if self.nodes[source].is_none() {
                    Event::SnapshotFailed { token }
                } else {
                    self.databases += 1;
                    let database = Disk::new(self.databases).database;
                    let rows = (*self.disks[source].rows).clone();
                    self.disks[i] = Disk::at(database, rows, memory);
                    Event::SnapshotInstalled { token, database, position: self.disks[i].position() }
                }
            }
            other => panic!("not a store effect: {other:?}"),
        };
        self.handle(i, event);
    }

    fn handle(&mut self, i: usize, event: Event<Fact>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(node) = self.nodes[i].as_mut() else { return };
            for effect in node.replica.handle(node.clock, event) {
                events.extend(self.perform(i, effect));
            }
            self.known = self.known.max(self.nodes[i].as_ref().unwrap().replica.committed().op);
            let leads = self.nodes[i].as_ref().unwrap().replica.leads().map(|view| (view.number.0, i));
            if let Some(leads) = leads
                && !self.led.contains(&leads)
            {
                self.led.push(leads);
                self.led.sort_unstable();
            }
        }
    }

    /// What is answered at once: reads of the register and of the log, and proofs of death.
    fn perform(&mut self, i: usize, effect: Effect<Fact>) -> Option<Event<Fact>> {
        let node = self.nodes[i].as_mut().unwrap();
        match effect {
            Effect::Send { stream, message, .. } => {
                let (place, end) = place_of(stream);
                if self.streams[place].open {
                    self.streams[place].to[1 - end].push_back(message);
                }
            }
            Effect::Disconnect { peer, stream } => {
                let (place, end) = place_of(stream);
                node.streams[usize::from(peer.0)] = None;
                if self.streams[place].open {
                    self.close(place, end);
                }
            }
            Effect::ReadRegister { token } => {
                let outcome = self.views.last().map_or(RegisterRead::Empty, |view| RegisterRead::Current {
                    register: self.register,
                    view: view.clone(),
                });
                return Some(Event::RegisterRead { token, outcome });
            }
            Effect::Swap { token, register, view } => {
                if view.number == ViewNumber(1) {
                    self.register = register;
                }
                assert_eq!(register, self.register, "a swap to another register");
                let incarnation = self.runs[i];
                self.swaps.push(Swap { by: i, incarnation, token, view });
            }
            Effect::ProveDeath { token, peer, incarnation } => {
                let peer = usize::from(peer.0);
                let proven = self.nodes[peer].is_none() || Incarnation(self.runs[peer]) != incarnation;
                return Some(Event::DeathAnswered { token, proven });
            }
            // Executed, kept and applied at once: those moments are left to the seeds, so that there are not too many orders.
            Effect::Remember { token, memory } => {
                *self.disks[i].memory = Some(memory);
                return Some(Event::Remembered { token });
            }
            Effect::Execute { token, .. } => {
                let applied = self.disks[i].applied().op;
                node.overlay.retain(|entry| entry.op > applied);
                let requests = std::mem::take(&mut node.requests).into_iter();
                let entries = self.disks[i].execute(&node.overlay, requests, &Dates::STILL);
                node.overlay.extend(entries.iter().cloned());
                let end = node.overlay.last().map_or(self.disks[i].applied(), Entry::position);
                node.batches.push((token, end));
                return Some(Event::BatchExecuted { token, entries, barrier: false });
            }
            Effect::Apply { token, up_to } => {
                assert!(self.disks[i].apply(up_to.op), "no rows differ here");
                return Some(Event::Applied { token, applied: self.disks[i].applied() });
            }
            Effect::ReadLog { token, after } => {
                let (chain, entries) =
                    (self.disks[i].chain_at(after), self.disks[i].after(after, usize::MAX));
                return Some(Event::LogRead { token, chain, entries });
            }
            Effect::Log { token, entries, committed } => node.log.push_back((token, entries, committed)),
            Effect::Answer { token, .. } => {
                if let Some(place) = node.batches.iter().position(|(batch, _)| *batch == token) {
                    let (_, end) = node.batches.remove(place);
                    if end.op > self.acknowledged.op {
                        self.acknowledged = end;
                    }
                }
            }
            Effect::Serve { .. } => {
                node.serving = true;
                node.overlay.clear();
            }
            Effect::StopServing => {
                node.serving = false;
                node.requests.clear();
                node.overlay.clear();
                node.batches.clear();
            }
            Effect::RefuseRequests => node.requests.clear(),
            Effect::AnswerRead { .. }
            | Effect::RefuseRead { .. }
            | Effect::PowerFailureOver
            | Effect::Note(_) => {}
            Effect::Halt { reason } | Effect::End { reason } => panic!("replica {i} halts: {reason}"),
            store => node.store.push(store),
        }
        None
    }
}

fn index(i: usize) -> ReplicaIndex {
    ReplicaIndex(i as u8)
}

/// Each end of a stream has a number of its own.
fn id(place: usize, end: usize) -> StreamId {
    StreamId((place * 2 + end) as u64)
}

fn place_of(stream: StreamId) -> (usize, usize) {
    (stream.0 as usize / 2, stream.0 as usize % 2)
}

impl Model for Case {
    type State = Cluster;
    type Action = Step;

    fn init_states(&self) -> Vec<Cluster> {
        vec![Cluster::new(self)]
    }

    fn actions(&self, state: &Cluster, actions: &mut Vec<Step>) {
        actions.extend(state.steps(self));
    }

    fn next_state(&self, state: &Cluster, step: Step) -> Option<Cluster> {
        let mut next = state.clone();
        next.step(&step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("invariant 1: a view has one primary", |_, state: &Cluster| {
                state.led.windows(2).all(|pair| pair[0].0 != pair[1].0)
            }),
            Property::always(
                "invariant 2: who is in sync has everything acknowledged",
                |_, state: &Cluster| {
                    let view = state.views.last().unwrap();
                    view.in_sync.iter().all(|index| {
                        let disk = &state.disks[usize::from(index.0)];
                        !view.holds(index, disk.database, disk.position())
                            || disk.chain_at(state.acknowledged.op) == Some(state.acknowledged.chain)
                            || state.acknowledged.op < disk.pruned.op
                    })
                },
            ),
            Property::always("invariant 2: no tables show what may be lost", |_, state: &Cluster| {
                let committed = state.nodes.iter().flatten().map(|node| node.replica.committed().op).max();
                let known = state.acknowledged.op.max(state.known).max(committed.unwrap_or_default());
                state.disks.iter().all(|disk| disk.applied().op <= known)
            }),
            Property::sometimes("everything was written", |case: &Self, state: &Cluster| {
                state.acknowledged.op.0 == u64::from(case.writes)
            }),
            Property::sometimes(
                "another one leads, and everything was written",
                |case: &Self, state: &Cluster| {
                    let leads = |node: &Node| {
                        node.serving && node.replica.leads().is_some_and(|view| view.number.0 > 1)
                    };
                    state.acknowledged.op.0 == u64::from(case.writes)
                        && state.nodes.iter().flatten().any(leads)
                },
            ),
        ]
    }
}

fn explore(case: Case) {
    let begun = std::time::Instant::now();
    let checker = case.clone().checker().threads(2).spawn_bfs().join();
    println!(
        "{case:?}: {} states, {} of them different, depth {}, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

#[test]
fn two_replicas_two_writes_a_crash_a_return_and_a_false_suspicion() {
    explore(Case { replicas: 2, writes: 2, crashes: 1, returns: true, in_flight: 2, leaps: 3 });
}

#[test]
fn three_replicas_a_write_a_crash_and_a_return() {
    explore(Case { replicas: 3, writes: 1, crashes: 1, returns: true, in_flight: 2, leaps: 0 });
}

#[test]
fn three_replicas_two_writes_and_a_crash() {
    explore(Case { replicas: 3, writes: 2, crashes: 1, returns: false, in_flight: 2, leaps: 0 });
}

#[test]
#[ignore = "takes minutes"]
fn three_replicas_a_write_and_a_false_suspicion() {
    explore(Case { replicas: 3, writes: 1, crashes: 0, returns: false, in_flight: 2, leaps: 3 });
}
