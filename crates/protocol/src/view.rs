//! Views: who is in sync, agreed by compare-and-swap at the view register (`PacificA` §2.3, configurations).

use crate::identity::{DatabaseId, Incarnation, ReplicaIndex, ReplicaSet, ViewNumber};
use crate::log::{Op, Position};
use alloc::vec::Vec;
use core::fmt;

/// A replica of a view: its index, and the database that was in sync under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The replica's place in the configuration.
    pub index: ReplicaIndex,
    /// The identity of the database that this index had when the view was made.
    pub database: DatabaseId,
}

/// Who proposed a view, so that a proposer whose answer was lost recognises its own proposal when it reads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    /// The proposing replica.
    pub index: ReplicaIndex,
    /// The run of its process.
    pub incarnation: Incarnation,
    /// Counts the proposals of that run.
    pub attempt: u64,
}

/// One configuration of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Grows by one with each view.
    pub number: ViewNumber,
    /// The replicas that have ever been in sync, by index, with the identity of their database.
    pub members: Vec<Member>,
    /// The replicas that hold every acknowledged entry.
    pub in_sync: ReplicaSet,
    /// The op from which this membership holds: a database that ends before it is not in sync, whatever `in_sync` says.
    pub op: Op,
    /// Who proposed it.
    pub proposed_by: Proposer,
}

impl View {
    /// The lowest index in sync.
    ///
    /// # Panics
    /// If no replica is in sync: such a view is never proposed.
    pub fn primary(&self) -> ReplicaIndex {
        self.in_sync.lowest().expect("a view has at least one replica in sync: its proposer")
    }

    /// The identity of the database that `index` had in this view.
    pub fn database(&self, index: ReplicaIndex) -> Option<DatabaseId> {
        self.members.iter().find(|member| member.index == index).map(|member| member.database)
    }

    /// Whether the replica `index`, with this database that ends at this position, is in sync by this view.
    pub fn holds(&self, index: ReplicaIndex, database: DatabaseId, position: Position) -> bool {
        self.in_sync.contains(index) && self.database(index) == Some(database) && position.op >= self.op
    }

    /// Sets the database of one member.
    pub(crate) fn set_member(&mut self, index: ReplicaIndex, database: DatabaseId) {
        self.members.retain(|member| member.index != index);
        self.members.push(Member { index, database });
        self.members.sort_by_key(|member| member.index);
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {} in sync {} from op {}", self.number, self.in_sync, self.op)
    }
}
