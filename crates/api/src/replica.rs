//! The messages between replicas: the protocol's own types to their wire form and back.
//!
//! What arrives is checked once, here: a message that does not parse closes its stream and nothing else.

use crate::v1;
use crate::v1::replica_message::Message as Wire;
use chat::{Record, RecordError};
use protocol::{
    Chain, DatabaseId, Entry, Incarnation, Member, Message, Op, Position, Proposer, Record as _, RegisterId,
    ReplicaIndex, ReplicaSet, Time, View, ViewNumber,
};
use thiserror::Error;

/// Why a message from another replica makes no sense.
#[derive(Debug, Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field has the wrong length or range.
    #[error("the field {0} is out of range")]
    OutOfRange(&'static str),
    /// An entry that can't be read.
    #[error("entry {op} can't be read: {source}")]
    Record {
        /// Which.
        op: Op,
        /// Whether it is damaged, or a newer version's.
        source: RecordError,
    },
}

/// The wire form of a message.
pub fn to_wire(message: &Message<Record>) -> v1::ReplicaMessage {
    let wire = match message {
        Message::Probe => Wire::Probe(v1::Probe {}),
        Message::Alive { database, position: at, view: known, register: register_known, able } => {
            Wire::Alive(v1::Alive {
                database: database.0.to_vec(),
                position: Some(position(at)),
                view: known.as_ref().map(view),
                register: register_known.map_or_else(Vec::new, |register| register.0.to_vec()),
                able: *able,
            })
        }
        Message::Call { base, number, register } => {
            Wire::Call(v1::Call { base: Some(view(base)), number: number.0, register: register.0.to_vec() })
        }
        Message::Shown { number, database, position: at } => Wire::Shown(v1::Shown {
            number: number.0,
            database: database.0.to_vec(),
            position: Some(position(at)),
        }),
        Message::Refused { known, promised } => {
            Wire::Refused(v1::RefusedView { known: known.as_ref().map(view), promised: promised.0 })
        }
        Message::Beat { view: led, sent_at, committed } => Wire::Beat(v1::PrimaryBeat {
            view: Some(view(led)),
            sent_at: sent_at.as_micros(),
            committed: Some(position(committed)),
        }),
        Message::BeatAnswered { number, sent_at } => {
            Wire::BeatAnswered(v1::BeatAnswered { number: number.0, sent_at: sent_at.as_micros() })
        }
        Message::Append { view: led, previous, entries: all, committed } => Wire::Append(v1::Append {
            view: Some(view(led)),
            previous: Some(position(previous)),
            entries: entries(all),
            committed: Some(position(committed)),
        }),
        Message::Confirmed { number, position: at } => {
            Wire::Confirmed(v1::Confirmed { number: number.0, position: Some(position(at)) })
        }
        Message::Cut { view: led, position: at } => {
            Wire::Cut(v1::Cut { view: Some(view(led)), position: Some(position(at)) })
        }
        Message::Fetch { view: led, after } => {
            Wire::Fetch(v1::Fetch { view: Some(view(led)), after: after.0 })
        }
        Message::Tail { number, chain, entries: all } => Wire::Tail(v1::Tail {
            number: number.0,
            chain: chain.map(|chain| chain.0.to_vec()).unwrap_or_default(),
            entries: entries(all),
        }),
        Message::TakeSnapshot { view: led } => Wire::TakeSnapshot(v1::TakeSnapshot { view: Some(view(led)) }),
        Message::NeedsSnapshot { number } => Wire::NeedsSnapshot(v1::NeedsSnapshot { number: number.0 }),
        Message::Leaving { number } => Wire::Leaving(v1::Leaving { number: number.0 }),
        Message::Resigned { number } => Wire::Resigned(v1::Resigned { number: number.0 }),
        Message::HandedOver { view: next } => Wire::HandedOver(v1::HandedOver { view: Some(view(next)) }),
    };
    v1::ReplicaMessage { message: Some(wire), ..v1::ReplicaMessage::default() }
}

