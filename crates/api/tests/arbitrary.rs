//! Whatever another replica sends: an error, or a message that the core takes without a panic, in whatever role it is.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::replica::{from_wire, to_wire};
use api::v1;
use chat::{Fact, Millis, Record, SessionId};
use proptest::prelude::*;
use prost::Message as _;
use protocol::{
    Bounds, Chain, DatabaseId, Effect, Entry, Event, Identity, Incarnation, Member, Message, Op, Position,
    Proposer, RegisterId, RegisterRead, Replica, ReplicaIndex, ReplicaSet, StreamId, SwapOutcome, Time,
    Timing, View, ViewNumber,
};
use std::time::Duration;

/// A replica whose effects are carried out at once, and whose disk keeps only where its log ends.
struct Core {
    replica: Replica<Record>,
    register: View,
    logged: Position,
    now: Time,
}

fn database(index: u8) -> DatabaseId {
    DatabaseId([index; 16])
}

fn first_view() -> View {
    View {
        number: ViewNumber(1),
        members: (0..3).map(|i| Member { index: ReplicaIndex(i), database: database(i) }).collect(),
        in_sync: ReplicaSet::first(3),
        op: Op(0),
        proposed_by: Proposer { index: ReplicaIndex(0), incarnation: Incarnation(0), attempt: 1 },
    }
}

const REGISTER: RegisterId = RegisterId([1; 16]);

impl Core {
    fn new(index: u8) -> Self {
        let identity = Identity {
            index: ReplicaIndex(index),
            all: ReplicaSet::first(3),
            incarnation: Incarnation(1),
            database: database(index),
            logged: Position::ORIGIN,
            committed: Position::ORIGIN,
            applied: Position::ORIGIN,
            after_power_failure: false,
            remembered: None,
        };
        let now = Time::from_micros(1_000_000);
        let replica = Replica::new(identity, Timing::DEFAULT, Bounds::DEFAULT, now);
        let mut core = Self { replica, register: first_view(), logged: Position::ORIGIN, now };
        core.handle(Event::Tick);
        for peer in (0..3).filter(|peer| *peer != index) {
            core.handle(Event::StreamOpened {
                peer: ReplicaIndex(peer),
                stream: StreamId(u64::from(peer) + 1),
            });
        }
        core
    }

    fn handle(&mut self, event: Event<Record>) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.replica.handle(self.now, event) {
                events.extend(self.answer(effect));
            }
        }
    }

    fn answer(&mut self, effect: Effect<Record>) -> Option<Event<Record>> {
        Some(match effect {
            Effect::ReadRegister { token } => Event::RegisterRead {
                token,
                outcome: RegisterRead::Current { register: REGISTER, view: self.register.clone() },
            },
            Effect::Swap { token, view, .. } if view.number == self.register.number.next() => {
                self.register = view;
                Event::SwapAnswered { token, outcome: SwapOutcome::Installed }
            }
            Effect::Swap { token, .. } => {
                Event::SwapAnswered { token, outcome: SwapOutcome::Superseded(self.register.clone()) }
            }
            Effect::ProveDeath { token, .. } => Event::DeathAnswered { token, proven: false },
            Effect::Execute { token, .. } => {
                Event::BatchExecuted { token, entries: Vec::new(), barrier: false }
            }
            Effect::Remember { token, .. } => Event::Remembered { token },
            Effect::Log { token, entries, .. } => {
                self.logged = self.logged.extend(&entries).expect("only what follows is logged");
                Event::Logged { token }
            }
            Effect::Apply { token, up_to } => Event::Applied { token, applied: up_to },
            Effect::Cut { token, to } => {
                self.logged = to;
                Event::LogCut { token }
            }
            Effect::ReadLog { token, after } => {
                let chain = (after == Op(0)).then_some(Chain::GENESIS);
                Event::LogRead { token, chain, entries: Vec::new() }
            }
            Effect::InstallSnapshot { token, .. } => Event::SnapshotFailed { token },
            _ => return None,
        })
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..5, 1 => Just(u64::MAX), 1 => Just(u64::MAX / 2), 1 => any::<u64>()]
}

fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::ORIGIN),
        (number(), any::<u8>()).prop_map(|(op, byte)| Position { op: Op(op), chain: Chain([byte; 32]) })
    ]
}

