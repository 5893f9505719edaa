//! A running process: the protocol's state and what a server keeps around it.

use crate::client::Call;
use crate::fact::{Fact, Request, RequestId};
use crate::looks::Seen;
use crate::sender::{Carried, Feed};
use protocol::{
    Event, FileIdentity, Forgetting, Op, Position, ReadId, Replica, ReplicaIndex, StreamId, Token,
};
use std::collections::{BTreeSet, VecDeque};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client, in one of its attempts.
    Client { client: usize, attempt: u64 },
    /// A sender, by one of its streams.
    Stream(u64),
    /// A story.
    NoOne,
}

/// A request and who waits for its outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) asker: Asker,
    pub(crate) request: Request,
    /// On how many replicas it is to be.
    pub(crate) min_copies: usize,
}

/// What a request came to when its batch was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It has its place, from now on or since an earlier try.
    Placed,
    /// Too few replicas are in sync for it.
    TooFewInSync,
    /// Its date is too far from the primary's clock, or from before what is remembered.
    OutOfDate,
    /// It stands behind a refusal in its stream.
    PassedOver,
}

/// A batch whose transaction is open or being committed.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) token: Token,
    pub(crate) waiters: Vec<(Waiter, Decided)>,
    /// Its messages, for those who listen.
    pub(crate) messages: Vec<(Op, u8, RequestId)>,
    /// Where the log ends once it is committed.
    pub(crate) end: Position,
}

/// What a read is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadFor {
    /// A client wants to know what a register holds.
    Client { client: usize, attempt: u64, key: u8 },
    /// A listener catches up from the store, after its cursor.
    Listener { listener: usize, session: u64, after: Op },
    /// No client and no listener: a story looks whether it is answered.
    NoOne,
}

/// A read that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) id: ReadId,
    pub(crate) purpose: ReadFor,
    /// What had been acknowledged when it arrived here.
    pub(crate) acknowledged: Op,
    /// The primacy to which it was put.
    pub(crate) primacy: u64,
}

/// An open stream to a listener.
#[derive(Debug)]
pub(crate) struct Ear {
    pub(crate) listener: usize,
    pub(crate) session: u64,
    /// The last message given to it; `None` until the store was read for it.
    pub(crate) given: Option<Op>,
    /// What was acknowledged meanwhile: it follows what the store had.
    pub(crate) queue: Vec<(Op, RequestId)>,
}

/// What reached a paused process, and waits.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    Event(Event<Fact>),
    Call { client: usize, attempt: u64, call: Call },
    Carried { stream: u64, carried: Carried },
    Look(Read),
    Report(Seen),
}

/// One run of one replica's process.
#[derive(Debug)]
pub struct Node {
    /// Its index.
    pub index: ReplicaIndex,
    /// Its protocol state.
    pub replica: Replica<Fact>,
    /// Between `Serve` and `StopServing`.
    pub serving: bool,
    /// Counts the primacies of this process: how often it has begun to serve.
    pub(crate) primacy: u64,
    /// Whether it is stopped in its tracks.
    pub paused: bool,
    pub(crate) incarnation: u64,
    /// The lock file that it holds.
    pub(crate) lock: FileIdentity,
    pub(crate) streams: Vec<Option<StreamId>>,
    pub(crate) queue: VecDeque<Waiter>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) reads: Vec<Read>,
    pub(crate) ears: Vec<Ear>,
    /// The streams of senders.
    pub(crate) feeds: Vec<Feed>,
    /// Streams in which something was refused that may be accepted later: nothing behind it takes effect.
    pub(crate) broken: BTreeSet<u64>,
    pub(crate) held: VecDeque<Held>,
    pub(crate) tick_at: Option<u64>,
    /// How far the wall clock of each peer is ahead of this one's, as the core was told, and when it is told again.
    pub(crate) ahead: Vec<(i64, u64)>,
    /// How far this primacy may forget requests; begun by its first batch.
    pub(crate) forgetting: Option<Forgetting>,
}

impl Node {
    pub(crate) fn new(
        index: ReplicaIndex,
        replica: Replica<Fact>,
        incarnation: u64,
        replicas: usize,
        lock: FileIdentity,
    ) -> Self {
        Self {
            index,
            replica,
            serving: false,
            primacy: 0,
            paused: false,
            incarnation,
            lock,
            streams: vec![None; replicas],
            queue: VecDeque::new(),
            batches: Vec::new(),
            reads: Vec::new(),
            ears: Vec::new(),
            feeds: Vec::new(),
            broken: BTreeSet::new(),
            held: VecDeque::new(),
            tick_at: None,
            ahead: vec![(0, 0); replicas],
            forgetting: None,
        }
    }

    pub(crate) fn take_batch(&mut self, token: Token) -> Option<Batch> {
        let place = self.batches.iter().position(|batch| batch.token == token)?;
        Some(self.batches.swap_remove(place))
    }

    pub(crate) fn take_read(&mut self, id: ReadId) -> Read {
        let place = self.reads.iter().position(|read| read.id == id).expect("a read is answered once");
        self.reads.swap_remove(place)
    }
}

/// A monotonic clock that may run fast or slow, and began at another moment than the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) offset: u64,
    /// Local milliseconds in a second of the world: 800 to 1200.
    pub(crate) rate: u64,
}

impl Clock {
    pub(crate) fn local(self, world: u64) -> protocol::Time {
        protocol::Time::from_micros(self.offset + world * self.rate / 1000)
    }

    /// The first moment of the world at which this clock shows at least `local`.
    pub(crate) fn world(self, local: protocol::Time) -> u64 {
        (local.as_micros().saturating_sub(self.offset) * 1000).div_ceil(self.rate)
    }
}
