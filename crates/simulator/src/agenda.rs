//! The agenda: what will happen when, in an order that depends on nothing but the seed.

use crate::client::{Call, Outcome};
use crate::disk::Disk;
use crate::fact::{Fact, RequestId};
use crate::looks::Seen;
use crate::node::Read;
use crate::sender::Step;
use protocol::{
    Effect, Event, Incarnation, Memory, Message, Op, RegisterId, ReplicaIndex, StreamId, Token, View,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// An event reaches one incarnation of one node.
    Tell { to: usize, incarnation: u64, event: Box<Event<Fact>> },
    /// A deadline of the core is due.
    Tick { to: usize, incarnation: u64 },
    /// A tick comes although no deadline is due.
    TickEarly { to: usize, incarnation: u64 },
    /// A message arrives at the end of a stream.
    Deliver { at: StreamId, message: Box<Message<Fact>> },
    /// Two nodes try to open a stream.
    Connect { a: usize, b: usize },
    /// A process starts.
    Start { node: usize },
    /// A paused process goes on.
    Resume { node: usize },
    /// A store effect is carried out; its answer follows.
    Store { at: usize, incarnation: u64, effect: Box<Effect<Fact>> },
    /// What waits to be written to the log is written; the answers follow.
    WriteLog { at: usize, incarnation: u64 },
    /// The source of a snapshot is read.
    CopySnapshot {
        to: usize,
        incarnation: u64,
        token: Token,
        from: ReplicaIndex,
        memory: Option<Box<Memory>>,
    },
    /// A snapshot takes a database's place.
    SwapSnapshot { to: usize, incarnation: u64, token: Token, copy: Box<Disk> },
    /// The register is read on behalf of a node.
    ReadRegister { by: usize, incarnation: u64, token: Token },
    /// A swap takes effect, or not.
    Swap { by: usize, incarnation: u64, token: Token, register: RegisterId, view: View, answered: bool },
    /// A node looks whether another one lives.
    ProveDeath { by: usize, incarnation: u64, token: Token, peer: usize, process: Incarnation },
    /// A client begins its next operation.
    Begin { client: usize },
    /// A client's call arrives at a node.
    Arrive { node: usize, client: usize, attempt: u64, call: Call },
    /// An answer arrives at a client.
    Reply { client: usize, attempt: u64, outcome: Outcome },
    /// A client has waited long enough for an answer.
    Overdue { client: usize, attempt: u64 },
    /// A read that was allowed looks at the state of a node.
    Look { at: usize, incarnation: u64, read: Read },
    /// What a look has found is reported, if it still counts.
    Report { at: usize, incarnation: u64, seen: Box<Seen> },
    /// A listener looks for a replica to listen to.
    Listen { listener: usize },
    /// A message arrives at a listener.
    Hear { listener: usize, session: u64, op: Op, request: RequestId },
    /// A listener looks whether its stream still lives.
    Doubt { listener: usize, session: u64 },
    /// Something happens to a sender, or to its stream.
    Sender { sender: usize, step: Step },
    /// A wall clock is right again.
    RightClock { node: usize },
    /// A node and its peers tell each other what their wall clocks show.
    TellClock { node: usize },
    /// A fault strikes; unless it is `once`, another is planned.
    Fault { once: bool },
}

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    waiting: Vec<Option<Happening>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        let place = if let Some(place) = self.free.pop() {
            self.waiting[place] = Some(happening);
            place
        } else {
            self.waiting.push(Some(happening));
            self.waiting.len() - 1
        };
        self.order.push(Reverse((at, self.sequence, place)));
    }

    /// The next happening, if it is due by `end`.
    pub(crate) fn next(&mut self, end: u64) -> Option<(u64, Happening)> {
        let Reverse((at, _, place)) = *self.order.peek()?;
        if at > end {
            return None;
        }
        self.order.pop();
        self.free.push(place);
        self.waiting[place].take().map(|happening| (at, happening))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Happening> {
        self.waiting.iter().flatten()
    }
}
