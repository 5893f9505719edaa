//! Random numbers that are the same for the same seed on every machine.

use std::ops::Range;

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): a few lines, and no version
/// of a library can change what a seed means.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of one part in 2^64 / bound is of no consequence here.
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).expect("a number below a u64")
    }

    /// A number of the range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// A place in a collection of that length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("a place in memory")
    }

    /// True in `of_hundred` of 100 cases.
    pub fn percent(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }

    /// True in `cases` of 10,000 cases.
    pub fn in_ten_thousand(&mut self, cases: u64) -> bool {
        cases > 0 && self.below(10_000) < cases
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}
