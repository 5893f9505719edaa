//! The replica: finds the role, refuses what is stale, delegates, and asserts the invariants on the way out.

mod store_answers;

use crate::bounds::Bounds;
use crate::common::{Common, Identity};
use crate::doubt::Doubt;
use crate::event::{Effect, Event, Message, RegisterRead, SwapOutcome};
use crate::identity::{ReplicaIndex, StreamId, Token, ViewNumber};
use crate::impairment::Impaired;
use crate::lease::Timing;
use crate::log::{Position, Record};
use crate::next::Next;
use crate::note::{HaltReason, Note, StepDownReason};
use crate::primary::Primary;
use crate::secondary::Secondary;
use crate::starting::Starting;
use crate::takeover::Takeover;
use crate::time::Time;
use crate::view::View;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One replica's protocol state: events in, effects out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<R> {
    pub(crate) common: Common<R>,
    pub(crate) role: Role<R>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role<R> {
    Starting(Starting),
    Secondary(Secondary<R>),
    Takeover(Takeover),
    Primary(Box<Primary<R>>),
    Halted(HaltReason),
}

/// More turns than this within one event would mean that two roles hand each other the replica for ever.
const TURNS_MAX: usize = 16;

impl<R: Record> Replica<R> {
    /// A replica whose process has just started.
    ///
    /// # Panics
    /// If the timing is unsound, or the identity is not one of the configured replicas.
    pub fn new(identity: Identity, timing: Timing, bounds: Bounds, now: Time) -> Self {
        timing.assert_sound();
        let Identity { index, all, after_power_failure, logged, committed, applied, .. } = identity;
        assert!(all.contains(index), "replica {index} is not among the configured {all}");
        assert!(
            committed.op <= logged.op && applied.op <= logged.op,
            "replica {index} starts with a log that ends at {logged}, {committed} committed and {applied} applied"
        );
        let mut common = Common::new(identity, timing, bounds);
        common.doubt = after_power_failure.then(|| Doubt::after_power_failure(now));
        Self { common, role: Role::Starting(Starting::new(now)) }
    }

    /// Takes note of an event and says what is to be done.
    ///
    /// # Panics
    /// If an invariant is broken: then this process must not go on.
    pub fn handle(&mut self, now: Time, event: Event<R>) -> Vec<Effect<R>> {
        let view_before = self.common.view_number();
        let next = self.dispatch(now, event);
        self.turn(now, next);
        let mut turns = 0;
        loop {
            if !matches!(self.role, Role::Halted(_)) {
                self.common.look_past_doubt(now);
            }
            if matches!(self.role, Role::Secondary(_) | Role::Primary(_)) {
                self.common.remember(now);
            }
            let next = match &mut self.role {
                Role::Starting(starting) => {
                    starting.advance(&mut self.common, now);
                    Next::Stay
                }
                Role::Secondary(secondary) => secondary.advance(&mut self.common, now),
                Role::Takeover(takeover) => takeover.advance(&mut self.common, now),
                Role::Primary(primary) => primary.advance(&mut self.common, now),
                Role::Halted(_) => Next::Stay,
            };
            let next = if matches!(next, Next::Stay) { self.give_up_lost_files() } else { next };
            if matches!(next, Next::Stay) {
                break;
            }
            self.turn(now, next);
            turns += 1;
            assert!(
                turns < TURNS_MAX,
                "replica {} changes its role for ever: {:?}",
                self.common.me,
                self.role
            );
        }
        if !matches!(self.role, Role::Halted(_)) {
            let awaited =
                matches!(&self.role, Role::Primary(primary) if primary.awaits_the_tables(&self.common));
            self.common.apply(now, awaited);
            self.common.repair_store(now);
        }
        self.assert_invariants(view_before);
        self.common.take_effects()
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let of_the_role = match &self.role {
            Role::Starting(starting) => soonest([starting.deadline()], now),
            Role::Secondary(secondary) => soonest(secondary.deadlines(&self.common), now),
            Role::Takeover(takeover) => soonest(takeover.deadlines(), now),
            Role::Primary(primary) => primary.deadlines(&self.common, now),
            Role::Halted(_) => return None,
        };
        soonest([of_the_role, self.common.repair_due(), self.common.apply_due()], now)
    }

