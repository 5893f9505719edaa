//! What every role shares: who this replica is, where its log ends, which view it knows, which streams live.

use crate::bounds::Bounds;
use crate::clocks::Clocks;
use crate::commit_point::CommitPoint;
use crate::doubt::Doubt;
use crate::event::{Effect, Message};
use crate::identity::{
    DatabaseId, Incarnation, ReadId, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber,
};
use crate::impairment::Impaired;
use crate::lease::Timing;
use crate::log::{Entry, Op, Position, Record};
use crate::memory::Memory;
use crate::note::Note;
use crate::probation::Probation;
use crate::store_health::StoreHealth;
use crate::store_work::StoreWork;
use crate::time::Time;
use crate::view::{Proposer, View};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Who a replica is when its process starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its place in the configuration.
    pub index: ReplicaIndex,
    /// Every configured replica, this one included.
    pub all: ReplicaSet,
    /// This run of its process.
    pub incarnation: Incarnation,
    /// Its database.
    pub database: DatabaseId,
    /// Where its durable log ends.
    pub logged: Position,
    /// How much of it is known to be committed: by the tables, or by what the log's last entries carried.
    pub committed: Position,
    /// How far its tables go: `applied.op <= committed.op`, unless they are the base of an empty log, of which it is not known.
    pub applied: Position,
    /// Whether the power has failed (the machine was started again) since that database was last known to be whole, without
    /// a clean end of its process before that.
    pub after_power_failure: bool,
    /// What that database remembers; nothing if it is new, or was made by a version that remembered nothing.
    pub remembered: Option<Memory>,
}

/// As many committed entries are applied at once, though more may come.
const APPLY_AT_ONCE: u64 = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common<R> {
    pub(crate) me: ReplicaIndex,
    /// Every configured replica, this one included.
    pub(crate) all: ReplicaSet,
    /// This run of its process.
    pub(crate) incarnation: Incarnation,
    pub(crate) timing: Timing,
    pub(crate) bounds: Bounds,
    /// Another one after a snapshot was installed.
    pub(crate) database: DatabaseId,
    /// Where the durable log ends. What a failed store effect may have left does not count.
    pub(crate) logged: Position,
    /// How much of it is known to be committed: `commit_point.position().op <= logged.op`.
    pub(crate) commit_point: CommitPoint,
    /// How far the tables go: `applied.op <= commit_point.position().op`, or it is where the log begins.
    pub(crate) applied: Position,
    /// Something waits until the tables show this.
    pub(crate) apply_awaited: Op,
    /// Unless something waits, nothing is applied before that.
    apply_at: Time,
    /// How far the tables went when this process started, or a snapshot was installed: it may not be known that all of that is
    /// committed.
    pub(crate) base: Op,
    /// The newest view that this replica knows of, whether or not it has a part in it.
    pub(crate) view: Option<View>,
    /// The lowest view number that this replica still listens to: never below `view`, above it after a `Call`.
    pub(crate) promised: ViewNumber,
    /// What the database remembers durably.
    pub(crate) memory: Option<Memory>,
    /// What the store is remembering now.
    pub(crate) remembering: Option<Memory>,
    /// The identity of the register: remembered, or learned from it; not known before either.
    pub(crate) register: Option<RegisterId>,
    /// The newest question to the register, and the newest view that was known when it was asked.
    pub(crate) register_asked: Option<(Token, ViewNumber)>,
    /// The open stream to each peer that is connected.
    pub(crate) streams: BTreeMap<ReplicaIndex, StreamId>,
    /// The store effects that are not answered yet.
    pub(crate) work: StoreWork,
    /// Who was removed lately, and must wait before it is admitted again.
    pub(crate) probation: Probation,
    /// Where a cut that failed may have left the end of the log.
    pub(crate) perhaps_cut: Option<Position>,
    /// Whether what is on the disk is certain.
    pub(crate) store: StoreHealth,
    /// Why this replica must not lead yet, before all have shown what they have.
    pub(crate) doubt: Option<Doubt>,
    /// How far the wall clocks of the others are from this replica's.
    pub(crate) clocks: Clocks,
    /// What impairs this replica, and who is better off.
    pub(crate) impaired: Impaired,
    /// What the event that is being handled has led to so far.
    effects: Vec<Effect<R>>,
    /// How many tokens were drawn: each is used once.
    tokens: u64,
    /// How many views this process has proposed: with its incarnation they name a proposal.
    proposals: u64,
}

