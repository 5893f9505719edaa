//! What the thread that writes the log and those that read it share.

use crate::segment::{Part, Segment};
use protocol::Position;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The parts of the log that are synced.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Oldest first; at least one.
    parts: Vec<Part>,
    /// How often parts were taken away: after that, what is read of an older list may be void or overwritten.
    losses: u64,
}

impl Shared {
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        Self(Mutex::new(State { parts, losses: 0 }))
    }

    /// The parts as they are now, and how often any were taken away before.
    pub(crate) fn parts(&self) -> (Vec<Part>, u64) {
        let state = self.lock();
        (state.parts.clone(), state.losses)
    }

    pub(crate) fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// What is before the first entry.
    pub(crate) fn base(&self) -> Position {
        self.lock().parts[0].before()
    }

    pub(crate) fn newest(&self) -> Part {
        let state = self.lock();
        state.parts[state.parts.len() - 1].clone()
    }

    /// The newest part has got a group.
    pub(crate) fn extend(&self, end_at: u64, end: Position) {
        let mut state = self.lock();
        let newest = state.parts.len() - 1;
        let part = &mut state.parts[newest];
        (part.end_at, part.end) = (end_at, end);
    }

    /// Puts `parts` in the place of all. Returns the segments that are not among them.
    pub(crate) fn replace(&self, parts: Vec<Part>) -> Vec<Arc<Segment>> {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.parts, parts);
        state.losses += 1;
        let is_left = |part: &Part| state.parts.iter().any(|left| Arc::ptr_eq(&left.segment, &part.segment));
        before.into_iter().filter(|part| !is_left(part)).map(|part| part.segment).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
