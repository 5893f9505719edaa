//! Who is who: newtypes for every number, so that none is taken for another.

use core::fmt;
use sha2::{Digest, Sha256};

/// The fixed place of a replica in the configuration: 0, 1, 2, … The lowest index in sync is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaIndex(pub u8);

impl ReplicaIndex {
    /// Indices run from 0 to 15, so that a set of them is one machine word.
    pub const MAX: u8 = 15;
}

impl fmt::Display for ReplicaIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of replicas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ReplicaSet(u16);

impl ReplicaSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set as bits: bit i stands for replica i.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set whose bit i stands for replica i.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The replicas 0 to `count` - 1.
    pub fn first(count: u8) -> Self {
        (0..count).map(ReplicaIndex).collect()
    }

    /// Whether `index` is in the set.
    pub const fn contains(self, index: ReplicaIndex) -> bool {
        self.0 & (1 << index.0) != 0
    }

    /// The set with `index`.
    #[must_use]
    pub const fn with(self, index: ReplicaIndex) -> Self {
        Self(self.0 | (1 << index.0))
    }

    /// The set without `index`.
    #[must_use]
    pub const fn without(self, index: ReplicaIndex) -> Self {
        Self(self.0 & !(1 << index.0))
    }

    /// Everything that is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Everything that is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Everything that is here and not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members below `index`.
    #[must_use]
    pub const fn below(self, index: ReplicaIndex) -> Self {
        Self(self.0 & ((1 << index.0) - 1))
    }

    /// The members above `index`.
    #[must_use]
    pub const fn above(self, index: ReplicaIndex) -> Self {
        self.difference(self.below(index)).without(index)
    }

    /// How many members the set has.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest index, if there is one.
    pub fn lowest(self) -> Option<ReplicaIndex> {
        self.iter().next()
    }

    /// The members in growing order.
    pub fn iter(self) -> impl Iterator<Item = ReplicaIndex> {
        (0..=ReplicaIndex::MAX).map(ReplicaIndex).filter(move |index| self.contains(*index))
    }
}

impl FromIterator<ReplicaIndex> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = ReplicaIndex>>(members: I) -> Self {
        members.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, index) in self.iter().enumerate() {
            write!(f, "{}{index}", if place == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

/// The number of a view; it only grows, by one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ViewNumber(pub u64);

impl ViewNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ViewNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a database, drawn when it is created. A replica *is* its database: a wiped folder is a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

/// The identity of a view register, given to it with its first view. A copy of a register is another register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterId(pub [u8; 16]);

impl RegisterId {
    /// The identity of a register whose first view is proposed by the run `incarnation` of the process on this database.
    pub fn founded_by(database: DatabaseId, incarnation: Incarnation) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"view register");
        hash.update(database.0);
        hash.update(incarnation.0.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// The identity of one run of one process, drawn by the driver at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// One connection between two incarnations of two processes, numbered by the driver, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Ties an effect to the one event that answers it. Drawn from one counter a replica, so a late answer fits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A read that a client waits for, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_who_stands_below_and_above() {
        let set: ReplicaSet = [0, 2, 5].map(ReplicaIndex).into_iter().collect();
        assert_eq!(set.lowest(), Some(ReplicaIndex(0)));
        assert_eq!(set.below(ReplicaIndex(2)), ReplicaSet::EMPTY.with(ReplicaIndex(0)));
        assert_eq!(set.above(ReplicaIndex(2)), ReplicaSet::EMPTY.with(ReplicaIndex(5)));
        assert_eq!(set.above(ReplicaIndex(15)), ReplicaSet::EMPTY);
        assert_eq!(set.len(), 3);
        assert_eq!(set.bits(), 0b10_0101);
        assert_eq!(ReplicaSet::from_bits(set.bits()), set);
        assert_eq!(alloc::format!("{set}"), "{0,2,5}");
    }
}
