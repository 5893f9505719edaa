//! The world: performs effects after a while drawn from the seed, and lets faults strike.

use super::checks::{self, Primaries};
use super::disk::{Disk, Word};
use protocol::{
    Effect, Entry, Event, Identity, Incarnation, Message, ReadId, RegisterRead, Replica, ReplicaIndex,
    ReplicaSet, StreamId, SwapOutcome, Time, Timing, Token, View,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

const LOG_READ_MAX: usize = 3;

/// `SplitMix64`: a few lines that give the same numbers for the same seed on every machine.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub struct Node {
    pub index: ReplicaIndex,
    pub replica: Replica<Word>,
    pub serving: bool,
    pub paused: bool,
    incarnation: u64,
    streams: BTreeMap<usize, StreamId>,
    requests: VecDeque<Arc<str>>,
    /// The words of each batch that has no answer yet.
    batches: BTreeMap<Token, Vec<Arc<str>>>,
    reads: BTreeMap<ReadId, usize>,
    /// What happened while it was paused.
    held: VecDeque<Event<Word>>,
    tick_at: Option<Time>,
}

enum Happening {
    /// To one incarnation of one node.
    Tell {
        to: usize,
        incarnation: u64,
        event: Box<Event<Word>>,
    },
    /// A store effect becomes durable; its answer follows.
    Store {
        at: usize,
        incarnation: u64,
        effect: Box<Effect<Word>>,
    },
    Swap {
        by: usize,
        incarnation: u64,
        token: Token,
        view: View,
        answer: bool,
    },
    Deliver {
        from: usize,
        to: usize,
        sent_by: StreamId,
        message: Box<Message<Word>>,
    },
    Connect {
        a: usize,
        b: usize,
    },
    Tick {
        to: usize,
        incarnation: u64,
    },
}

#[expect(clippy::struct_excessive_bools, reason = "faults are on or off, each by itself")]
pub struct World {
    pub now: Time,
    pub nodes: Vec<Option<Node>>,
    pub disks: Vec<Disk>,
    pub register: Vec<View>,
    pub acknowledged: Vec<Arc<str>>,
    pub trace: String,
    pub prunes: bool,
    /// No proof of death is ever given.
    pub proofless: bool,
    /// The register answers nobody, or swaps are answered with "unknown" at times.
    pub register_down: bool,
    pub swaps_unsure: bool,
    random: Random,
    jitter: bool,
    agenda: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    streams: u64,
    reads: u64,
    databases: u64,
    /// The other end of each stream.
    ends: BTreeMap<StreamId, StreamId>,
    last_delivery: BTreeMap<StreamId, Time>,
    cut: BTreeSet<(usize, usize)>,
    primaries: Primaries,
    timing: Timing,
}

impl World {
    /// `seed` None: everything takes a fixed time, as stories want it.
    pub fn new(count: u8, seed: Option<u64>) -> Self {
        let mut world = Self {
            now: Time::from_micros(0),
            nodes: (0..count).map(|_| None).collect(),
            disks: (0..count).map(|i| Disk::new(u64::from(i) + 1)).collect(),
            register: Vec::new(),
            acknowledged: Vec::new(),
            trace: String::new(),
            prunes: false,
            proofless: false,
            register_down: false,
            swaps_unsure: false,
            random: Random::new(seed.unwrap_or(0)),
            jitter: seed.is_some(),
            agenda: BTreeMap::new(),
            sequence: 0,
            streams: 0,
            reads: 0,
            databases: 100,
            ends: BTreeMap::new(),
            last_delivery: BTreeMap::new(),
            cut: BTreeSet::new(),
            primaries: Primaries::new(),
            timing: Timing::DEFAULT,
        };
        world.trace.clear();
        world
    }

    fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(if self.jitter { from + self.random.below(to - from) } else { from })
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((self.now + delay, self.sequence), happening);
    }

    pub fn start(&mut self, i: usize) {
        if self.nodes[i].is_some() {
            return;
        }
        self.sequence += 1;
        let incarnation = self.sequence;
        let index = ReplicaIndex(u8::try_from(i).unwrap());
        let disk = &mut self.disks[i];
        disk.open = None;
        let identity = Identity {
            index,
            all: ReplicaSet::first(u8::try_from(self.nodes.len()).unwrap()),
            incarnation: Incarnation(incarnation),
            database: disk.database,
            position: disk.position(),
        };
        self.nodes[i] = Some(Node {
            index,
            replica: Replica::new(identity, self.timing, self.now),
            serving: false,
            paused: false,
            incarnation,
            streams: BTreeMap::new(),
            requests: VecDeque::new(),
            batches: BTreeMap::new(),
            reads: BTreeMap::new(),
            held: VecDeque::new(),
            tick_at: None,
        });
        for peer in 0..self.nodes.len() {
            self.reconnect_later(i, peer);
        }
        self.handle(i, Event::Tick);
    }

    pub fn crash(&mut self, i: usize) {
        let Some(node) = self.nodes[i].take() else { return };
        self.disks[i].open = None;
        for (peer, stream) in node.streams {
            self.close_far_end(peer, i, stream);
        }
    }

    /// Closes the peer's end of a stream whose near end is gone.
    fn close_far_end(&mut self, peer: usize, index: usize, stream: StreamId) {
        let Some(far) = self.ends.remove(&stream) else { return };
        self.ends.remove(&far);
        if let Some(other) = &mut self.nodes[peer]
            && other.streams.get(&index) == Some(&far)
        {
            other.streams.remove(&index);
            let incarnation = other.incarnation;
            let delay = self.micros(200, 3000);
            let event = Event::StreamClosed { peer: ReplicaIndex(u8::try_from(index).unwrap()), stream: far };
            self.later(delay, Happening::Tell { to: peer, incarnation, event: Box::new(event) });
        }
    }

    pub fn wipe(&mut self, i: usize) {
        self.databases += 1;
        self.disks[i] = Disk::new(self.databases);
    }

    pub fn pause(&mut self, i: usize) {
        if let Some(node) = &mut self.nodes[i] {
            node.paused = true;
        }
    }

    pub fn resume(&mut self, i: usize) {
        let Some(node) = &mut self.nodes[i] else { return };
        node.paused = false;
        let held = std::mem::take(&mut node.held);
        self.handle(i, Event::Tick);
        for event in held {
            self.handle(i, event);
        }
    }

    /// Nothing passes from `from` to `to` until the cut is healed; the streams do not break by themselves.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        for (a, b) in cut {
            // What was lost on the way must not be missed in silence: the stream breaks.
            self.disconnect(a, b);
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        let stream = self.nodes[a].as_mut().and_then(|node| node.streams.remove(&b));
        let Some(stream) = stream else { return };
        self.close_far_end(b, a, stream);
        if let Some(node) = &self.nodes[a] {
            let event = Event::StreamClosed { peer: ReplicaIndex(u8::try_from(b).unwrap()), stream };
            let incarnation = node.incarnation;
            self.later(
                Duration::from_micros(1),
                Happening::Tell { to: a, incarnation, event: Box::new(event) },
            );
        }
        self.reconnect_later(a, b);
    }

    fn reconnect_later(&mut self, a: usize, b: usize) {
        if a != b {
            let delay = self.micros(5_000, 60_000);
            self.later(delay, Happening::Connect { a: a.min(b), b: a.max(b) });
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let both_up = |node: &Option<Node>| node.as_ref().is_some_and(|node| !node.paused);
        if self.cut.contains(&(a, b)) || self.cut.contains(&(b, a)) {
            self.later(Duration::from_millis(50), Happening::Connect { a, b });
            return;
        }
        if self.nodes[a].is_none() || self.nodes[b].is_none() {
            return;
        }
        if !both_up(&self.nodes[a]) || !both_up(&self.nodes[b]) {
            self.later(Duration::from_millis(20), Happening::Connect { a, b });
            return;
        }
        if self.nodes[a].as_ref().unwrap().streams.contains_key(&b) {
            return;
        }
        let (at_a, at_b) = (StreamId(self.streams + 1), StreamId(self.streams + 2));
        self.streams += 2;
        self.ends.insert(at_a, at_b);
        self.ends.insert(at_b, at_a);
        for (i, peer, stream) in [(a, b, at_a), (b, a, at_b)] {
            let node = self.nodes[i].as_mut().unwrap();
            node.streams.insert(peer, stream);
            self.handle(i, Event::StreamOpened { peer: ReplicaIndex(u8::try_from(peer).unwrap()), stream });
        }
    }

    pub fn write(&mut self, word: &str) -> bool {
        let Some(i) =
            self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.serving && !node.paused))
        else {
            return false;
        };
        self.write_at(i, word);
        true
    }

    pub fn write_at(&mut self, i: usize, word: &str) {
        if let Some(node) = &mut self.nodes[i] {
            node.requests.push_back(word.into());
            self.handle(i, Event::RequestsWaiting);
        }
    }

    /// A read at a replica, wherever it is sent: a client may know only of an old primary.
    pub fn read(&mut self, i: usize) {
        self.reads += 1;
        let read = ReadId(self.reads);
        let begun = self.acknowledged.len();
        if let Some(node) = &mut self.nodes[i] {
            node.reads.insert(read, begun);
            self.handle(i, Event::ReadWaiting { read });
        }
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(((time, _), _)) = self.agenda.first_key_value() {
            if *time > end {
                break;
            }
            let ((time, _), happening) = self.agenda.pop_first().unwrap();
            self.now = time;
            self.happen(happening);
        }
        self.now = end;
    }

    fn alive(&self, i: usize, incarnation: u64) -> bool {
        self.nodes[i].as_ref().is_some_and(|node| node.incarnation == incarnation)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell { to, incarnation, event } => {
                if self.alive(to, incarnation) {
                    if let Event::StreamClosed { peer, .. } = &*event {
                        let peer = usize::from(peer.0);
                        self.reconnect_later(to, peer);
                    }
                    self.handle(to, *event);
                }
            }
            Happening::Deliver { from, to, sent_by, message } => {
                let Some(stream) = self.ends.get(&sent_by).copied() else { return };
                if let Some(node) = &self.nodes[to]
                    && node.streams.get(&from) == Some(&stream)
                {
                    let peer = ReplicaIndex(u8::try_from(from).unwrap());
                    self.handle(to, Event::Received { peer, stream, message: *message });
                }
            }
            Happening::Tick { to, incarnation } => {
                if self.alive(to, incarnation)
                    && self.nodes[to].as_ref().unwrap().tick_at.is_some_and(|at| at <= self.now)
                {
                    self.nodes[to].as_mut().unwrap().tick_at = None;
                    self.handle(to, Event::Tick);
                }
            }
            Happening::Connect { a, b } => self.connect(a, b),
            Happening::Swap { by, incarnation, token, view, answer } => {
                let outcome = self.swap(view);
                if answer && self.alive(by, incarnation) {
                    self.handle(by, Event::SwapAnswered { token, outcome });
                }
            }
            Happening::Store { at, incarnation, effect } => {
                if self.disks[at].stuck {
                    self.later(Duration::from_millis(50), Happening::Store { at, incarnation, effect });
                } else if self.alive(at, incarnation) {
                    let event = self.perform_store(at, *effect);
                    let delay = self.micros(20, 400);
                    self.later(delay, Happening::Tell { to: at, incarnation, event: Box::new(event) });
                }
            }
        }
        let mut primaries = std::mem::take(&mut self.primaries);
        checks::one_primary_a_view(self, &mut primaries);
        self.primaries = primaries;
        checks::acknowledged_is_everywhere(self);
        checks::no_fork_in_sync(self);
    }

    fn swap(&mut self, view: View) -> SwapOutcome {
        match self.register.last() {
            Some(current) if *current == view => SwapOutcome::Installed,
            Some(current) if current.number.next() != view.number => SwapOutcome::Superseded(current.clone()),
            None if view.number.0 != 1 => panic!("a swap to {view} beside an empty register"),
            _ => {
                self.register.push(view);
                SwapOutcome::Installed
            }
        }
    }

    fn perform_store(&mut self, i: usize, effect: Effect<Word>) -> Event<Word> {
        let disk = &mut self.disks[i];
        match effect {
            Effect::Execute { token, .. } | Effect::Persist { token, .. } | Effect::Commit { token }
                if disk.full =>
            {
                disk.open = None;
                Event::StoreFailed { token, position: disk.position() }
            }
            Effect::Execute { token, .. } => {
                let node = self.nodes[i].as_mut().unwrap();
                let words: Vec<Arc<str>> = node.requests.drain(..).collect();
                let mut end = disk.position();
                let mut entries: Vec<Entry<Word>> = Vec::new();
                for word in &words {
                    let repeated = disk.contains(word) || entries.iter().any(|entry| entry.fact.0 == *word);
                    if !repeated {
                        let entry = end.follow(Word(word.clone()));
                        end = entry.position();
                        entries.push(entry);
                    }
                }
                node.batches.insert(token, words);
                disk.open = Some(entries.clone());
                Event::BatchExecuted { token, entries }
            }
            Effect::Commit { token } => {
                let entries = disk.open.take().expect("a commit needs an open transaction");
                disk.append(entries);
                if self.prunes {
                    disk.prune(4);
                }
                Event::BatchCommitted { token }
            }
            Effect::RollBack { token } => {
                disk.open.take().expect("a roll-back needs an open transaction");
                Event::BatchRolledBack { token }
            }
            Effect::Persist { token, entries } => {
                assert!(disk.open.is_none(), "a secondary persists while a transaction is open");
                disk.append(entries);
                if self.prunes {
                    disk.prune(4);
                }
                Event::EntriesPersisted { token }
            }
            Effect::InstallSnapshot { token, from } => {
                let source = usize::from(from.0);
                if self.nodes[source].is_none() || self.cut.contains(&(source, i)) {
                    return Event::SnapshotFailed { token };
                }
                let (pruned, log) = (self.disks[source].pruned, self.disks[source].log.clone());
                self.databases += 1;
                let mut disk = Disk::new(self.databases);
                (disk.pruned, disk.log) = (pruned, log);
                self.disks[i] = disk;
                Event::SnapshotInstalled {
                    token,
                    database: self.disks[i].database,
                    position: self.disks[i].position(),
                }
            }
            other => panic!("not a store effect: {other:?}"),
        }
    }

    fn handle(&mut self, i: usize, event: Event<Word>) {
        let Some(node) = &mut self.nodes[i] else { return };
        if node.paused {
            node.held.push_back(event);
            return;
        }
        let effects = node.replica.handle(self.now, event);
        for effect in effects {
            self.perform(i, effect);
        }
        let Some(node) = &mut self.nodes[i] else { return };
        if let Some(at) = node.replica.next_deadline(self.now)
            && node.tick_at != Some(at)
        {
            node.tick_at = Some(at);
            let incarnation = node.incarnation;
            self.later(at - self.now, Happening::Tick { to: i, incarnation });
        }
    }

    fn say(&mut self, i: usize, what: &str) {
        let now = self.now.as_micros();
        let _ = writeln!(self.trace, "{:>9}.{:03} ms  {i}  {what}", now / 1000, now % 1000);
    }

    fn perform(&mut self, i: usize, effect: Effect<Word>) {
        let incarnation = self.nodes[i].as_ref().map_or(0, |node| node.incarnation);
        let tell = |event| Happening::Tell { to: i, incarnation, event: Box::new(event) };
        match effect {
            Effect::ReadRegister { token } => {
                let outcome = match self.register.last() {
                    _ if self.register_down => RegisterRead::Failed,
                    Some(view) => RegisterRead::Current(view.clone()),
                    None => RegisterRead::Empty,
                };
                let delay = self.micros(100, 2000);
                self.later(delay, tell(Event::RegisterRead { token, outcome }));
            }
            Effect::Swap { token, view } => {
                let unsure = self.register_down || (self.swaps_unsure && self.random.chance(40));
                if unsure {
                    let delay = self.micros(1000, 30_000);
                    self.later(delay, tell(Event::SwapAnswered { token, outcome: SwapOutcome::Unknown }));
                }
                // An unsure swap may take effect long after its proposer was told that nobody knows, or never.
                if !unsure || self.random.chance(60) {
                    let delay = if unsure { self.micros(1000, 700_000) } else { self.micros(500, 4000) };
                    self.later(delay, Happening::Swap { by: i, incarnation, token, view, answer: !unsure });
                }
            }
            Effect::Send { peer, stream, message } => {
                let to = usize::from(peer.0);
                if self.cut.contains(&(i, to)) {
                    return;
                }
                let delay = self.micros(100, 2000);
                // Streams keep their order.
                let soonest = self.last_delivery.get(&stream).copied().unwrap_or_default();
                let at = (self.now + delay).max(soonest + Duration::from_micros(1));
                self.last_delivery.insert(stream, at);
                let deliver = Happening::Deliver { from: i, to, sent_by: stream, message: Box::new(message) };
                self.later(at - self.now, deliver);
            }
            Effect::Disconnect { peer, stream } => {
                let peer = usize::from(peer.0);
                if self.nodes[i].as_ref().and_then(|node| node.streams.get(&peer)) == Some(&stream) {
                    self.disconnect(i, peer);
                }
            }
            Effect::ProveDeath { token, peer } => {
                let proven = self.nodes[usize::from(peer.0)].is_none() && !self.proofless;
                let delay = self.micros(100, 500);
                self.later(delay, tell(Event::DeathAnswered { token, proven }));
            }
            Effect::ReadLog { token, after } => {
                let disk = &self.disks[i];
                let event = Event::LogRead {
                    token,
                    chain: disk.chain_at(after),
                    entries: disk.after(after, LOG_READ_MAX),
                };
                let delay = self.micros(50, 1000);
                self.later(delay, tell(event));
            }
            Effect::Answer { token, copies } => {
                let words = self.nodes[i]
                    .as_mut()
                    .unwrap()
                    .batches
                    .remove(&token)
                    .expect("an answer to a known batch");
                for word in words {
                    if !self.acknowledged.contains(&word) {
                        self.say(i, &format!("acknowledges {word} on {copies}"));
                        self.acknowledged.push(word);
                    }
                }
            }
            Effect::AnswerRead { read } => {
                let begun =
                    self.nodes[i].as_mut().unwrap().reads.remove(&read).expect("a read is answered once");
                checks::read_sees(self, i, begun);
            }
            Effect::RefuseRead { read } => {
                self.nodes[i].as_mut().unwrap().reads.remove(&read).expect("a read is answered once");
            }
            Effect::RefuseRequests => self.nodes[i].as_mut().unwrap().requests.clear(),
            Effect::Serve { view } => {
                self.nodes[i].as_mut().unwrap().serving = true;
                self.say(i, &format!("serves view {view}"));
            }
            Effect::StopServing => {
                let node = self.nodes[i].as_mut().unwrap();
                node.serving = false;
                node.requests.clear();
                node.batches.clear();
            }
            Effect::Note(note) => self.say(i, &note.to_string()),
            Effect::Halt { reason } => self.say(i, &format!("halts: {reason}")),
            store => {
                let delay = self.micros(300, 6000);
                self.later(delay, Happening::Store { at: i, incarnation, effect: Box::new(store) });
            }
        }
    }

    pub fn check_once(&self) {
        checks::once(self);
    }

    /// Whether every replica is in sync by the newest view, with the database that it has now, and no view that may
    /// yet take effect says otherwise: then one database can be lost.
    pub fn everyone_holds(&self) -> bool {
        let swap_under_way =
            self.agenda.values().any(|happening| matches!(happening, Happening::Swap { .. }));
        !swap_under_way
            && self.register.last().is_some_and(|view| {
                self.disks.iter().enumerate().all(|(i, disk)| {
                    view.holds(ReplicaIndex(u8::try_from(i).unwrap()), disk.database, disk.position())
                })
            })
    }

    pub fn healed(&self) -> Result<(), String> {
        checks::healed(self)
    }
}
