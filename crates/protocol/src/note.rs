//! Notes: what the protocol tells people. No behaviour hangs on them; the driver logs them, the stories show them.

use crate::identity::{ReplicaIndex, ReplicaSet, ViewNumber};
use crate::impairment::Impairment;
use crate::log::{Op, Position};
use crate::view::View;
use core::fmt;

/// Why a replica stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HaltReason {
    /// The view register is empty, yet this database, or that of a peer, holds entries.
    RegisterLost,
    /// The view register is not the one that this database remembers.
    RegisterReplaced,
    /// The view register holds an older view than it held before.
    RegisterOlder,
    /// The disk gave back another log than it had confirmed.
    DiskLied,
    /// No path leads to the files of the database any more, or they are damaged.
    FilesLost,
}

/// Why a follower left the in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalReason {
    /// Its stream broke.
    StreamClosed,
    /// It did not confirm in time.
    Silent,
    /// It said that it can keep nothing.
    Leaves,
    /// Its log is not a beginning of the primary's.
    Forked,
    /// It follows a newer view, or refuses this one.
    Refused,
}

/// Why a primary stopped leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepDownReason {
    /// Someone else has installed a newer view.
    Superseded,
    /// It gave the lead to a lower index.
    HandedOver,
    /// Its store failed.
    StoreFailed,
    /// The files of its database were removed, replaced or damaged.
    FilesLost,
    /// Its store has been busy with one thing for too long.
    StoreStuck,
    /// The view register is not what it was.
    RegisterDoubted,
    /// Its wall clock is wrong by the word of two others.
    ClockWrong,
    /// Another in sync is better off.
    Impaired(Impairment),
}

/// Something worth telling people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// This replica learned of a newer view.
    ViewAdopted(View),
    /// This replica runs for primary, because it lost the one of that view.
    Runs {
        /// The view whose primary is lost.
        after: ViewNumber,
    },
    /// Its lead was left to a lower index that lives.
    Deferred {
        /// To whom.
        to: ReplicaIndex,
    },
    /// This replica leads the view, and is levelling the others.
    Leading(View),
    /// This replica no longer leads.
    SteppedDown(StepDownReason),
    /// The primary goes on without these.
    Removing {
        /// Who.
        peers: ReplicaSet,
        /// Why the last of them left.
        reason: RemovalReason,
    },
    /// A newcomer is level and enters the in-sync set.
    Admitting {
        /// Who.
        peer: ReplicaIndex,
        /// The op at which it is level.
        op: Op,
    },
    /// A peer's log has what this primary's has not; it was told to cut it back to what is committed.
    Cuts {
        /// Who.
        peer: ReplicaIndex,
        /// Where its log ends.
        position: Position,
    },
    /// A peer's log can't be extended; it was told to take a snapshot.
    NeedsSnapshot {
        /// Who.
        peer: ReplicaIndex,
        /// Where its log ends.
        position: Position,
        /// Whether it is a fork, or only out of the log's reach.
        forked: bool,
    },
    /// A peer fails to apply the same entry again and again; it was told to take a snapshot.
    AsksForSnapshot {
        /// Who.
        peer: ReplicaIndex,
    },
    /// This replica takes entries that only a secondary has.
    TakingTail {
        /// From whom.
        from: ReplicaIndex,
        /// Where that one's log ends.
        until: Op,
    },
    /// A stream brought something that doesn't fit, and was closed.
    StreamUnsound {
        /// From whom.
        peer: ReplicaIndex,
    },
    /// This replica has no part in the newest view and waits to be brought level.
    WaitingToBeLevelled,
    /// The wall clocks of this replica and another have come apart, or together again.
    ClocksApart {
        /// The other replica.
        peer: ReplicaIndex,
        /// How far its clock is ahead, in milliseconds.
        ahead: i64,
    },
    /// The first start waits for these replicas to show their empty databases.
    FoundingWaitsFor(ReplicaSet),
    /// After a power failure, this replica waits until these have shown what they have, or have brought it level.
    PowerFailureWaitsFor(ReplicaSet),
    /// This replica remembers no view, and waits until these have shown what they have before it believes the register.
    NothingRememberedWaitsFor(ReplicaSet),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RegisterLost => {
                "the view register is empty, but a database holds entries: the register was lost; see `trialogue recover`"
            }
            Self::RegisterReplaced => {
                "the view register is not the one that this database remembers: it was copied, put back from a copy, or made \
                 anew; stop all replicas and see `trialogue recover`"
            }
            Self::RegisterOlder => {
                "the view register holds an older view than this database remembers: it was put back as it was before; stop \
                 all replicas and see `trialogue recover`"
            }
            Self::DiskLied => "the disk gave back another log than it had confirmed; replace it and wipe this replica's folder",
            Self::FilesLost => {
                "the files of its database were removed, replaced or damaged; the next start begins with what is there now, and is brought level"
            }
        })
    }
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StreamClosed => "its stream broke",
            Self::Silent => "it did not answer in time",
            Self::Leaves => {
                "it says that it is not fit: its disk, its clock or what it has to do keeps it from serving well"
            }
            Self::Forked => "its log is a fork",
            Self::Refused => "it follows a newer view",
        })
    }
}