/// The message that a wire form stands for.
pub fn from_wire(message: v1::ReplicaMessage) -> Result<Message<Record>, WireError> {
    Ok(match message.message.ok_or(WireError::Missing("message"))? {
        Wire::Hello(_) | Wire::Proof(_) => return Err(WireError::OutOfRange("message")),
        Wire::Probe(_) => Message::Probe,
        Wire::Alive(m) => Message::Alive {
            database: read_database(&m.database)?,
            position: read_position(m.position)?,
            view: m.view.map(read_view).transpose()?,
            register: if m.register.is_empty() { None } else { Some(read_register(&m.register)?) },
            able: m.able,
        },
        Wire::Call(m) => Message::Call {
            base: need_view(m.base)?,
            number: read_number(m.number)?,
            register: read_register(&m.register)?,
        },
        Wire::Shown(m) => Message::Shown {
            number: read_number(m.number)?,
            database: read_database(&m.database)?,
            position: read_position(m.position)?,
        },
        Wire::Refused(m) => Message::Refused {
            known: m.known.map(read_view).transpose()?,
            promised: read_number(m.promised)?,
        },
        Wire::Beat(m) => Message::Beat {
            view: need_view(m.view)?,
            sent_at: Time::from_micros(m.sent_at),
            committed: read_committed(m.committed)?,
        },
        Wire::BeatAnswered(m) => {
            Message::BeatAnswered { number: read_number(m.number)?, sent_at: Time::from_micros(m.sent_at) }
        }
        Wire::Append(m) => Message::Append {
            view: need_view(m.view)?,
            previous: read_position(m.previous)?,
            entries: read_entries(&m.entries)?,
            committed: read_committed(m.committed)?,
        },
        Wire::Confirmed(m) => {
            Message::Confirmed { number: read_number(m.number)?, position: read_position(m.position)? }
        }
        Wire::Cut(m) => Message::Cut { view: need_view(m.view)?, position: read_position(m.position)? },
        Wire::Fetch(m) => Message::Fetch { view: need_view(m.view)?, after: read_op(m.after)? },
        Wire::Tail(m) => Message::Tail {
            number: read_number(m.number)?,
            chain: if m.chain.is_empty() { None } else { Some(read_chain(&m.chain)?) },
            entries: read_entries(&m.entries)?,
        },
        Wire::TakeSnapshot(m) => Message::TakeSnapshot { view: need_view(m.view)? },
        Wire::NeedsSnapshot(m) => Message::NeedsSnapshot { number: read_number(m.number)? },
        Wire::Leaving(m) => Message::Leaving { number: read_number(m.number)? },
        Wire::Resigned(m) => Message::Resigned { number: read_number(m.number)? },
        Wire::HandedOver(m) => Message::HandedOver { view: need_view(m.view)? },
    })
}

/// The wire form of a view; also what the view register keeps.
pub fn view(view: &View) -> v1::View {
    let members = view.members.iter().map(|member| v1::Member {
        replica: u32::from(member.index.0),
        database: member.database.0.to_vec(),
    });
    v1::View {
        number: view.number.0,
        members: members.collect(),
        in_sync: u32::from(view.in_sync.bits()),
        op: view.op.0,
        proposed_by: Some(v1::Proposer {
            replica: u32::from(view.proposed_by.index.0),
            incarnation: view.proposed_by.incarnation.0,
            attempt: view.proposed_by.attempt,
        }),
    }
}

/// The view that a wire form stands for.
pub fn read_view(view: v1::View) -> Result<View, WireError> {
    let members = view.members.iter().map(|member| {
        Ok(Member { index: read_index(member.replica)?, database: read_database(&member.database)? })
    });
    let proposer = view.proposed_by.ok_or(WireError::Missing("proposed_by"))?;
    let in_sync = u16::try_from(view.in_sync).map_err(|_| WireError::OutOfRange("in_sync"))?;
    if in_sync == 0 {
        return Err(WireError::OutOfRange("in_sync"));
    }
    Ok(View {
        number: read_number(view.number)?,
        members: members.collect::<Result<_, _>>()?,
        in_sync: ReplicaSet::from_bits(in_sync),
        op: read_op(view.op)?,
        proposed_by: Proposer {
            index: read_index(proposer.replica)?,
            incarnation: Incarnation(proposer.incarnation),
            attempt: proposer.attempt,
        },
    })
}

fn need_view(view: Option<v1::View>) -> Result<View, WireError> {
    read_view(view.ok_or(WireError::Missing("view"))?)
}

/// Numbers that a database can keep, and that can still grow.
fn read_number(number: u64) -> Result<ViewNumber, WireError> {
    if i64::try_from(number).is_ok() { Ok(ViewNumber(number)) } else { Err(WireError::OutOfRange("number")) }
}

fn read_op(op: u64) -> Result<Op, WireError> {
    if i64::try_from(op).is_ok() { Ok(Op(op)) } else { Err(WireError::OutOfRange("op")) }
}

fn read_index(index: u32) -> Result<ReplicaIndex, WireError> {
    u8::try_from(index)
        .ok()
        .filter(|index| *index <= ReplicaIndex::MAX)
        .map(ReplicaIndex)
        .ok_or(WireError::OutOfRange("replica"))
}

