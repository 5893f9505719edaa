//! The ledger: what was acknowledged, answered and read. Kept outside of all replicas, it forgets nothing.

use crate::fact::{KEYS, RequestId};
use crate::zones::Operation;
use protocol::{Op, Position, ReplicaIndex, ViewNumber};
use std::collections::BTreeMap;

/// What the outside knows.
#[derive(Debug)]
pub struct Ledger {
    /// The last acknowledged entry. It stands for all before it, by its chain.
    pub acknowledged: Position,
    /// The last entry that any replica has known to be committed.
    pub committed: Position,
    /// Where each answered request took effect, as its clients were told.
    pub answers: BTreeMap<RequestId, Op>,
    /// The history of each register.
    pub history: [Vec<Operation>; KEYS],
    pub(crate) primaries: BTreeMap<ViewNumber, ReplicaIndex>,
    /// The newest view in which anything was acknowledged.
    pub(crate) acted_in: ViewNumber,
    moments: u64,
    /// How many reads were answered.
    pub reads: u64,
    /// How many answers said that fewer replicas hold something than were asked for.
    pub kept: u64,
    /// How many requests stood behind a refusal in their stream.
    pub passed_over: u64,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            acknowledged: Position::ORIGIN,
            committed: Position::ORIGIN,
            answers: BTreeMap::new(),
            history: [const { Vec::new() }; KEYS],
            primaries: BTreeMap::new(),
            acted_in: ViewNumber(0),
            moments: 0,
            reads: 0,
            kept: 0,
            passed_over: 0,
        }
    }

    /// The last entry that no replica in sync may lack: acknowledged, or known to be committed.
    pub(crate) const fn promised(&self) -> Position {
        if self.committed.op.0 > self.acknowledged.op.0 { self.committed } else { self.acknowledged }
    }

    /// The next moment: an order of beginnings and ends, without ties.
    pub(crate) const fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}
