//! The messages between replicas: what a primary, a candidate and a secondary say to each other.

use crate::identity::{DatabaseId, RegisterId, ViewNumber};
use crate::log::{Chain, Entry, Op, Position};
use crate::time::Time;
use crate::view::View;
use alloc::vec::Vec;

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
    /// Answers `Call`, once no write of the log is under way.
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
        /// How far the log is committed, as far as the receiver has confirmed it to this primary; the origin, if it has not.
        committed: Position,
    },
    /// Answers `Beat`: a promise of silence for a whole grace.
    BeatAnswered {
        /// The beat's view.
        number: ViewNumber,
        /// The beat's time, returned.
        sent_at: Time,
    },
    /// Entries to log.
    Append {
        /// The view that the sender leads.
        view: View,
        /// What the first entry follows.
        previous: Position,
        /// The entries.
        entries: Vec<Entry<R>>,
        /// As in `Beat`.
        committed: Position,
    },
    /// Answers `Append`: all entries up to this position are durable.
    Confirmed {
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
    /// "Your log is no beginning of mine: cut it back to what you know to be committed, and come back by another stream."
    Cut {
        /// The view that the sender leads.
        view: View,
        /// Where the receiver's log ends, as it has shown.
        position: Position,
    },
    /// "Your history can't be extended to mine: take a snapshot from me."
    TakeSnapshot {
        /// The view that the sender leads.
        view: View,
    },
    /// "I can't be brought level by entries: tell me to take a snapshot." Answers a `Call` of the primary, from a replica that is
    /// not in sync and has failed to apply the same entry again and again; and a `Cut`, where nothing may be cut.
    NeedsSnapshot {
        /// The call's number.
        number: ViewNumber,
    },
    /// "I can keep nothing: go on without me." Answers `Append`, and `Call` while the store is not to be trusted.
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

impl<R> Message<R> {
    /// The view that the sender leads, of a message that only a primary sends, or that a candidate calls on.
    pub(crate) const fn led(&self) -> Option<&View> {
        match self {
            Self::Call { base: view, .. }
            | Self::Beat { view, .. }
            | Self::Append { view, .. }
            | Self::Fetch { view, .. }
            | Self::Cut { view, .. }
            | Self::TakeSnapshot { view }
            | Self::HandedOver { view } => Some(view),
            _ => None,
        }
    }
}