fn read_database(bytes: &[u8]) -> Result<DatabaseId, WireError> {
    bytes.try_into().map(DatabaseId).map_err(|_| WireError::OutOfRange("database"))
}

fn read_register(bytes: &[u8]) -> Result<RegisterId, WireError> {
    bytes.try_into().map(RegisterId).map_err(|_| WireError::OutOfRange("register"))
}

fn read_chain(bytes: &[u8]) -> Result<Chain, WireError> {
    bytes.try_into().map(Chain).map_err(|_| WireError::OutOfRange("chain"))
}

fn position(position: &Position) -> v1::Position {
    v1::Position { op: position.op.0, chain: position.chain.0.to_vec() }
}

fn read_position(position: Option<v1::Position>) -> Result<Position, WireError> {
    let position = position.ok_or(WireError::Missing("position"))?;
    Ok(Position { op: read_op(position.op)?, chain: read_chain(&position.chain)? })
}

/// A primary of an earlier version says nothing of what is committed.
fn read_committed(position: Option<v1::Position>) -> Result<Position, WireError> {
    position.map_or(Ok(Position::ORIGIN), |position| read_position(Some(position)))
}

fn entries(entries: &[Entry<Record>]) -> Vec<v1::Entry> {
    let wire = entries.iter().map(|entry| v1::Entry {
        op: entry.op.0,
        chain: entry.chain.0.to_vec(),
        fact: entry.record.encoded().to_vec().into(),
    });
    wire.collect()
}

fn read_entries(entries: &[v1::Entry]) -> Result<Vec<Entry<Record>>, WireError> {
    let read = entries.iter().map(|entry| {
        let op = read_op(entry.op)?;
        let record = Record::decode(&entry.fact).map_err(|source| WireError::Record { op, source })?;
        Ok(Entry { op, chain: read_chain(&entry.chain)?, record })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Fact, Millis};
    use prost::Message as _;

    fn sample_view() -> View {
        View {
            number: ViewNumber(7),
            members: vec![Member { index: ReplicaIndex(1), database: DatabaseId([3; 16]) }],
            in_sync: ReplicaSet::EMPTY.with(ReplicaIndex(1)).with(ReplicaIndex(2)),
            op: Op(41),
            proposed_by: Proposer { index: ReplicaIndex(1), incarnation: Incarnation(u64::MAX), attempt: 2 },
        }
    }

    fn samples() -> Vec<Message<Record>> {
        let at = Position { op: Op(9), chain: Chain([5; 32]) };
        let fact = Fact::SessionClosed { session: chat::SessionId(4) };
        let entry = at.follow(Record::new(Millis(1), None, fact));
        let (number, database, sent_at) = (ViewNumber(7), DatabaseId([8; 16]), Time::from_micros(77));
        let register = RegisterId([9; 16]);
        vec![
            Message::Probe,
            Message::Alive {
                database,
                position: at,
                view: Some(sample_view()),
                register: Some(register),
                able: true,
            },
            Message::Alive { database, position: Position::ORIGIN, view: None, register: None, able: false },
            Message::Call { base: sample_view(), number, register },
            Message::Shown { number, database, position: at },
            Message::Refused { known: Some(sample_view()), promised: number },
            Message::Beat { view: sample_view(), sent_at, committed: at },
            Message::BeatAnswered { number, sent_at },
            Message::Append {
                view: sample_view(),
                previous: at,
                entries: vec![entry.clone()],
                committed: at,
            },
            Message::Confirmed { number, position: at },
            Message::Cut { view: sample_view(), position: at },
            Message::Fetch { view: sample_view(), after: Op(9) },
            Message::Tail { number, chain: Some(Chain([1; 32])), entries: vec![entry] },
            Message::Tail { number, chain: None, entries: vec![] },
            Message::TakeSnapshot { view: sample_view() },
            Message::NeedsSnapshot { number },
            Message::Leaving { number },
            Message::Resigned { number },
            Message::HandedOver { view: sample_view() },
        ]
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in samples() {
            let bytes = to_wire(&message).encode_to_vec();
            let back = from_wire(v1::ReplicaMessage::decode(&*bytes).unwrap()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{message:?}"));
        }
    }

    #[test]
    fn truncated_and_changed_messages_are_errors_or_messages_but_never_panics() {
        for message in samples() {
            let bytes = to_wire(&message).encode_to_vec();
            for cut in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[cut] ^= 0x15;
                for bytes in [&bytes[..cut], &changed] {
                    if let Ok(wire) = v1::ReplicaMessage::decode(bytes) {
                        drop(from_wire(wire));
                    }
                }
            }
        }
    }
}
