//! What every role shares: who this replica is, where its log ends, which view it knows, which streams live.

use crate::clocks::Clocks;
use crate::doubt::Doubt;
use crate::event::{Effect, Message};
use crate::identity::{
    DatabaseId, Incarnation, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber,
};
use crate::impairment::Impaired;
use crate::lease::Timing;
use crate::log::{Entry, Position, Record};
use crate::memory::Memory;
use crate::note::Note;
use crate::probation::Probation;
use crate::store_health::StoreHealth;
use crate::time::Time;
use crate::view::{Proposer, View};
use crate::writer::Writer;
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
    /// Where that database's log ends.
    pub position: Position,
    /// Whether the power has failed (the machine was started again) since that database was last known to be whole, without
    /// a clean end of its process before that.
    pub after_power_failure: bool,
    /// What that database remembers; nothing if it is new, or was made by a version that remembered nothing.
    pub remembered: Option<Memory>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common<R> {
    pub(crate) me: ReplicaIndex,
    /// Every configured replica, this one included.
    pub(crate) all: ReplicaSet,
    /// This run of its process.
    pub(crate) incarnation: Incarnation,
    pub(crate) timing: Timing,
    /// Another one after a snapshot was installed.
    pub(crate) database: DatabaseId,
    /// Where the durable log ends. Neither an open transaction counts, nor what a failed store effect may have left.
    pub(crate) position: Position,
    /// The newest view that this replica knows of, whether or not it has a part in it.
    pub(crate) view: Option<View>,
    /// The lowest view number that this replica still listens to: never below `view`, above it after a `Call`.
    pub(crate) promised: ViewNumber,
    /// What the database remembers durably.
    pub(crate) memory: Option<Memory>,
    /// What the store is to remember with the effect that it carries out now.
    pub(crate) remembering: Option<Memory>,
    /// The identity of the register: remembered, or learned from it; not known before either.
    pub(crate) register: Option<RegisterId>,
    /// The newest question to the register, and the newest view that was known when it was asked.
    pub(crate) register_asked: Option<(Token, ViewNumber)>,
    /// The open stream to each peer that is connected.
    pub(crate) streams: BTreeMap<ReplicaIndex, StreamId>,
    /// The one store effect that is being carried out.
    pub(crate) writer: Writer,
    /// Who was removed lately, and must wait before it is admitted again.
    pub(crate) probation: Probation,
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
    pub(crate) fn new(identity: Identity, timing: Timing) -> Self {
        Self {
            me: identity.index,
            all: identity.all,
            incarnation: identity.incarnation,
            timing,
            database: identity.database,
            position: identity.position,
            register: identity.remembered.as_ref().map(|memory| memory.register),
            memory: identity.remembered,
            remembering: None,
            register_asked: None,
            view: None,
            promised: ViewNumber(0),
            streams: BTreeMap::new(),
            writer: Writer::Idle,
            probation: Probation::default(),
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
        self.view.as_ref().is_some_and(|view| view.holds(self.me, self.database, self.position))
    }

    /// Whether this replica may lead: its store can be trusted, and its clock, and no other is better off.
    pub(crate) fn healthy(&self, now: Time) -> bool {
        self.store.is_fit(now)
            && self.writer.busy_for(now) < self.timing.store_limit
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
            position: self.position,
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

    pub(crate) fn persist(&mut self, entries: Vec<Entry<R>>, end: Position, now: Time) {
        assert!(self.writer.is_idle(), "entries to persist while the store is busy: {:?}", self.writer);
        let token = self.token();
        self.writer = Writer::Persisting { token, since: now, end };
        self.emit(Effect::Persist { token, entries });
    }

    pub(crate) fn read_log(&mut self, after: crate::log::Op) -> Token {
        let token = self.token();
        self.emit(Effect::ReadLog { token, after });
        token
    }

    pub(crate) fn roll_back(&mut self, token: Token, now: Time) {
        self.writer = Writer::RollingBack { token, since: now };
        self.emit(Effect::RollBack { token });
    }

    /// Leaves the batch of a primacy that is over. One that is being executed is rolled back once it is there; one that is
    /// being committed was persisted by all and may well commit.
    pub(crate) fn abandon_batch(&mut self, now: Time) {
        if let Writer::Open { token, .. } = self.writer {
            self.roll_back(token, now);
        }
    }

    /// When the store is to be repaired, if it must be and is not at work.
    pub(crate) fn repair_due(&self) -> Option<Time> {
        self.store.repair_at().filter(|_| self.writer.is_idle())
    }

    /// Repairs the store where that is due.
    pub(crate) fn repair_store(&mut self, now: Time) {
        if self.repair_due().is_some_and(|due| now >= due) {
            let token = self.token();
            self.writer = Writer::Repairing { token };
            self.emit(Effect::RepairStore { token });
        }
    }
}
