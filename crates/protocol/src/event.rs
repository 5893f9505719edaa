//! The closed vocabulary between the protocol and the world: events in, effects out, messages between replicas.

use crate::identity::{
    DatabaseId, Incarnation, ReadId, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber,
};
use crate::impairment::Impairment;
use crate::log::{Chain, Entry, Op, Position};
use crate::memory::Memory;
use crate::note::{HaltReason, Note};
use crate::time::Time;
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
    /// Answers [`Effect::Execute`]: the transaction is open and holds these entries (none, if nothing had an effect).
    BatchExecuted {
        /// The effect's token.
        token: Token,
        /// The entries, following this replica's position.
        entries: Vec<Entry<R>>,
    },
    /// Answers [`Effect::Commit`]: the open transaction is durable and visible.
    BatchCommitted {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::RollBack`]: the open transaction is gone.
    BatchRolledBack {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Persist`]: the entries are durable.
    EntriesPersisted {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Remember`]: it is durable.
    Remembered {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::Execute`], [`Effect::Commit`], [`Effect::RollBack`], [`Effect::Persist`], [`Effect::Remember`] or
    /// [`Effect::RepairStore`] when it failed. No transaction is open any
    /// more, and it is unknown what of the last write is on the disk.
    StoreFailed {
        /// The effect's token.
        token: Token,
    },
    /// Answers [`Effect::RepairStore`]: everything that the store holds is durable.
    StoreRepaired {
        /// The effect's token.
        token: Token,
        /// Where the log ends.
        position: Position,
    },
    /// No path leads to the files of the database any more: they were removed, or others have taken their place.
    FilesLost,
    /// Answers [`Effect::ReadLog`].
    LogRead {
        /// The effect's token.
        token: Token,
        /// The chain at the op asked for; `None` where the log does not hold that op.
        chain: Option<Chain>,
        /// Committed entries that follow it, up to the driver's size limit.
        entries: Vec<Entry<R>>,
    },
    /// Answers [`Effect::InstallSnapshot`]: this replica is now another database.
    SnapshotInstalled {
        /// The effect's token.
        token: Token,
        /// The new database's identity.
        database: DatabaseId,
        /// Where its log ends.
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
    /// Execute waiting requests in one transaction and leave it open. Answered by [`Event::BatchExecuted`], or by
    /// [`Event::StoreFailed`].
    Execute {
        /// For the answer, and for the `Commit`, `RollBack` and `Answer` of this batch.
        token: Token,
        /// How many replicas in sync are to hold the batch, this one included; one may be lost before it is committed.
        copies: usize,
    },
    /// Commit the open transaction. Answered by [`Event::BatchCommitted`], or by [`Event::StoreFailed`].
    Commit {
        /// The batch.
        token: Token,
        /// What the database is to remember from the same moment on, if that has changed.
        memory: Option<Memory>,
    },
    /// Roll the open transaction back. Answered by [`Event::BatchRolledBack`], or by [`Event::StoreFailed`].
    RollBack {
        /// The batch.
        token: Token,
    },
    /// Append these entries and apply them, durably. Answered by [`Event::EntriesPersisted`], or by [`Event::StoreFailed`].
    Persist {
        /// For the answer.
        token: Token,
        /// What follows this replica's position.
        entries: Vec<Entry<R>>,
    },
    /// Remember this from now on, durably: not part of the log, not compared with others. Answered by
    /// [`Event::Remembered`], or by [`Event::StoreFailed`].
    Remember {
        /// For the answer.
        token: Token,
        /// What.
        memory: Memory,
    },
    /// Write anew and sync whatever of the database may not be durable. Answered by [`Event::StoreRepaired`], or by
    /// [`Event::StoreFailed`].
    RepairStore {
        /// For the answer.
        token: Token,
    },
    /// Read the committed log after an op. Answered by [`Event::LogRead`]; where it can't be read, with no chain and no
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
    /// This read may be answered from the committed state as it is now. Not answered.
    AnswerRead {
        /// Which.
        read: ReadId,
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

impl<R> Message<R> {
    /// The view that the sender leads, of a message that only a primary sends, or that a candidate calls on.
    pub(crate) const fn led(&self) -> Option<&View> {
        match self {
            Self::Call { base: view, .. }
            | Self::Beat { view, .. }
            | Self::Append { view, .. }
            | Self::Fetch { view, .. }
            | Self::TakeSnapshot { view }
            | Self::HandedOver { view } => Some(view),
            _ => None,
        }
    }
}

/// What replicas say to each other. Every message that a primary sends carries its view, so none depends on another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<R> {
    /// "Do you live?" From a candidate to the in-sync replicas below it, and from the founder to all.
    Probe,
    /// Answers `Probe`.
    Alive {
        /// The sender's database.
        database: DatabaseId,
        /// Where its log ends.
        position: Position,
        /// The newest view that it knows, or that its database remembers.
        view: Option<View>,
        /// The view register that it knows that view from, if it does.
        register: Option<RegisterId>,
        /// Whether it is in sync and healthy, so that the asker should leave the lead to it.
        able: bool,
    },
    /// "Stop listening to any view before `number`, and show me your position." From a candidate that will propose
    /// view `number` on top of `base`, or from the primary of `base` (then both numbers are equal).
    Call {
        /// The newest view that the caller knows.
        base: View,
        /// The view that the called is to follow.
        number: ViewNumber,
        /// The view register that the caller believes.
        register: RegisterId,
    },
    /// Answers `Call`, once nothing is being persisted.
    Shown {
        /// The call's number.
        number: ViewNumber,
        /// The sender's database.
        database: DatabaseId,
        /// Where its log ends.
        position: Position,
    },
    /// "I follow someone newer." Answers whatever comes from an older view.
    Refused {
        /// The newest view the sender knows.
        known: Option<View>,
        /// The lowest view it still listens to.
        promised: ViewNumber,
    },
    /// The primary lives.
    Beat {
        /// The view it leads.
        view: View,
        /// When it was sent, by the primary's clock; only the primary reads it.
        sent_at: Time,
    },
    /// Answers `Beat`: a promise of silence for a whole grace.
    BeatAnswered {
        /// The beat's view.
        number: ViewNumber,
        /// The beat's time, returned.
        sent_at: Time,
    },
    /// Entries to persist.
    Append {
        /// The view that the sender leads.
        view: View,
        /// What the first entry follows.
        previous: Position,
        /// The entries.
        entries: Vec<Entry<R>>,
    },
    /// Answers `Append`: all entries up to this position are durable.
    Persisted {
        /// The view that the sender follows.
        number: ViewNumber,
        /// Where its log ends.
        position: Position,
    },
    /// "Send me what you have after this op." From a new primary to an in-sync replica with a longer tail.
    Fetch {
        /// The view that the sender leads.
        view: View,
        /// The op before the first entry wanted.
        after: Op,
    },
    /// Answers `Fetch`.
    Tail {
        /// The fetch's view.
        number: ViewNumber,
        /// The chain that the sender has at the op asked for.
        chain: Option<Chain>,
        /// What follows it.
        entries: Vec<Entry<R>>,
    },
    /// "Your history can't be extended to mine: take a snapshot from me."
    TakeSnapshot {
        /// The view that the sender leads.
        view: View,
    },
    /// "I can't be brought level by entries: tell me to take a snapshot." Answers a `Call` of the primary, from a replica
    /// that is not in sync and has failed to persist the same entry again and again.
    NeedsSnapshot {
        /// The call's number.
        number: ViewNumber,
    },
    /// "I can't persist: go on without me." Answers `Append`, and `Call` while the store is not to be trusted.
    Leaving {
        /// The view that the sender follows.
        number: ViewNumber,
    },
    /// "I no longer lead this view, and hold no lease."
    Resigned {
        /// The view.
        number: ViewNumber,
    },
    /// "I have installed this view, whose primary is another."
    HandedOver {
        /// The view.
        view: View,
    },
}
