//! What may reach the driver, from wherever it comes.

use crate::room::RoomLeft;
use api::v1::ReplicaMessage;
use chat::{Record, Request};
use protocol::{DatabaseId, Event, Impairment, Position, ReplicaIndex, StreamId, Token};
use store::{Executed, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

/// What the driver receives.
#[derive(Debug)]
pub(crate) enum Incoming {
    Core(Event<Record>),
    Store(StoreAnswer),
    /// A stream to a peer is open.
    Linked {
        peer: ReplicaIndex,
        link: Link,
    },
    /// What a peer says of itself: whether it is impaired.
    OfAPeer {
        peer: ReplicaIndex,
        impaired: bool,
    },
    /// Something begins or ceases to keep this replica from serving well.
    Impairment {
        impairment: Impairment,
        begins: bool,
    },
    /// The process is to end: the lead is handed over first, where another can take it. Then the sender is dropped.
    Ends {
        handed_over: oneshot::Sender<()>,
    },
    /// A snapshot has arrived and was checked, or not.
    SnapshotReady {
        token: Token,
        arrived: bool,
    },
}

/// What the store answers.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    Executed {
        token: Token,
        executed: Executed,
        /// The requests that are to be decided with the next batch.
        left: Vec<Request>,
    },
    Logged {
        token: Token,
    },
    Applied {
        token: Token,
        applied: Position,
    },
    Cut {
        token: Token,
    },
    Remembered {
        token: Token,
    },
    SwappedIn {
        token: Token,
        database: DatabaseId,
        position: Position,
    },
    Repaired {
        token: Token,
        logged: Position,
        applied: Position,
    },
    /// The store failed: what is on the disk is not certain until it was repaired.
    Failed {
        token: Token,
        error: StoreError,
    },
    /// How much room is left on the disk, from now on.
    Room(RoomLeft),
    /// The database's files were removed or replaced, or found damaged.
    FilesLost {
        error: StoreError,
    },
    /// The database is damaged, or was to be replaced and can't be opened again: this process can't go on.
    Lost {
        error: StoreError,
    },
}

/// An open stream to a peer. Dropping it closes the stream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: StreamId,
    pub(crate) outbound: mpsc::Sender<ReplicaMessage>,
    /// Dropped with the link, which ends the task that reads from the stream.
    _open: watch::Sender<()>,
}

impl Link {
    /// The link, and what the task that reads from its stream looks at: an error says that the link is dropped.
    pub(crate) fn new(
        stream: StreamId,
        outbound: mpsc::Sender<ReplicaMessage>,
    ) -> (Self, watch::Receiver<()>) {
        let (open, closed) = watch::channel(());
        (Self { stream, outbound, _open: open }, closed)
    }
}
