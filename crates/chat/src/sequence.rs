//! Sequences: requests that take effect in the order in which they were sent, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The requests of one stream of one sender. Once one of them was refused for a reason that may pass, the sequence is
/// broken: nothing behind it takes effect, because that one may be sent again, and would land behind what followed it.
///
/// Clones are the same sequence. It is broken where requests are executed, one after the other, so whatever is executed
/// later sees it.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    broken: Arc<AtomicBool>,
}

impl Sequence {
    /// From now on none of its requests takes effect.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether a request of it was refused for a reason that may pass.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

impl PartialEq for Sequence {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.broken, &other.broken)
    }
}

impl Eq for Sequence {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_sequence_and_breaks_with_it() {
        let (one, other) = (Sequence::default(), Sequence::default());
        let same = one.clone();
        same.break_off();
        assert!(one.is_broken() && !other.is_broken());
        assert!(one == same && one != other);
    }
}
