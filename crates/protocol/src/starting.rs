//! Starting: what a process knows before it knows anything.
//!
//! It reads the view register before it listens to anyone: a replica that restarted has forgotten what it promised, and
//! only the register can tell it which view is the newest. If there is none, this may be a first start: every
//! database is empty, and the lowest index, having seen that with its own eyes, proposes view 1 with all of them. An
//! empty register beside a database with entries is a lost register, and no replica serves until a person has decided.

use crate::common::Common;
use crate::event::{Effect, Message, RegisterRead, SwapOutcome};
use crate::identity::{DatabaseId, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber};
use crate::log::{Op, Record};
use crate::next::{Next, Patience, Shown};
use crate::note::{HaltReason, Note};
use crate::time::Time;
use crate::view::{Member, View};
use alloc::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Starting {
    reading: Option<Token>,
    again_at: Time,
    /// The register has answered that there is no view.
    no_view: bool,
    /// Another replica has shown that there was a view, after this one had read an empty register.
    view_was_shown: bool,
    /// Who has shown an empty database.
    empty: BTreeMap<ReplicaIndex, DatabaseId>,
    waits_for: ReplicaSet,
    swap: Option<(Token, View)>,
}

impl Starting {
    pub(crate) const fn new(now: Time) -> Self {
        Self {
            reading: None,
            again_at: now,
            no_view: false,
            view_was_shown: false,
            empty: BTreeMap::new(),
            waits_for: ReplicaSet::EMPTY,
            swap: None,
        }
    }

    pub(crate) fn on_message<R: Record>(
        &mut self,
        common: &Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) -> Next<R> {
        match message {
            Message::Alive { view: None, position, .. } if self.no_view && position.op > Op(0) => {
                return Next::Halt(HaltReason::RegisterLost);
            }
            Message::Alive { view: Some(_), .. } if self.no_view => {
                // There was a view. It may have been installed since the register was read: only a register that is
                // read from now on, and is still empty, has lost it.
                (self.view_was_shown, self.no_view, self.reading) = (true, false, None);
                self.again_at = now;
            }
            Message::Alive { view: None, database, .. } if self.no_view => {
                self.empty.insert(peer, database);
            }
            Message::Call { .. } | Message::Beat { .. } if self.no_view && common.me != founder(common) => {
                // View 1 was founded since the register was read; its primary says so.
                return Next::FollowThen { patience: Patience::fresh(now), peer, stream, message };
            }
            _ => {}
        }
        Next::Stay
    }

    pub(crate) fn on_stream_closed(&mut self, peer: ReplicaIndex) {
        self.empty.remove(&peer);
    }

    pub(crate) fn on_register_read<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: RegisterRead,
    ) -> Next<R> {
        if self.reading != Some(token) {
            return Next::Stay;
        }
        self.reading = None;
        self.again_at = now + common.timing.retry_every;
        match outcome {
            RegisterRead::Current { view, .. } => {
                common.adopt(&view);
                if !common.in_sync() {
                    common.note(Note::WaitingToBeLevelled);
                }
                Next::Follow(Patience::until(now, now + common.timing.patience))
            }
            RegisterRead::Empty if common.logged.op > Op(0) || self.view_was_shown => {
                Next::Halt(HaltReason::RegisterLost)
            }
            RegisterRead::Empty => {
                self.no_view = true;
                Next::Stay
            }
            RegisterRead::Failed => Next::Stay,
        }
    }

    pub(crate) fn on_swap_answered<R: Record>(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: SwapOutcome,
    ) -> Next<R> {
        match self.swap.take() {
            Some((asked, view)) if asked == token => match outcome {
                SwapOutcome::Installed => {
                    common.register = Some(founded(common));
                    Next::Lead { view, shown: Shown::new() }
                }
                // Read again: the register knows better than any guess of mine.
                SwapOutcome::Superseded(_) | SwapOutcome::Foreign | SwapOutcome::Unknown => {
                    self.no_view = false;
                    self.again_at = now + common.timing.retry_every;
                    Next::Stay
                }
            },
            other => {
                self.swap = other;
                Next::Stay
            }
        }
    }

    pub(crate) fn advance<R: Record>(&mut self, common: &mut Common<R>, now: Time) {
        if self.swap.is_some() {
            return;
        }
        let others = common.all.without(common.me);
        let missing = others.difference(self.empty.keys().copied().collect());
        if self.no_view && common.me == founder(common) && missing.is_empty() && common.store.is_sound() {
            self.found(common);
            return;
        }
        if self.reading.is_some() || now < self.again_at {
            return;
        }
        self.reading = Some(common.read_register());
        if common.me == founder(common) && self.no_view {
            if missing != self.waits_for {
                self.waits_for = missing;
                common.note(Note::FoundingWaitsFor(missing));
            }
            for peer in missing.iter() {
                common.send(peer, Message::Probe);
            }
        }
    }

    fn found<R: Record>(&mut self, common: &mut Common<R>) {
        let mine = Member { index: common.me, database: common.database };
        let others = self.empty.iter().map(|(index, database)| Member { index: *index, database: *database });
        let view = View {
            number: ViewNumber(1),
            members: core::iter::once(mine).chain(others).collect(),
            in_sync: common.all,
            op: Op(0),
            proposed_by: common.proposer(),
        };
        let token = common.token();
        self.swap = Some((token, view.clone()));
        common.emit(Effect::Swap { token, register: founded(common), view });
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        (self.reading.is_none() && self.swap.is_none()).then_some(self.again_at)
    }
}

/// The identity of the register whose first view this replica proposes.
fn founded<R: Record>(common: &Common<R>) -> RegisterId {
    RegisterId::founded_by(common.database, common.incarnation)
}

/// The lowest configured index founds the cluster; no other proposes view 1.
fn founder<R: Record>(common: &Common<R>) -> ReplicaIndex {
    common.all.lowest().expect("a cluster has at least one replica: this one")
}
