//! What was looked up in the tables, or changed since by an entry, kept in memory for as long as it is right.

use protocol::Op;
use std::collections::HashMap;
use std::hash::Hash;

/// Values of one kind that are kept, at most, beside those that the tables do not show yet.
const KEPT_MAX: usize = 65_536;

/// The newest values by their keys: each was read from the tables, or set by an entry.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    /// Each with the entry that set it: one that the tables do not show yet is the only place where its value is known.
    values: HashMap<K, (Op, V)>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new() }
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.values.get(key).map(|(_, value)| value.clone())
    }

    /// An entry has set the value.
    pub(crate) fn set(&mut self, key: K, value: V, op: Op) {
        self.values.insert(key, (op, value));
    }

    /// The value, which is read from the tables if it is not known.
    pub(crate) fn get_or_read<E>(
        &mut self,
        key: K,
        read: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, E> {
        if let Some(known) = self.get(&key) {
            return Ok(Some(known));
        }
        let found = read()?;
        if let Some(value) = &found {
            self.values.insert(key, (Op(0), value.clone()));
        }
        Ok(found)
    }

    /// An entry has removed these values.
    pub(crate) fn remove(&mut self, removed: impl Fn(&V) -> bool) {
        self.values.retain(|_, (_, value)| !removed(value));
    }

    /// The tables show everything up to there. What is in them may be forgotten, once there is much of it.
    pub(crate) fn applied(&mut self, up_to: Op) {
        if self.values.len() > KEPT_MAX {
            self.values.retain(|_, (op, _)| *op > up_to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tables_do_not_show_yet_is_never_forgotten() {
        let mut cache = Cache::default();
        for key in 0..=KEPT_MAX {
            let read = cache.get_or_read(key, || Ok::<_, ()>(Some(1)));
            assert_eq!(read, Ok(Some(1)));
        }
        cache.set(7, 2, Op(9));
        cache.applied(Op(8));
        assert_eq!((cache.get(&7), cache.get(&6)), (Some(2), None));
        assert_eq!(cache.get_or_read(7, || Err(())), Ok(Some(2)), "nothing is read for what is known");
        cache.remove(|value| *value == 2);
        assert_eq!(cache.get(&7), None);
    }
}
