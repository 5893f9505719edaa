//! The requests that wait for a batch, each in the queue of its share: so no flood of one account fills the batches of others.

use super::{Primacy, Settled};
use chat::{AccountId, Request, TokenHash};
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;

/// A request and who waits for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) share: Share,
    /// In which primacy it was submitted: it is never carried into another.
    pub(crate) primacy: Primacy,
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Settled>,
}

/// Whose share of each batch a request takes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// All streams of an account.
    Account(AccountId),
    /// The calls of a session, one by one.
    Session(TokenHash),
    /// All that come without a session.
    Stranger,
}

/// The requests of the next batches: each share has a queue, and they take turns.
#[derive(Debug, Default)]
pub(super) struct Requests {
    queues: HashMap<Share, VecDeque<Pending>>,
    /// The shares with a queue, the next one first.
    turns: VecDeque<Share>,
    pub(super) count: usize,
}

impl Requests {
    pub(super) fn waiting_in(&self, share: Share) -> usize {
        self.queues.get(&share).map_or(0, VecDeque::len)
    }

    pub(super) fn push(&mut self, pending: Pending) {
        let share = pending.share;
        let queue = self.queues.entry(share).or_default();
        if queue.is_empty() {
            self.turns.push_back(share);
        }
        queue.push_back(pending);
        self.count += 1;
    }

    /// Puts back a request that was taken: it is the next of its share, whose turn it is.
    pub(super) fn put_back(&mut self, pending: Pending) {
        let share = pending.share;
        self.queues.entry(share).or_default().push_front(pending);
        self.turns.retain(|waiting| *waiting != share);
        self.turns.push_front(share);
        self.count += 1;
    }

    /// The next request of the share whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let share = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&share)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&share);
        } else {
            self.turns.push_back(share);
        }
        self.count -= 1;
        next
    }
}
