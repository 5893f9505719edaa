//! The closed vocabulary between the protocol and the world: events in, effects out, messages between replicas.

mod message;

pub use self::message::Message;
use crate::identity::{
    DatabaseId, Incarnation, ReadId, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber,
};
use crate::impairment::Impairment;
use crate::log::{Chain, Entry, Op, Position};
use crate::memory::Memory;
use crate::note::{HaltReason, Note};
use crate::view::View;
use alloc::vec::Vec;

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<R> {
    /// Time has passed. Due at [`crate::Replica::next_deadline`] at the latest.
    Tick,
    /// Answers [`Effect::ReadRegister`].
    RegisterRead {
        /// The effect's token.
        token: Token,
        /// What the register holds.
        outcome: RegisterRead,
    },
    /// Answers [`Effect::Swap`].
    SwapAnswered {
        /// The effect's token.
        token: Token,
        /// What became of it.
        outcome: SwapOutcome,
    },
    /// A stream to and from `peer` is open; it replaces any earlier one.
    StreamOpened {
        /// The replica at its other end.
        peer: ReplicaIndex,
        /// Its number.
        stream: StreamId,
    },
    /// That stream is over, for whatever reason.
    StreamClosed {
        /// The replica at its other end.
        peer: ReplicaIndex,
        /// Its number.
        stream: StreamId,
    },
    /// A message arrived on a stream.
    Received {
        /// Who sent it.
        peer: ReplicaIndex,
        /// The stream it came by.
        stream: StreamId,
        /// What it says.
        message: Message<R>,
    },
    /// Answers [`Effect::ProveDeath`]: whether at some moment since the effect that process was dead.
    DeathAnswered {
        /// The effect's token.
        token: Token,
        /// True only with proof; false says nothing.
        proven: bool,
    },
    /// Answers [`Effect::Execute`]: what the requests came to.
    BatchExecuted {
        /// The effect's token.
        token: Token,
        /// The entries, following everything that was executed before; none, if nothing had an effect.
        entries: Vec<Entry<R>>,
        /// The next batch can be decided only once the tables show all of this one.
        barrier: bool,
    },
    /// Answers [`Effect::Log`]: the entries are durable. Answers come in the order of the effects.
    Logged {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Apply`]: the tables show more than before, perhaps not all that was asked for.
    Applied {
        /// The effect's token.
        token: Token,
        /// How far they go.
        applied: Position,
    },
    /// Answers [`Effect::Cut`]: the log ends there, durably.
    LogCut {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Remember`]: it is durable.
    Remembered {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Execute`], [`Effect::Log`], [`Effect::Apply`], [`Effect::Cut`], [`Effect::Remember`] or
    /// [`Effect::RepairStore`] when it failed. It is unknown what of a write is on the disk. After a failed write of the log
    /// every later one fails too, until the store is repaired.
    StoreFailed {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::RepairStore`]: everything that the store holds is durable.
    StoreRepaired {
        /// The effect's token.
        token: Token,
        /// Where the log ends: after the last entry whose [`Event::Logged`] was sent.
        logged: Position,
        /// How far the tables go.
        applied: Position,
    },
    /// No path leads to the files of the database any more, because they were removed or others have taken their place; or they were
    /// found damaged.
    FilesLost,
    /// Answers [`Effect::ReadLog`].
    LogRead {
        /// The effect's token.
        token: Token,
        /// The chain at the op asked for; `None` where the log does not hold that op.
        chain: Option<Chain>,
        /// Logged entries that follow it, up to the driver's size limit.
        entries: Vec<Entry<R>>,
    },
    /// Answers [`Effect::InstallSnapshot`]: this replica is now another database.
    SnapshotInstalled {
        /// The effect's token.
        token: Token,
        /// The new database's identity.
        database: DatabaseId,
        /// How far its tables go, all of which was committed; its log is empty, and begins there.
        position: Position,
    },
    /// Answers [`Effect::InstallSnapshot`]: nothing has changed.
    SnapshotFailed {
        /// The effect's token.
        token: Token,
    },
    /// How far the wall clock of `peer` is ahead of this replica's, as far as the driver can tell.
    ClockCompared {
        /// The other replica.
        peer: ReplicaIndex,
        /// In milliseconds; negative if it is behind.
        ahead: i64,
    },
    /// What impairs this replica has changed, or how the others are.
    Impaired {
        /// What impairs it, if anything does.
        by: Option<Impairment>,
        /// Those that are not impaired, as far as the driver knows.
        better_off: ReplicaSet,
    },
    /// Requests wait to be executed. Said again by the driver when an `Execute` left some behind.
    RequestsWaiting,
    /// A client waits for a read.
    ReadWaiting {
        /// Its number.
        read: ReadId,
    },
}

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<R> {
    /// Read the view register, linearizably. Answered by [`Event::RegisterRead`], also where it can't be read.
    ReadRegister {
        /// For the answer.
        token: Token,
    },
    /// Install this view if the register is this one and holds the view before it; view 1 is installed in an empty register,
    /// which is this one from then on. Answered by [`Event::SwapAnswered`].
    Swap {
        /// For the answer.
        token: Token,
        /// The register that the proposer knows.
        register: RegisterId,
        /// The view to install.
        view: View,
    },
    /// Send a message, if that stream still lives. Not answered: what is lost closes the stream.
    Send {
        /// To whom.
        peer: ReplicaIndex,
        /// By which stream.
        stream: StreamId,
        /// What.
        message: Message<R>,
    },
    /// Close this stream, if it still lives; the transport will open another. The core counts it as closed at once.
    Disconnect {
        /// Whose.
        peer: ReplicaIndex,
        /// Which.
        stream: StreamId,
    },
    /// Try to prove that this process is dead: that one, not whichever has the replica's folder now. Answered by
    /// [`Event::DeathAnswered`].
    ProveDeath {
        /// For the answer.
        token: Token,
        /// Which replica's process; this replica's own, if an earlier run of it is meant.
        peer: ReplicaIndex,
        /// Which of its runs.
        incarnation: Incarnation,
    },
    /// Decide waiting requests, on top of everything that was executed before in this primacy; nothing is written. Answered by
    /// [`Event::BatchExecuted`], or by [`Event::StoreFailed`].
    Execute {
        /// For the answer, and for the `Answer` of this batch.
        token: Token,
        /// How many replicas in sync are to hold the batch, this one included; one may be lost before it is committed.
        copies: usize,
    },
    /// Append these entries to the log, durably, behind those of every `Log` before. Answered by [`Event::Logged`], or by
    /// [`Event::StoreFailed`].
    Log {
        /// For the answer.
        token: Token,
        /// What follows the end of the log.
        entries: Vec<Entry<R>>,
        /// How far the log is known to be committed, kept with the entries: a later start begins with it.
        committed: Position,
    },
    /// Apply logged entries to the tables, in order, up to this place, which is committed; or the first of them, so that it does not
    /// take long: the rest is asked for again. Need not be durable when it is
    /// answered: after a power failure the tables may show an earlier place, and are brought forward from the log. Answered by
    /// [`Event::Applied`], or by [`Event::StoreFailed`].
    Apply {
        /// For the answer.
        token: Token,
        /// The last entry to apply.
        up_to: Position,
    },
    /// Cut the log back to this place, durably; nothing above it was committed. Answered by [`Event::LogCut`], or by
    /// [`Event::StoreFailed`].
    Cut {
        /// For the answer.
        token: Token,
        /// Where the log is to end.
        to: Position,
    },
    /// Remember this from now on, durably: not part of the log, not compared with others. Answered by
    /// [`Event::Remembered`], or by [`Event::StoreFailed`].
    Remember {
        /// For the answer.
        token: Token,
        /// What.
        memory: Memory,
    },
    /// Write anew and sync whatever of the log and the tables may not be durable. Answered by [`Event::StoreRepaired`], or by
    /// [`Event::StoreFailed`].
    RepairStore {
        /// For the answer.
        token: Token,
    },
    /// Read the durable log after an op. Answered by [`Event::LogRead`]; where it can't be read, with no chain and no
    /// entries.
    ReadLog {
        /// For the answer.
        token: Token,
        /// The op before the first entry wanted.
        after: Op,
    },
    /// Replace this replica's database by a snapshot of that peer's. Answered by [`Event::SnapshotInstalled`], or by
    /// [`Event::SnapshotFailed`].
    InstallSnapshot {
        /// For the answer.
        token: Token,
        /// Whose snapshot.
        from: ReplicaIndex,
        /// What the new database is to remember, instead of what the other one remembers.
        memory: Option<Memory>,
    },
    /// The batch is committed: give its clients their answers and wake the listeners. Not answered.
    Answer {
        /// The batch.
        token: Token,
        /// On how many replicas in sync it is durable now: what was asked for may have been more.
        copies: usize,
    },
    /// This read may be answered from the tables, once they show everything up to this op. Not answered.
    AnswerRead {
        /// Which.
        read: ReadId,
        /// What is committed now.
        at_least: Op,
    },
    /// This read must be refused: this replica does not lead. Not answered.
    RefuseRead {
        /// Which.
        read: ReadId,
    },
    /// Requests are waiting and this replica does not lead: refuse them. Not answered.
    RefuseRequests,
    /// From now on requests may come. Not answered.
    Serve {
        /// The view it leads.
        view: ViewNumber,
    },
    /// From now on none may: refuse those that wait or are in flight (their fate is unknown), and end the listeners. Not
    /// answered.
    StopServing,
    /// What this database holds is known to be whole, in spite of the power failure before this process: a later start need
    /// not be told of that failure. Not answered: where it is forgotten, a later start only waits once more.
    PowerFailureOver,
    /// For people to read. No behaviour hangs on it. Not answered.
    Note(Note),
    /// This database is lost to this replica, and those that are in sync go on without it: end the process, so that its next
    /// run begins as a newcomer. Not answered: no event follows.
    End {
        /// Why.
        reason: HaltReason,
    },
    /// This replica can't go on; the process shows the reason and refuses everything until a person acts. Not answered.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

/// What a read of the view register found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterRead {
    /// No view was ever installed.
    Empty,
    /// The newest view, and which register holds it.
    Current {
        /// The register's identity.
        register: RegisterId,
        /// The view.
        view: View,
    },
    /// The register did not answer.
    Failed,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SwapOutcome {
    /// The register holds the proposed view.
    Installed,
    /// It holds this other one, and the proposed view can never be installed.
    Superseded(View),
    /// The register is not the one that the proposal names, or holds no view, and the proposed one is not the first.
    Foreign,
    /// Unknown: it may be installed, or be installed later.
    Unknown,
}