impl fmt::Display for StepDownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Impaired(impairment) => return write!(f, "{impairment}, and another can lead"),
            Self::Superseded => "a newer view exists",
            Self::HandedOver => "handed over to a lower index",
            Self::StoreFailed => "its store failed",
            Self::FilesLost => "the files of its database were removed, replaced or damaged",
            Self::StoreStuck => "its store is stuck",
            Self::RegisterDoubted => "the view register is not what it was",
            Self::ClockWrong => "its clock is an hour or more from those of two others, which agree",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ViewAdopted(view) => write!(f, "knows {view}"),
            Self::Runs { after } => write!(f, "runs for primary: the one of view {after} is lost"),
            Self::Deferred { to } => write!(f, "leaves the lead to replica {to}, which lives"),
            Self::Leading(view) => write!(f, "leads {view}"),
            Self::SteppedDown(reason) => write!(f, "steps down: {reason}"),
            Self::Removing { peers, reason } => write!(f, "goes on without {peers}: {reason}"),
            Self::Admitting { peer, op } => write!(f, "admits replica {peer}, level at op {op}"),
            Self::Cuts { peer, position } => {
                write!(f, "has replica {peer} cut its log, which has a fork at {position}")
            }
            Self::NeedsSnapshot { peer, position, forked: true } => {
                write!(f, "sends a snapshot to replica {peer}, which has a fork at {position}")
            }
            Self::NeedsSnapshot { peer, position, forked: false } => {
                write!(f, "sends a snapshot to replica {peer}: the log no longer reaches back to {position}")
            }
            Self::AsksForSnapshot { peer } => {
                write!(f, "sends a snapshot to replica {peer}, which entries can't bring level")
            }
            Self::TakingTail { from, until } => {
                write!(f, "takes the tail up to op {until} from replica {from}")
            }
            Self::StreamUnsound { peer } => {
                write!(f, "closes the stream of replica {peer}: what it brought does not fit")
            }
            Self::WaitingToBeLevelled => f.write_str("is not in sync and waits to be brought level"),
            Self::ClocksApart { peer, ahead } if *ahead < 0 => {
                write!(f, "the clock of replica {peer} is {} ms behind this one's", -ahead)
            }
            Self::ClocksApart { peer, ahead } => {
                write!(f, "the clock of replica {peer} is {ahead} ms ahead of this one's")
            }
            Self::FoundingWaitsFor(peers) => {
                write!(f, "first start: waits for the empty databases of {peers}")
            }
            Self::PowerFailureWaitsFor(peers) => {
                write!(
                    f,
                    "after a power failure: waits before it leads until {peers} have shown what they have"
                )
            }
            Self::NothingRememberedWaitsFor(peers) => {
                write!(f, "remembers no view: waits before it leads until {peers} have shown what they have")
            }
        }
    }
}
