//! What a database remembers of views, so that a view register that has lost its newest views is not believed.
//!
//! A register may be emptied, put back from an older copy, or be a copy itself; what it then says of who is in sync was
//! true once. So each database keeps the newest view that its replica has acted in, and the identity of the register that
//! installed it. Both are durable before the replica acts in the view: before it serves it, confirms an entry of it, shows its
//! position to a caller of it, or runs for primary after it. A register that names another identity, or an older view, is
//! not the one that was remembered: the replica halts, and a person decides ([`crate::recover`]).

use crate::common::Common;
use crate::event::{Effect, RegisterRead};
use crate::identity::{RegisterId, Token, ViewNumber};
use crate::log::Record;
use crate::note::HaltReason;
use crate::time::Time;
use crate::view::View;

/// What one database remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The register that installed the view.
    pub register: RegisterId,
    /// The newest view that its replica has acted in, or has learned of without having a part in it.
    pub view: View,
    /// The newest view of which this database has held every acknowledged entry: it was in sync by it, or is a snapshot of
    /// its primary's. 0 if there is none.
    pub complete: ViewNumber,
}

impl<R: Record> Common<R> {
    /// The number of the newest view that is remembered durably.
    fn remembered(&self) -> ViewNumber {
        self.memory.as_ref().map_or(ViewNumber(0), |memory| memory.view.number)
    }

    /// Whether the newest view that this replica knows is remembered, so that it may act in it.
    pub(crate) fn remembers(&self) -> bool {
        self.remembered() == self.view_number()
    }

    /// What is to be remembered and is not yet; nothing before the register has told its identity, or while its word is not
    /// enough.
    pub(crate) fn due_memory(&self) -> Option<Memory> {
        if self.remembers() || self.doubts_the_register() {
            return None;
        }
        let (register, view) = (self.register?, self.view.clone()?);
        let before = self.memory.as_ref().map_or(ViewNumber(0), |memory| memory.complete);
        let complete = if self.in_sync() { view.number } else { before };
        Some(Memory { register, view, complete })
    }

    /// What a snapshot of the followed primary's is to remember from its first moment on.
    pub(crate) fn snapshot_memory(&self) -> Option<Memory> {
        let (register, view) = (self.register?, self.view.clone()?);
        Some(Memory { register, complete: view.number, view })
    }

    /// Has the newest view remembered, as soon as the store is free for it.
    pub(crate) fn remember(&mut self, now: Time) {
        if !self.work.may_remember() || !self.healthy(now) {
            return;
        }
        if let Some(memory) = self.due_memory() {
            let token = self.token();
            self.work.remember(token, now);
            self.remembering = Some(memory.clone());
            self.emit(Effect::Remember { token, memory });
        }
    }

    /// The store has kept what it was given to remember, if it was given anything.
    pub(crate) fn on_remembered(&mut self) {
        if let Some(memory) = self.remembering.take() {
            self.memory = Some(memory);
        }
    }

    /// The register that this replica proposes views to.
    pub(crate) fn register(&self) -> RegisterId {
        self.register.expect("who proposes a view remembers the one before it, and with it the register")
    }

    /// Asks the register for its newest view, and notes what its answer can't be older than.
    pub(crate) fn read_register(&mut self) -> Token {
        let token = self.token();
        self.register_asked = Some((token, self.remembered().max(self.view_number())));
        self.emit(Effect::ReadRegister { token });
        token
    }

    /// Judges what the register has answered: the one place that decides whether it is the register that was known when it
    /// was asked. An answer to an earlier question is not judged: no role waits for it any more.
    pub(crate) fn judge(&mut self, now: Time, token: Token, outcome: &RegisterRead) -> Option<HaltReason> {
        let (asked, known) = self.register_asked?;
        if asked != token {
            return None;
        }
        let remembered = self.memory.as_ref().map(|memory| memory.view.clone());
        match outcome {
            RegisterRead::Failed => None,
            RegisterRead::Empty if known == ViewNumber(0) => None,
            RegisterRead::Empty => Some(HaltReason::RegisterLost),
            RegisterRead::Current { register, view } => {
                let same_number = remembered.as_ref().filter(|remembered| remembered.number == view.number);
                if self.register.is_some_and(|mine| mine != *register)
                    || same_number.is_some_and(|remembered| remembered != view)
                {
                    return Some(HaltReason::RegisterReplaced);
                }
                if view.number < known {
                    // Others that believe this register learn of the newer view from this replica, halted as it is.
                    if let Some(view) = remembered {
                        self.adopt(&view);
                    }
                    return Some(HaltReason::RegisterOlder);
                }
                if self.register.replace(*register).is_none() {
                    self.doubt_the_register(now);
                }
                None
            }
        }
    }
}