impl<R: Record> Common<R> {
    pub(crate) fn new(identity: Identity, timing: Timing, bounds: Bounds) -> Self {
        Self {
            me: identity.index,
            all: identity.all,
            incarnation: identity.incarnation,
            timing,
            bounds,
            database: identity.database,
            logged: identity.logged,
            commit_point: CommitPoint::known(identity.committed),
            applied: identity.applied,
            apply_awaited: Op(0),
            apply_at: Time::from_micros(0),
            base: identity.applied.op,
            register: identity.remembered.as_ref().map(|memory| memory.register),
            memory: identity.remembered,
            remembering: None,
            register_asked: None,
            view: None,
            promised: ViewNumber(0),
            streams: BTreeMap::new(),
            work: StoreWork::default(),
            probation: Probation::default(),
            perhaps_cut: None,
            store: StoreHealth::SOUND,
            doubt: None,
            clocks: Clocks::default(),
            impaired: Impaired::NO,
            effects: Vec::new(),
            tokens: 0,
            proposals: 0,
        }
    }

    pub(crate) fn emit(&mut self, effect: Effect<R>) {
        self.effects.push(effect);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect<R>> {
        core::mem::take(&mut self.effects)
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    pub(crate) fn proposer(&mut self) -> Proposer {
        self.proposals += 1;
        Proposer { index: self.me, incarnation: self.incarnation, attempt: self.proposals }
    }

    /// Sends to a peer by its current stream; without one it is lost.
    pub(crate) fn send(&mut self, peer: ReplicaIndex, message: Message<R>) {
        if let Some(stream) = self.streams.get(&peer).copied() {
            self.emit(Effect::Send { peer, stream, message });
        }
    }

    /// Closes a peer's current stream: the only way to forget what was said on it.
    pub(crate) fn disconnect(&mut self, peer: ReplicaIndex) {
        if let Some(stream) = self.streams.remove(&peer) {
            self.emit(Effect::Disconnect { peer, stream });
        }
    }

    pub(crate) fn connected(&self) -> ReplicaSet {
        self.streams.keys().copied().collect()
    }

    pub(crate) fn view_number(&self) -> ViewNumber {
        self.view.as_ref().map_or(ViewNumber(0), |view| view.number)
    }

    /// Whether this replica holds every acknowledged entry, as far as it knows.
    pub(crate) fn in_sync(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.holds(self.me, self.database, self.logged))
    }

    /// Whether this replica may lead: its store can be trusted, and its clock, and no other is better off.
    pub(crate) fn healthy(&self, now: Time) -> bool {
        self.store.is_fit(now)
            && self.work.busy_for(now) < self.timing.store_limit
            && !self.clock_wrong()
            && self.impairment().is_none()
    }

    /// Whether this replica's wall clock is wrong by the word of others that are in sync and connected.
    pub(crate) fn clock_wrong(&self) -> bool {
        let Some(view) = &self.view else { return false };
        let witnesses = view.in_sync.without(self.me).intersection(self.connected());
        self.clocks.wrong_by(witnesses, Some(view.primary()).filter(|primary| *primary != self.me))
    }

    /// Takes note of a newer view. Returns whether it was newer.
    pub(crate) fn adopt(&mut self, view: &View) -> bool {
        if view.number <= self.view_number() {
            return false;
        }
        self.promised = self.promised.max(view.number);
        self.view = Some(view.clone());
        self.note(Note::ViewAdopted(view.clone()));
        true
    }

    /// The answer to a `Probe`, the same in every role.
    pub(crate) fn answer_probe(&mut self, peer: ReplicaIndex, now: Time, able: bool) {
        let able = able && self.in_sync() && self.healthy(now) && self.doubt.is_none();
        let message = Message::Alive {
            database: self.database,
            position: self.logged,
            view: self.view.as_ref().or(self.memory.as_ref().map(|memory| &memory.view)).cloned(),
            register: self.register,
            able,
        };
        self.send(peer, message);
    }

    /// The answer to whatever comes from an older view.
    pub(crate) fn refuse(&mut self, peer: ReplicaIndex) {
        let message = Message::Refused { known: self.view.clone(), promised: self.promised };
        self.send(peer, message);
    }

    /// How far this replica knows its log to be committed.
    pub(crate) const fn committed(&self) -> Position {
        self.commit_point.position()
    }

    /// Where the log ends once everything that was given to it is durable.
    pub(crate) fn log_end(&self) -> Position {
        self.work.log_end().unwrap_or(self.logged)
    }

    /// Whether nothing more will be found in the log than is known now, so that its end may be shown.
    pub(crate) fn log_is_certain(&self) -> bool {
        self.work.log_at_rest() && self.store.is_sound()
    }

    /// A primary says that this is committed. It counts once its view is remembered: a register that loses that view must find
    /// nothing here that is committed by it.
    pub(crate) fn hears_of_commits(&mut self, committed: Position) {
        if self.remembers() {
            self.commit_point.hears(committed, self.logged);
        }
    }

    /// Gives entries to the log; `end` is where it ends with them.
    pub(crate) fn log(&mut self, entries: Vec<Entry<R>>, end: Position, now: Time) {
        assert!(self.store.is_sound(), "entries are given to a log that is not certain");
        let token = self.token();
        self.work.log(token, now, end);
        self.emit(Effect::Log { token, entries, committed: self.committed() });
    }

    /// Where the log is cut: what is committed stays, and so does what the tables show.
    pub(crate) fn cut_to(&self) -> Position {
        if self.applied.op > self.committed().op { self.applied } else { self.committed() }
    }

    /// Has the log cut back to what is known to be committed.
    pub(crate) fn cut(&mut self, now: Time) {
        let (token, to) = (self.token(), self.cut_to());
        self.work.cut(token, now, to);
        self.emit(Effect::Cut { token, to });
    }

    pub(crate) fn read_log(&mut self, after: Op) -> Token {
        let token = self.token();
        self.emit(Effect::ReadLog { token, after });
        token
    }

    /// A read sees what is committed now, once the tables show it.
    pub(crate) fn answer_read(&mut self, read: ReadId) {
        self.apply_awaited = self.committed().op;
        self.emit(Effect::AnswerRead { read, at_least: self.apply_awaited });
    }

    /// When the tables are to be brought to what is committed; `None` if they show it, or are not free for it.
    pub(crate) fn apply_due(&self) -> Option<Time> {
        let lacks = self.apply_lag() > 0 && self.store.is_sound() && self.work.may_apply();
        lacks.then_some(self.apply_at)
    }

    /// Brings the tables to what is committed, once that is due; at once if something waits for it, or if it is much.
    pub(crate) fn apply(&mut self, now: Time, awaited: bool) {
        let at_once = awaited || self.applied.op < self.apply_awaited || self.apply_lag() >= APPLY_AT_ONCE;
        if self.apply_due().is_some_and(|due| at_once || now >= due) {
            let (token, up_to) = (self.token(), self.committed());
            self.work.apply(token, now, up_to);
            self.emit(Effect::Apply { token, up_to });
            if !self.bounds.apply_within.is_zero() {
                self.apply_at = now + self.bounds.apply_within;
            }
        }
    }

    /// How many committed entries the tables lack.
    pub(crate) fn apply_lag(&self) -> u64 {
        self.committed().op.0.saturating_sub(self.applied.op.0)
    }

    /// When the store is to be repaired, if it must be and is not at work.
    pub(crate) fn repair_due(&self) -> Option<Time> {
        self.store.repair_at().filter(|_| self.work.is_idle())
    }

    /// Repairs the store where that is due.
    pub(crate) fn repair_store(&mut self, now: Time) {
        if self.repair_due().is_some_and(|due| now >= due) {
            let token = self.token();
            self.work.repair(token);
            self.emit(Effect::RepairStore { token });
        }
    }
}