    fn dispatch(&mut self, now: Time, event: Event<R>) -> Next<R> {
        match event {
            Event::Tick => Next::Stay,
            Event::RegisterRead { token, outcome } => self.on_register_read(now, token, outcome),
            Event::SwapAnswered { token, outcome } => self.on_swap_answered(now, token, outcome),
            Event::StreamOpened { peer, stream } => {
                self.on_stream_opened(now, peer, stream);
                Next::Stay
            }
            Event::StreamClosed { peer, stream } => {
                if self.common.streams.get(&peer) == Some(&stream) {
                    self.common.streams.remove(&peer);
                    self.on_stream_closed(now, peer, stream);
                }
                Next::Stay
            }
            Event::Received { peer, stream, message } => {
                // The one place that refuses what comes late from an earlier stream.
                if self.common.streams.get(&peer) == Some(&stream) {
                    self.on_message(now, peer, stream, message)
                } else {
                    Next::Stay
                }
            }
            Event::DeathAnswered { token, proven } => {
                if let Role::Takeover(takeover) = &mut self.role {
                    takeover.on_death_answered(token, proven);
                }
                Next::Stay
            }
            Event::LogRead { token, chain, entries } => {
                match &mut self.role {
                    Role::Secondary(secondary) => {
                        secondary.on_log_read(&mut self.common, token, chain, entries);
                    }
                    Role::Primary(primary) => {
                        primary.on_log_read(&mut self.common, now, token, chain, entries);
                    }
                    Role::Starting(_) | Role::Takeover(_) | Role::Halted(_) => {}
                }
                Next::Stay
            }
            Event::ClockCompared { peer, ahead } => {
                if self.common.clocks.compared(peer, ahead) {
                    self.common.note(Note::ClocksApart { peer, ahead });
                }
                Next::Stay
            }
            Event::Impaired { by, better_off } => {
                self.common.impaired = Impaired::new(by, better_off);
                Next::Stay
            }
            Event::RequestsWaiting => {
                match &mut self.role {
                    Role::Primary(primary) => primary.on_requests_waiting(),
                    _ => self.common.emit(Effect::RefuseRequests),
                }
                Next::Stay
            }
            Event::ReadWaiting { read } => {
                match &mut self.role {
                    Role::Primary(primary) => primary.on_read_waiting(&mut self.common, now, read),
                    _ => self.common.emit(Effect::RefuseRead { read }),
                }
                Next::Stay
            }
            store @ (Event::BatchExecuted { .. }
            | Event::Logged { .. }
            | Event::Applied { .. }
            | Event::LogCut { .. }
            | Event::Remembered { .. }
            | Event::StoreFailed { .. }
            | Event::StoreRepaired { .. }
            | Event::SnapshotInstalled { .. }
            | Event::SnapshotFailed { .. }) => self.on_store(now, store),
            Event::FilesLost => {
                self.common.store.lost_files(now);
                self.without_store(now, StepDownReason::FilesLost)
            }
        }
    }

    fn on_register_read(&mut self, now: Time, token: Token, outcome: RegisterRead) -> Next<R> {
        if !matches!(self.role, Role::Halted(_))
            && let Some(reason) = self.common.judge(now, token, &outcome)
        {
            return Next::Halt(reason);
        }
        match &mut self.role {
            Role::Starting(starting) => starting.on_register_read(&mut self.common, now, token, outcome),
            Role::Secondary(secondary) => {
                secondary.on_register_read(&mut self.common, now, token, &outcome);
                Next::Stay
            }
            Role::Takeover(takeover) => takeover.on_register_read(&mut self.common, now, token, &outcome),
            Role::Primary(_) | Role::Halted(_) => Next::Stay,
        }
    }

    fn on_swap_answered(&mut self, now: Time, token: Token, outcome: SwapOutcome) -> Next<R> {
        match &mut self.role {
            Role::Starting(starting) => starting.on_swap_answered(&mut self.common, now, token, outcome),
            Role::Takeover(takeover) => takeover.on_swap_answered(&mut self.common, now, token, outcome),
            Role::Primary(primary) => primary.on_swap_answered(&mut self.common, now, token, outcome),
            Role::Secondary(_) | Role::Halted(_) => Next::Stay,
        }
    }

    fn on_stream_opened(&mut self, now: Time, peer: ReplicaIndex, stream: StreamId) {
        if let Some(earlier) = self.common.streams.insert(peer, stream) {
            self.on_stream_closed(now, peer, earlier);
        }
        let in_sync = self.common.view.as_ref().is_none_or(|view| view.in_sync.contains(peer));
        if self.common.doubt.is_some() && in_sync {
            self.common.send(peer, Message::Probe);
        }
        match &mut self.role {
            Role::Takeover(takeover) => takeover.on_stream_opened(&mut self.common, now, peer),
            Role::Primary(primary) => primary.on_stream_opened(peer),
            Role::Starting(_) | Role::Secondary(_) | Role::Halted(_) => {}
        }
    }

    fn on_stream_closed(&mut self, now: Time, peer: ReplicaIndex, stream: StreamId) {
        match &mut self.role {
            Role::Starting(starting) => starting.on_stream_closed(peer),
            Role::Secondary(secondary) => secondary.on_stream_closed(&mut self.common, now, peer, stream),
            Role::Takeover(takeover) => takeover.on_stream_closed(peer, stream),
            Role::Primary(primary) => primary.on_stream_closed(&mut self.common, now, peer),
            Role::Halted(_) => {}
        }
    }

