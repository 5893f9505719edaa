//! Which request ids the tables may hold, so that they are not asked for those of new requests.
//!
//! Ids carry their dates: those of new requests are higher than most that took effect before.

use crate::request_ids;
use chat::RequestId;
use rusqlite::Connection;
use std::collections::{HashSet, VecDeque};

/// Ids that are kept in memory, at most.
const KEPT_MAX: usize = 65_536;

/// The ids of requests that took effect: those of a primacy one by one, up to a number, and a bound of all others.
#[derive(Debug)]
pub(crate) struct Taken {
    /// No id above this one is in the tables, but for those that are kept.
    bound: Option<RequestId>,
    kept: HashSet<RequestId>,
    /// The same, in the order in which they took effect.
    order: VecDeque<RequestId>,
}

impl Taken {
    /// At the beginning of a primacy: the tables show all that is in the log.
    pub(crate) fn begin(connection: &Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self { bound: request_ids::highest(connection)?, kept: HashSet::new(), order: VecDeque::new() })
    }

    /// A request takes effect.
    pub(crate) fn take(&mut self, id: RequestId) {
        self.kept.insert(id);
        self.order.push_back(id);
        if self.order.len() > KEPT_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.kept.remove(&first);
            self.bound = self.bound.max(Some(first));
        }
    }

    /// Whether a request of that id may have taken effect; if not, it has not.
    pub(crate) fn may_have(&self, id: RequestId) -> bool {
        Some(id) <= self.bound || self.kept.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn id(number: u64) -> RequestId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        RequestId(Uuid::from_bytes(bytes))
    }

    #[test]
    fn no_id_that_took_effect_is_passed_over_and_few_others_are_looked_for() {
        let mut taken = Taken { bound: Some(id(100)), kept: HashSet::new(), order: VecDeque::new() };
        assert!(taken.may_have(id(7)) && taken.may_have(id(100)) && !taken.may_have(id(101)));
        // Every other number, in an order that clocks which differ might bring.
        let count = u64::try_from(KEPT_MAX).unwrap() + 100;
        let took_effect: BTreeSet<u64> = (0..count).map(|number| 1000 + 2 * (number ^ 1)).collect();
        for number in 0..count {
            taken.take(id(1000 + 2 * (number ^ 1)));
        }
        assert!(took_effect.iter().all(|number| taken.may_have(id(*number))));
        let looked_for = (101..1000 + 2 * count).filter(|number| !took_effect.contains(number));
        let looked_for = looked_for.filter(|number| taken.may_have(id(*number)));
        let highest_forgotten = looked_for.max().unwrap();
        assert!(highest_forgotten < 1000 + 2 * 102, "{highest_forgotten}: what is newer is known exactly");
        assert_eq!(taken.kept.len(), KEPT_MAX);
    }

    #[test]
    fn where_nothing_took_effect_nothing_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let connection =
            crate::database::open(&folder.path().join("chat.db"), crate::soundness::Check::Whole)
                .unwrap()
                .connection;
        assert!(!Taken::begin(&connection).unwrap().may_have(id(0)));
    }
}
