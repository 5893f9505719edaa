//! Recovery: which database a person goes on with when no replica may, and what that costs.
//!
//! A pure function of what is found with every replica stopped, so that the command and the simulator run the very same one.
//! The newest view that anyone knows, the register or a database, says who holds every acknowledged entry. Only a register that
//! is whole and is the one that the databases remember proves that there is no newer view; without it, who comes out best may
//! still lack something, and the answer is that nobody knows.

use crate::identity::{DatabaseId, RegisterId, ReplicaIndex, ReplicaSet, ViewNumber};
use crate::log::Position;
use crate::memory::Memory;
use crate::view::{Member, Proposer, View};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

/// A database that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is.
    pub index: ReplicaIndex,
    /// Its identity.
    pub database: DatabaseId,
    /// Where its log ends.
    pub position: Position,
    /// What it remembers.
    pub memory: Option<Memory>,
}

/// What is left of the view register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The newest view that can be read, and the identity of the register that it stands in.
    pub newest: Option<(RegisterId, View)>,
    /// The highest number of any view in it, be it readable, damaged, or set aside by an earlier recovery; 0 if there is none.
    pub highest: ViewNumber,
    /// Whether the newest view is damaged.
    pub damaged: bool,
}

/// Why nobody knows which view was the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The register holds no view.
    Empty,
    /// Its newest view can't be read.
    Damaged,
    /// It is not the register that a database remembers.
    Replaced,
    /// A database remembers a newer view than it holds.
    Older,
}

/// What it costs to go on with the chosen database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// It was in sync by the newest view: nothing that was acknowledged is lost.
    Nothing {
        /// That view.
        by: View,
    },
    /// It was not in sync by the newest view: what was acknowledged after it fell out is lost.
    Lost {
        /// That view.
        by: View,
    },
    /// Nobody knows whether something that was acknowledged is lost.
    NobodyKnows(Doubt),
}

/// What to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The replica whose database it is.
    pub chosen: ReplicaIndex,
    /// What that costs.
    pub cost: Cost,
    database: DatabaseId,
    number: ViewNumber,
    members: Vec<Member>,
}

/// Decides what to go on with: the database of `wanted`, if a person has chosen one, else the best. `None` if there is no
/// such database.
///
/// The best was in sync by the newest view that can be read anywhere; among those, and where there is none, it has held every
/// acknowledged entry in the newest view, then has the longest log, then the lowest index.
pub fn decide(candidates: &[Candidate], remains: &Remains, wanted: Option<ReplicaIndex>) -> Option<Recovery> {
    let memories = || candidates.iter().filter_map(|candidate| candidate.memory.as_ref());
    let in_register = remains.newest.as_ref().map(|(_, view)| view);
    let newest = memories().map(|memory| &memory.view).chain(in_register).max_by_key(|view| view.number);
    let holds = |candidate: &Candidate, view: &View| {
        view.holds(candidate.index, candidate.database, candidate.position)
    };
    let best = |candidate: &&Candidate| {
        let complete = candidate.memory.as_ref().map(|memory| memory.complete);
        let in_sync = newest.is_some_and(|view| holds(candidate, view));
        (in_sync, complete, candidate.position.op, Reverse(candidate.index))
    };
    let chosen = match wanted {
        Some(wanted) => candidates.iter().find(|candidate| candidate.index == wanted),
        None => candidates.iter().max_by_key(best),
    }?;
    let doubt = match &remains.newest {
        _ if remains.damaged => Some(Doubt::Damaged),
        None => Some(Doubt::Empty),
        Some((register, _)) if memories().any(|memory| memory.register != *register) => Some(Doubt::Replaced),
        Some((_, view)) if newest.is_some_and(|newest| newest.number > view.number) => Some(Doubt::Older),
        // The same number with another content: the register went back and then another way.
        Some((_, view))
            if memories().any(|memory| memory.view.number == view.number && memory.view != *view) =>
        {
            Some(Doubt::Replaced)
        }
        Some(_) => None,
    };
    let cost = match (doubt, in_register) {
        (None, Some(by)) if holds(chosen, by) => Cost::Nothing { by: by.clone() },
        (None, Some(by)) => Cost::Lost { by: by.clone() },
        (Some(doubt), _) => Cost::NobodyKnows(doubt),
        (None, None) => Cost::NobodyKnows(Doubt::Empty),
    };
    let highest = newest.map_or(ViewNumber(0), |view| view.number).max(remains.highest);
    let members = newest.map(|view| view.members.clone()).unwrap_or_default();
    Some(Recovery { chosen: chosen.index, cost, database: chosen.database, number: highest.next(), members })
}

impl Recovery {
    /// The view to go on with: the chosen replica alone is in sync, and its log ends at `position` by now. Its number is above
    /// every number that was found anywhere, so that none is given twice.
    #[must_use]
    pub fn view(&self, position: Position, proposed_by: Proposer) -> View {
        let mut view = View {
            number: self.number,
            members: self.members.clone(),
            in_sync: ReplicaSet::EMPTY.with(self.chosen),
            op: position.op,
            proposed_by,
        };
        view.set_member(self.chosen, self.database);
        view
    }

    /// What a database remembers after the recovery, which has given the register a new identity.
    #[must_use]
    pub fn memory(&self, candidate: &Candidate, register: RegisterId, view: &View) -> Memory {
        let before = candidate.memory.as_ref().map_or(ViewNumber(0), |memory| memory.complete);
        let complete = if candidate.index == self.chosen { view.number } else { before };
        Memory { register, view: view.clone(), complete }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the view register is empty",
            Self::Damaged => "the newest view in the register is damaged",
            Self::Replaced => "the view register is not the one that the databases remember",
            Self::Older => "a database remembers a newer view than the register holds",
        })
    }
}

/// Goes on after the name of the chosen replica.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { by } => write!(f, "was in sync by {by}: no acknowledged message is lost"),
            Self::Lost { by } => {
                write!(f, "was not in sync by {by}: messages acknowledged after it fell out are lost")
            }
            Self::NobodyKnows(doubt) => {
                write!(
                    f,
                    "may lack something: nobody knows whether acknowledged messages are lost, because {doubt}"
                )
            }
        }
    }
}