    fn on_message(
        &mut self,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) -> Next<R> {
        if let (Role::Halted(HaltReason::RegisterOlder), Some(led)) = (&self.role, message.led())
            && led.number < self.common.view_number()
        {
            // A primary that leads by what the register has become receives the view that the register has lost.
            self.common.refuse(peer);
            return Next::Stay;
        }
        if matches!(message, Message::Probe) {
            self.common.answer_probe(peer, now, !matches!(self.role, Role::Halted(_)));
            return Next::Stay;
        }
        if self.common.hears_of_another_register(&message) {
            return Next::Halt(HaltReason::RegisterReplaced);
        }
        if let (Message::Alive { database, position, .. }, Some(doubt)) = (&message, &mut self.common.doubt) {
            doubt.on_shown(peer, *database, *position);
        }
        match &mut self.role {
            Role::Starting(starting) => starting.on_message(&self.common, now, peer, stream, message),
            Role::Secondary(secondary) => {
                secondary.on_message(&mut self.common, now, peer, stream, message);
                Next::Stay
            }
            Role::Takeover(takeover) => takeover.on_message(&mut self.common, now, peer, stream, message),
            Role::Primary(primary) => primary.on_message(&mut self.common, now, peer, stream, message),
            Role::Halted(_) => Next::Stay,
        }
    }

    fn turn(&mut self, now: Time, next: Next<R>) {
        let common = &mut self.common;
        self.role = match next {
            Next::Stay => return,
            Next::Follow(patience) => Role::Secondary(Secondary::new(common, patience, now)),
            Next::FollowThen { patience, peer, stream, message } => {
                let mut secondary = Secondary::new(common, patience, now);
                secondary.on_message(common, now, peer, stream, message);
                Role::Secondary(secondary)
            }
            Next::Run { patience, released } => {
                Role::Takeover(Takeover::start(common, now, patience, released))
            }
            Next::Lead { view, shown } => Role::Primary(Box::new(Primary::start(common, now, view, shown))),
            Next::Halt(reason) | Next::End(reason) => {
                let ends = matches!(next, Next::End(_));
                let why = match reason {
                    HaltReason::DiskLied | HaltReason::FilesLost => StepDownReason::StoreFailed,
                    HaltReason::RegisterLost | HaltReason::RegisterReplaced | HaltReason::RegisterOlder => {
                        StepDownReason::RegisterDoubted
                    }
                };
                match &mut self.role {
                    Role::Primary(primary) => primary.step_down(common, why),
                    _ => common.emit(Effect::StopServing),
                }
                common.emit(if ends { Effect::End { reason } } else { Effect::Halt { reason } });
                Role::Halted(reason)
            }
        };
    }

    fn assert_invariants(&self, view_before: ViewNumber) {
        let common = &self.common;
        assert!(
            common.view_number() >= view_before,
            "invariant 1: replica {} went back from view {view_before} to {}",
            common.me,
            common.view_number()
        );
        assert!(
            common.promised >= common.view_number(),
            "replica {} listens to view {} although it knows {}",
            common.me,
            common.promised,
            common.view_number()
        );
        assert!(
            common.committed().op <= common.logged.op,
            "replica {} knows more to be committed ({}) than it has logged ({})",
            common.me,
            common.committed(),
            common.logged
        );
        assert!(
            common.applied.op <= common.committed().op.max(common.base),
            "replica {} has applied more ({}) than it knows to be committed ({})",
            common.me,
            common.applied,
            common.committed()
        );
        if let Role::Primary(primary) = &self.role {
            primary.assert_invariants(common);
        }
        if let Role::Takeover(takeover) = &self.role {
            assert!(
                takeover.proposed_number() == common.view_number().next(),
                "a candidate proposes the view after the newest it knows: {} after {}",
                takeover.proposed_number(),
                common.view_number()
            );
        }
    }

    /// How far this replica knows its log to be committed: in the log of every replica that is in sync.
    pub const fn committed(&self) -> Position {
        self.common.committed()
    }

    /// How far this replica's tables go, as far as it was told.
    pub const fn applied(&self) -> Position {
        self.common.applied
    }

    /// The view that this replica leads, if it leads one.
    pub fn leads(&self) -> Option<&View> {
        match &self.role {
            Role::Primary(primary) => Some(primary.view()),
            _ => None,
        }
    }
}

fn soonest(deadlines: impl IntoIterator<Item = Option<Time>>, now: Time) -> Option<Time> {
    deadlines.into_iter().flatten().filter(|time| *time > now).min()
}
