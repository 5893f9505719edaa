//! Recovery: which database a person goes on with when no replica may, and what that costs.
//!
//! A pure function of what is found with every replica stopped, so that the command and the simulator run the very same one.
//! The newest view that anyone knows, the register or a database, says who holds every acknowledged entry. Only a register that
//! is whole and is the one that the databases remember proves that there is no newer view; without it, who comes out best may
//! still lack something, and the answer is that it is unknown.

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

/// Why it is unknown which view was the newest.
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
    /// It is unknown whether something that was acknowledged is lost.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Incarnation;
    use crate::log::{Chain, Op};

    const MINE: RegisterId = RegisterId([1; 16]);
    const OTHER: RegisterId = RegisterId([2; 16]);

    fn database(index: u8) -> DatabaseId {
        DatabaseId([index; 16])
    }

    fn at(op: u64) -> Position {
        Position { op: Op(op), chain: Chain::GENESIS }
    }

    fn proposer(attempt: u64) -> Proposer {
        Proposer { index: ReplicaIndex(0), incarnation: Incarnation(1), attempt }
    }

    /// A view of replicas 0 to 2, from op 10 on.
    fn view(number: u64, in_sync: &[u8]) -> View {
        View {
            number: ViewNumber(number),
            members: (0..3)
                .map(|index| Member { index: ReplicaIndex(index), database: database(index) })
                .collect(),
            in_sync: in_sync.iter().map(|index| ReplicaIndex(*index)).collect(),
            op: Op(10),
            proposed_by: proposer(number),
        }
    }

    /// A database whose log ends at `op`, that remembers a view, and has held everything up to another one.
    fn found(index: u8, op: u64, memory: Option<(View, u64)>) -> Candidate {
        let memory =
            memory.map(|(view, complete)| Memory { register: MINE, view, complete: ViewNumber(complete) });
        Candidate { index: ReplicaIndex(index), database: database(index), position: at(op), memory }
    }

    fn remains(newest: Option<View>, highest: u64, damaged: bool) -> Remains {
        Remains { newest: newest.map(|view| (MINE, view)), highest: ViewNumber(highest), damaged }
    }

    #[test]
    fn the_replica_that_held_everything_last_is_chosen_and_what_it_costs_is_said() {
        let [all, two, one] = [view(4, &[0, 1, 2]), view(5, &[0, 1]), view(6, &[1])];
        let sure = Cost::Nothing { by: one.clone() };
        let whole = remains(Some(one.clone()), 6, false);
        let cases = [
            (
                "the register is whole: who is in sync by it, however short its log",
                alloc::vec![
                    found(0, 30, Some((two.clone(), 5))),
                    found(1, 20, Some((one.clone(), 6))),
                    found(2, 40, Some((all.clone(), 4)))
                ],
                whole.clone(),
                (1, sure),
            ),
            (
                "who is in sync is gone: the one that held everything last, however short its log",
                alloc::vec![found(0, 20, Some((one.clone(), 5))), found(2, 30, Some((one.clone(), 4)))],
                whole,
                (0, Cost::Lost { by: one.clone() }),
            ),
            (
                "the newest view is damaged, and the one before it lists all",
                alloc::vec![
                    found(0, 30, Some((two.clone(), 5))),
                    found(1, 20, Some((one.clone(), 6))),
                    found(2, 40, Some((all.clone(), 4)))
                ],
                remains(Some(all.clone()), 6, true),
                (1, Cost::NobodyKnows(Doubt::Damaged)),
            ),
            (
                "it holds an older view than is remembered",
                alloc::vec![found(0, 30, Some((two.clone(), 5))), found(2, 40, Some((all.clone(), 4)))],
                remains(Some(all.clone()), 4, false),
                (0, Cost::NobodyKnows(Doubt::Older)),
            ),
            (
                "it is empty",
                alloc::vec![found(0, 30, Some((two.clone(), 5))), found(2, 40, Some((all.clone(), 4)))],
                remains(None, 0, false),
                (0, Cost::NobodyKnows(Doubt::Empty)),
            ),
            (
                "the same number was given once more",
                alloc::vec![found(0, 30, Some((two, 5)))],
                remains(Some(view(5, &[1, 2])), 5, false),
                (0, Cost::NobodyKnows(Doubt::Replaced)),
            ),
            (
                "another register",
                alloc::vec![found(0, 30, Some((all.clone(), 4)))],
                Remains { newest: Some((OTHER, all.clone())), ..remains(None, 4, false) },
                (0, Cost::NobodyKnows(Doubt::Replaced)),
            ),
            (
                "nothing is remembered yet: the register, then the longest log, then the lowest index",
                alloc::vec![found(0, 30, None), found(1, 40, None), found(2, 40, None)],
                remains(Some(all.clone()), 4, false),
                (1, Cost::Nothing { by: all }),
            ),
        ];
        for (case, candidates, remains, (chosen, cost)) in cases {
            let recovery = decide(&candidates, &remains, None).expect(case);
            assert_eq!((recovery.chosen, &recovery.cost), (ReplicaIndex(chosen), &cost), "{case}");
        }
    }

    #[test]
    fn a_person_may_choose_among_those_there_are() {
        let newest = view(6, &[1]);
        let candidates = [found(0, 30, None), found(1, 20, None)];
        let remains = remains(Some(newest.clone()), 6, false);
        let of = |index| decide(&candidates, &remains, Some(ReplicaIndex(index)));
        assert_eq!(of(0).map(|recovery| recovery.cost), Some(Cost::Lost { by: newest }));
        assert_eq!(of(7), None);
        assert_eq!(decide(&[], &remains, None), None);
    }

    #[test]
    fn the_view_to_go_on_with_is_above_every_number_and_all_remember_it() {
        let remembered = found(0, 30, Some((view(9, &[0]), 9)));
        let other = found(2, 40, Some((view(4, &[0, 1, 2]), 4)));
        let candidates = [remembered.clone(), other.clone()];
        let number = |highest| {
            let remains = remains(Some(view(4, &[0, 1, 2])), highest, false);
            let recovery = decide(&candidates, &remains, None).expect("there are databases");
            recovery.view(at(31), proposer(0)).number
        };
        assert_eq!(number(4), ViewNumber(10), "above what is remembered");
        assert_eq!(number(12), ViewNumber(13), "above what was set aside");
        let recovery = decide(&candidates, &remains(None, 0, false), None).expect("there are databases");
        let next = recovery.view(at(31), proposer(0));
        assert!(next.holds(ReplicaIndex(0), database(0), at(31)) && next.in_sync.len() == 1, "{next}");
        assert_eq!(next.members.len(), 3, "the others are still members");
        let complete = |candidate: &Candidate| recovery.memory(candidate, OTHER, &next).complete;
        assert_eq!((complete(&remembered), complete(&other)), (ViewNumber(10), ViewNumber(4)));
    }
}