fn view() -> impl Strategy<Value = View> {
    let members = proptest::collection::vec((0_u8..16, 0_u8..4), 0..4);
    (number(), any::<u16>(), number(), members).prop_map(|(number, in_sync, op, members)| View {
        number: ViewNumber(number),
        members: members
            .into_iter()
            .map(|(index, id)| Member { index: ReplicaIndex(index), database: database(id) })
            .collect(),
        in_sync: ReplicaSet::from_bits(in_sync),
        op: Op(op),
        proposed_by: Proposer { index: ReplicaIndex(1), incarnation: Incarnation(9), attempt: 9 },
    })
}

/// Entries that follow each other, and perhaps the origin, or do not.
fn entries() -> impl Strategy<Value = Vec<Entry<Record>>> {
    (position(), 0_u64..4, any::<bool>()).prop_map(|(start, count, sound)| {
        let mut end = start;
        let mut entries = Vec::new();
        for n in 0..count.min(u64::MAX - start.op.0) {
            let fact = Fact::SessionClosed { session: SessionId(n) };
            let mut entry = end.follow(Record::new(Millis(1), None, fact));
            end = entry.position();
            if !sound {
                entry.chain = Chain([7; 32]);
            }
            entries.push(entry);
        }
        entries
    })
}

fn message() -> impl Strategy<Value = Message<Record>> {
    let time = || number().prop_map(Time::from_micros);
    let id = || (0_u8..4).prop_map(database);
    let at = || number().prop_map(ViewNumber);
    let known = || proptest::option::of(view());
    let register = || (0_u8..3).prop_map(|id| RegisterId([id; 16]));
    prop_oneof![
        Just(Message::Probe),
        (id(), position(), known(), proptest::option::of(register()), any::<bool>()).prop_map(
            |(database, position, view, register, able)| Message::Alive {
                database,
                position,
                view,
                register,
                able
            }
        ),
        (view(), at(), register()).prop_map(|(base, number, register)| Message::Call {
            base,
            number,
            register
        }),
        (at(), id(), position()).prop_map(|(number, database, position)| Message::Shown {
            number,
            database,
            position
        }),
        (known(), at()).prop_map(|(known, promised)| Message::Refused { known, promised }),
        (view(), time(), position()).prop_map(|(view, sent_at, committed)| Message::Beat {
            view,
            sent_at,
            committed
        }),
        (at(), time()).prop_map(|(number, sent_at)| Message::BeatAnswered { number, sent_at }),
        (view(), position(), entries(), position()).prop_map(|(view, previous, entries, committed)| {
            Message::Append { view, previous, entries, committed }
        }),
        (at(), position()).prop_map(|(number, position)| Message::Confirmed { number, position }),
        (view(), number()).prop_map(|(view, after)| Message::Fetch { view, after: Op(after) }),
        (at(), entries()).prop_map(|(number, entries)| Message::Tail {
            number,
            chain: Some(Chain::GENESIS),
            entries
        }),
        (view(), position()).prop_map(|(view, position)| Message::Cut { view, position }),
        view().prop_map(|view| Message::TakeSnapshot { view }),
        at().prop_map(|number| Message::NeedsSnapshot { number }),
        at().prop_map(|number| Message::Leaving { number }),
        at().prop_map(|number| Message::Resigned { number }),
        view().prop_map(|view| Message::HandedOver { view }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_of_another_replica_ends_a_process(
        index in 0_u8..3,
        steps in proptest::collection::vec((0_u8..3, message(), 0_u64..900), 1..40),
    ) {
        let mut core = Core::new(index);
        for (peer, message, millis) in steps {
            core.now = core.now + Duration::from_millis(millis);
            core.handle(Event::Tick);
            let bytes = to_wire(&message).encode_to_vec();
            if let Ok(message) = from_wire(v1::ReplicaMessage::decode(&*bytes).unwrap()) {
                let stream = StreamId(u64::from(peer) + 1);
                core.handle(Event::Received { peer: ReplicaIndex(peer), stream, message });
            }
        }
    }

    #[test]
    fn no_bytes_of_another_replica_end_a_process(
        index in 0_u8..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(wire) = v1::ReplicaMessage::decode(&*bytes)
            && let Ok(message) = from_wire(wire)
        {
            Core::new(index).handle(Event::Received { peer: ReplicaIndex(1), stream: StreamId(2), message });
        }
    }
}
