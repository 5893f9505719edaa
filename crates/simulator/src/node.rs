//! A running process: the protocol's state and what a server keeps around it.

use crate::client::Call;
use crate::fact::{Fact, Request, RequestId};
use crate::looks::Seen;
use crate::sender::{Carried, Feed};
use protocol::{
    Entry, Event, FileIdentity, Forgetting, Message, Op, Position, ReadId, Replica, ReplicaIndex, StreamId,
    Token, View, ViewNumber,
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

/// A batch that is in flight.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) token: Token,
    pub(crate) waiters: Vec<(Waiter, Decided, Option<Op>)>,
    /// Its messages, for those who listen.
    pub(crate) messages: Vec<(Op, u8, RequestId)>,
    /// Where the log ends once it is committed.
    pub(crate) end: Position,
}

/// A batch that is to be executed.
#[derive(Debug)]
pub(crate) struct Executing {
    pub(crate) waiters: Vec<Waiter>,
    /// In which primacy.
    pub(crate) primacy: u64,
}

/// Who has told a replica to give up what only it has, on the stream on which it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The view that it leads.
    pub(crate) number: ViewNumber,
    /// Who.
    pub(crate) peer: ReplicaIndex,
    pub(crate) stream: StreamId,
}

/// Entries that wait to be written to the log.
#[derive(Debug)]
pub(crate) struct LogWrite {
    pub(crate) token: Token,
    pub(crate) entries: Vec<Entry<Fact>>,
    pub(crate) committed: Position,
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
    /// What the tables must show first.
    pub(crate) at_least: Op,
}

/// An open stream to a listener.
#[derive(Debug)]
pub(crate) struct Subscription {
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
    /// What the replica has known to be committed; nothing from when a snapshot takes the place of its database until it is told.
    pub(crate) committed: Option<Position>,
    /// The stream on which it has shown its position the last time, or asked for a snapshot, while that stream lives.
    pub(crate) listens_on: Option<(ReplicaIndex, StreamId)>,
    /// It was told to cut its log, and where that ended.
    pub(crate) told_to_cut: Option<(Told, Position)>,
    /// It was told to take a snapshot.
    pub(crate) told_to_take_a_snapshot: Option<Told>,
    /// For which view and to whom it has shown its position the last time, and what it was.
    pub(crate) shown: Option<(ViewNumber, ReplicaIndex, Position)>,
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
    /// The batch that is being executed.
    pub(crate) executing: Option<Executing>,
    /// What was executed in this primacy and may not be applied yet.
    pub(crate) overlay: Vec<Entry<Fact>>,
    /// The end of what was executed in this primacy.
    pub(crate) executed: Position,
    /// The end of the last batch of this primacy that the tables must show before the next is executed.
    pub(crate) barrier: Op,
    /// What waits to be written to the log.
    pub(crate) log_queue: VecDeque<LogWrite>,
    /// A write of the log has failed: the next ones fail too, until the log is repaired.
    pub(crate) log_failed: bool,
    /// No answer of the log reaches the core before that.
    pub(crate) log_answered_at: u64,
    /// How far the tables are known to be durable: nothing is, before a checkpoint has succeeded in this run.
    pub(crate) checkpointed: Op,
    pub(crate) reads: Vec<Read>,
    pub(crate) subscriptions: Vec<Subscription>,
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
            committed: Some(Position::ORIGIN),
            listens_on: None,
            told_to_cut: None,
            told_to_take_a_snapshot: None,
            shown: None,
            serving: false,
            primacy: 0,
            paused: false,
            incarnation,
            lock,
            streams: vec![None; replicas],
            queue: VecDeque::new(),
            batches: Vec::new(),
            executing: None,
            overlay: Vec::new(),
            executed: Position::ORIGIN,
            barrier: Op(0),
            log_queue: VecDeque::new(),
            log_failed: false,
            log_answered_at: 0,
            checkpointed: Op(0),
            reads: Vec::new(),
            subscriptions: Vec::new(),
            feeds: Vec::new(),
            broken: BTreeSet::new(),
            held: VecDeque::new(),
            tick_at: None,
            ahead: vec![(0, 0); replicas],
            forgetting: None,
        }
    }

    /// Keeps what the checks look at of an event that the replica is about to handle.
    pub(crate) fn takes_note(&mut self, event: &Event<Fact>) {
        match event {
            Event::SnapshotInstalled { .. } => self.committed = Some(Position::ORIGIN),
            Event::StreamOpened { peer, .. } => {
                self.listens_on.take_if(|(other, _)| other == peer);
            }
            Event::StreamClosed { stream, .. } => {
                self.listens_on.take_if(|(_, other)| other == stream);
            }
            Event::Received { peer, stream, message } if self.listens_on == Some((*peer, *stream)) => {
                let told = |view: &View| Told { number: view.number, peer: *peer, stream: *stream };
                match message {
                    // What was said in an older view may come late, where messages overtake each other.
                    Message::Cut { view, position }
                        if self.told_to_cut.is_none_or(|(before, _)| before.number <= view.number) =>
                    {
                        self.told_to_cut = Some((told(view), *position));
                    }
                    Message::TakeSnapshot { view }
                        if self.told_to_take_a_snapshot.is_none_or(|before| before.number <= view.number) =>
                    {
                        self.told_to_take_a_snapshot = Some(told(view));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// It listens on this stream from now on. Whatever it was told before it has shown its position is void.
    pub(crate) fn listens(
        &mut self,
        peer: ReplicaIndex,
        stream: StreamId,
        shown: Option<(ViewNumber, Position)>,
    ) {
        self.listens_on = Some((peer, stream));
        if shown.is_some() {
            (self.told_to_cut, self.told_to_take_a_snapshot) = (None, None);
            self.shown = shown.map(|(number, position)| (number, peer, position));
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
