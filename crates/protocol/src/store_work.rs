//! What the store is doing: at most one thing on each of its lanes, except that writes of the log wait behind each other.
//!
//! The log and the tables are written by different hands, which never wait for each other: entries are logged while others are
//! executed, applied, or a view is remembered. Three things need everything else to be at rest: a cut of the log, a snapshot
//! that takes the database's place, and a repair.
//!
//! The work outlives the role that asked for it: what a primary that steps down has given to the log is written all the same,
//! and no position is shown before that is answered.

use crate::identity::Token;
use crate::log::Position;
use crate::time::Time;
use alloc::collections::VecDeque;
use core::time::Duration;

/// A write of the log that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Logging {
    token: Token,
    since: Time,
    /// Where the log ends with it.
    end: Position,
}

/// What needs everything else to be at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whole {
    Cutting { token: Token, since: Time, to: Position },
    // These take as long as they take.
    Installing { token: Token },
    Repairing { token: Token },
}

/// What an answered token was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Executing,
    /// The log ends here once it is written.
    Logging(Position),
    /// The tables show everything up to here once it is done.
    Applying(Position),
    Remembering,
    /// The log ends here once it is done.
    Cutting(Position),
    Installing,
    Repairing,
}

/// What the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StoreWork {
    executing: Option<(Token, Time)>,
    /// In the order of the log.
    logging: VecDeque<Logging>,
    applying: Option<(Token, Time, Position)>,
    remembering: Option<(Token, Time)>,
    whole: Option<Whole>,
}

impl StoreWork {
    /// Nothing was asked of it that is not answered.
    pub(crate) fn is_idle(&self) -> bool {
        *self == Self::default()
    }

    /// No write of the log is under way or waits, and nothing else changes the log.
    pub(crate) fn log_at_rest(&self) -> bool {
        self.logging.is_empty() && self.whole.is_none()
    }

    /// Entries may be given to the log: behind others, but not beside what needs everything to be at rest.
    pub(crate) const fn may_log(&self) -> bool {
        self.whole.is_none()
    }

    pub(crate) const fn may_execute(&self) -> bool {
        self.executing.is_none() && self.whole.is_none()
    }

    pub(crate) const fn may_apply(&self) -> bool {
        self.applying.is_none() && self.whole.is_none()
    }

    pub(crate) const fn may_remember(&self) -> bool {
        self.remembering.is_none() && self.whole.is_none()
    }

    /// Where the log ends once everything that was given to it is written; `None` if nothing waits.
    pub(crate) fn log_end(&self) -> Option<Position> {
        self.logging.back().map(|logging| logging.end)
    }

    pub(crate) fn execute(&mut self, token: Token, since: Time) {
        assert!(self.may_execute(), "a batch is to be executed beside other work: {self:?}");
        self.executing = Some((token, since));
    }

    pub(crate) fn log(&mut self, token: Token, since: Time, end: Position) {
        assert!(self.may_log(), "entries are to be logged beside what changes the whole log: {self:?}");
        self.logging.push_back(Logging { token, since, end });
    }

    pub(crate) fn apply(&mut self, token: Token, since: Time, up_to: Position) {
        assert!(self.may_apply(), "entries are to be applied beside other work: {self:?}");
        self.applying = Some((token, since, up_to));
    }

    pub(crate) fn remember(&mut self, token: Token, since: Time) {
        assert!(self.may_remember(), "a view is to be remembered beside other work: {self:?}");
        self.remembering = Some((token, since));
    }

    pub(crate) fn cut(&mut self, token: Token, since: Time, to: Position) {
        self.take_whole(Whole::Cutting { token, since, to });
    }

    pub(crate) fn install(&mut self, token: Token) {
        self.take_whole(Whole::Installing { token });
    }

    pub(crate) fn repair(&mut self, token: Token) {
        self.take_whole(Whole::Repairing { token });
    }

    fn take_whole(&mut self, whole: Whole) {
        assert!(self.is_idle(), "{whole:?} needs a store at rest: {self:?}");
        self.whole = Some(whole);
    }

    /// Takes note that something was answered: the one place that refuses late answers. Writes of the log are answered in
    /// their order.
    pub(crate) fn answered(&mut self, answered: Token) -> Option<Work> {
        if self.executing.take_if(|(token, _)| *token == answered).is_some() {
            return Some(Work::Executing);
        }
        if let Some(logging) = self.logging.pop_front_if(|logging| logging.token == answered) {
            return Some(Work::Logging(logging.end));
        }
        if let Some((_, _, up_to)) = self.applying.take_if(|(token, ..)| *token == answered) {
            return Some(Work::Applying(up_to));
        }
        if self.remembering.take_if(|(token, _)| *token == answered).is_some() {
            return Some(Work::Remembering);
        }
        let (work, token) = match self.whole? {
            Whole::Cutting { token, to, .. } => (Work::Cutting(to), token),
            Whole::Installing { token } => (Work::Installing, token),
            Whole::Repairing { token } => (Work::Repairing, token),
        };
        (token == answered).then(|| {
            self.whole = None;
            work
        })
    }

    /// Since when the store has been busy with what should take milliseconds.
    fn busy_since(&self) -> Option<Time> {
        let whole = match self.whole {
            Some(Whole::Cutting { since, .. }) => Some(since),
            _ => None,
        };
        let applying = self.applying.map(|(_, since, _)| since);
        let lanes =
            [self.executing.map(|(_, since)| since), self.remembering.map(|(_, since)| since), applying];
        lanes.into_iter().chain([self.logging.front().map(|logging| logging.since), whole]).flatten().min()
    }

    /// When the store will have been busy with one thing for `limit`.
    pub(crate) fn stuck_at(&self, limit: Duration) -> Option<Time> {
        self.busy_since().map(|since| since + limit)
    }

    /// How long the store has been busy with one thing that should take milliseconds.
    pub(crate) fn busy_for(&self, now: Time) -> Duration {
        self.busy_since().map_or(Duration::ZERO, |since| now - since)
    }
}
