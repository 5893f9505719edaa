//! Three replicas of the protocol in one thread: whatever they ask of a store, a register or the network is done at once.

use chat::Record;
use protocol::{
    Bounds, DatabaseId, Effect, Entry, Event, Identity, Incarnation, Position, RegisterId, RegisterRead,
    Replica, ReplicaIndex, ReplicaSet, StreamId, SwapOutcome, Time, Timing, View,
};
use std::collections::VecDeque;

const REPLICAS: u8 = 3;
/// There is one stream between any two.
const STREAM: StreamId = StreamId(1);

/// Three replicas and what is on its way to them.
pub(crate) struct Cluster {
    replicas: Vec<Replica<Record>>,
    events: VecDeque<(ReplicaIndex, Event<Record>)>,
    /// It stands still while they serve: leases do not end, and nothing is due.
    now: Time,
    register: Option<(RegisterId, View)>,
    /// What the next batch is decided to be.
    decided: Vec<Entry<Record>>,
    end: Position,
    serving: bool,
    answered: usize,
}

impl Cluster {
    /// Replica 0 serves, and all three are in sync.
    pub(crate) fn serving() -> Self {
        let now = Time::from_micros(1_000_000);
        let new = |index| Replica::new(identity(index), Timing::DEFAULT, Bounds::DEFAULT, now);
        let mut cluster = Self {
            replicas: (0..REPLICAS).map(new).collect(),
            events: VecDeque::new(),
            now,
            register: None,
            decided: Vec::new(),
            end: Position::ORIGIN,
            serving: false,
            answered: 0,
        };
        for index in (0..REPLICAS).map(ReplicaIndex) {
            cluster.events.push_back((index, Event::Tick));
            for peer in (0..REPLICAS).map(ReplicaIndex).filter(|peer| *peer != index) {
                cluster.events.push_back((index, Event::StreamOpened { peer, stream: STREAM }));
            }
        }
        cluster.run();
        while !cluster.serving {
            let deadlines = cluster.replicas.iter().filter_map(|replica| replica.next_deadline(cluster.now));
            cluster.now = deadlines.min().expect("a replica that does not serve waits for something");
            let ticks = (0..REPLICAS).map(|index| (ReplicaIndex(index), Event::Tick));
            cluster.events.extend(ticks);
            cluster.run();
        }
        cluster
    }

    /// These records behind what is committed.
    pub(crate) fn entries_of(&self, records: &[Record]) -> Vec<Entry<Record>> {
        let mut end = self.end;
        let follow = |record: &Record| {
            let entry = end.follow(record.clone());
            end = entry.position();
            entry
        };
        records.iter().map(follow).collect()
    }

    /// Commits one batch.
    pub(crate) fn commit(&mut self, entries: Vec<Entry<Record>>) {
        self.end = entries.last().map_or(self.end, Entry::position);
        self.decided = entries;
        let before = self.answered;
        self.events.push_back((ReplicaIndex(0), Event::RequestsWaiting));
        self.run();
        assert_eq!(self.answered, before + 1, "the batch is committed on all three");
    }

    fn run(&mut self) {
        while let Some((index, event)) = self.events.pop_front() {
            for effect in self.replicas[usize::from(index.0)].handle(self.now, event) {
                self.perform(index, effect);
            }
        }
    }

    fn perform(&mut self, index: ReplicaIndex, effect: Effect<Record>) {
        let answer = match effect {
            Effect::ReadRegister { token } => {
                let outcome = match self.register.clone() {
                    Some((register, view)) => RegisterRead::Current { register, view },
                    None => RegisterRead::Empty,
                };
                Event::RegisterRead { token, outcome }
            }
            Effect::Swap { token, register, view } => {
                self.register = Some((register, view));
                Event::SwapAnswered { token, outcome: SwapOutcome::Installed }
            }
            Effect::Send { peer, stream, message } => {
                return self.events.push_back((peer, Event::Received { peer: index, stream, message }));
            }
            Effect::Execute { token, .. } => {
                Event::BatchExecuted { token, entries: std::mem::take(&mut self.decided), barrier: false }
            }
            Effect::Log { token, .. } => Event::Logged { token },
            Effect::Apply { token, up_to } => Event::Applied { token, applied: up_to },
            Effect::Remember { token, .. } => Event::Remembered { token },
            Effect::Answer { .. } => {
                self.answered += 1;
                return;
            }
            Effect::Serve { .. } => {
                self.serving = true;
                return;
            }
            Effect::Note(_) => return,
            other => panic!("nothing of this kind happens where nothing fails: {other:?}"),
        };
        self.events.push_back((index, answer));
    }
}

fn identity(index: u8) -> Identity {
    Identity {
        index: ReplicaIndex(index),
        all: ReplicaSet::first(REPLICAS),
        incarnation: Incarnation(u64::from(index) + 1),
        database: DatabaseId([index; 16]),
        logged: Position::ORIGIN,
        committed: Position::ORIGIN,
        applied: Position::ORIGIN,
        after_power_failure: false,
        remembered: None,
    }
}
