//! What keeps a replica from serving well although its store and its clock are right. The driver sees it; the core decides
//! what follows.
//!
//! An impaired primary finishes the batch in flight, resigns, and is not fit to lead again while another in sync is better
//! off. If none is, it goes on as well as it can: three replicas that share a full disk still answer reads, and one that is
//! left alone leads.

use crate::common::Common;
use crate::identity::ReplicaSet;
use crate::log::Record;
use core::fmt;

/// Why a replica should leave the lead to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impairment {
    /// Its disk has so little room left that writes are refused.
    DiskFull,
    /// It can't accept connections.
    NoConnections,
    /// Its process has been asked to end.
    Ending,
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "its disk is nearly full",
            Self::NoConnections => "it can't accept connections",
            Self::Ending => "it is asked to end",
        })
    }
}

/// What a replica knows of its own impairment, and of the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Impaired {
    by: Option<Impairment>,
    better_off: ReplicaSet,
}

impl Impaired {
    pub(crate) const NO: Self = Self { by: None, better_off: ReplicaSet::EMPTY };

    pub(crate) const fn new(by: Option<Impairment>, better_off: ReplicaSet) -> Self {
        Self { by, better_off }
    }
}

impl<R: Record> Common<R> {
    /// What impairs this replica, if another that is in sync and connected is better off.
    pub(crate) fn impairment(&self) -> Option<Impairment> {
        let view = self.view.as_ref()?;
        let others = view.in_sync.without(self.me).intersection(self.connected());
        self.impaired.by.filter(|_| !others.intersection(self.impaired.better_off).is_empty())
    }

    /// Whether another that is better off is to lead instead of this replica, and does not yet.
    pub(crate) fn hands_over(&self) -> bool {
        self.impairment().is_some() && self.view.as_ref().is_some_and(|view| view.primary() == self.me)
    }
}
