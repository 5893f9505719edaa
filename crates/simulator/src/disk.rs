//! What survives a crash: a database with its identity, its log, and the tables behind it.

use crate::fact::{Action, Fact, KEYS, Request, RequestId};
use crate::layers::Layers;
use protocol::{Chain, DatabaseId, Entry, Memory, Op, Position, Remembering, Verdict, WallTime};
use std::time::Duration;

/// A message in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Its place, which orders it.
    pub op: Op,
    /// For which listener.
    pub to: u8,
    /// What it says.
    pub request: RequestId,
}

/// What the log adds up to; kept when the log is pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// What each register holds.
    pub registers: [Option<RequestId>; KEYS],
    /// Every message.
    pub messages: Vec<Message>,
    /// Where each request took effect, by its number. Kept for ever: this is what the run is judged by.
    effects: Vec<Op>,
    /// The dates of the requests that are remembered, by their number: what a database knows of them.
    remembered: Vec<Option<WallTime>>,
    /// Requests dated before this are forgotten.
    pub forgotten: WallTime,
    /// The time of the last entry.
    last_at: WallTime,
    /// How often the page was turned.
    page: u32,
}

/// What a batch is executed by: the primary's clock, and how far it may forget.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// The primary's wall clock.
    pub wall: WallTime,
    /// Requests dated before this may be forgotten.
    pub may_forget: WallTime,
    /// For how long requests are remembered.
    pub rule: Remembering,
}

impl Dates {
    /// No time passes.
    pub const STILL: Self = Self {
        wall: WallTime(0),
        may_forget: WallTime(0),
        rule: Remembering {
            age_max: Duration::from_hours(24),
            agree_for: Duration::from_hours(1),
            tolerance: Duration::from_secs(1),
        },
    };
}

impl State {
    /// Where a request took effect, if it did.
    pub fn effect(&self, request: RequestId) -> Option<Op> {
        self.effects.get(request as usize).copied().filter(|op| *op > Op(0))
    }

    /// What the date of a request says that is not remembered.
    pub fn verdict(&self, request: &Request, dates: &Dates) -> Verdict {
        dates.rule.judge(request.dated, dates.wall, self.forgotten)
    }

    /// Whether a request is known to have taken effect.
    pub fn remembers(&self, request: RequestId) -> bool {
        self.remembered.get(request as usize).is_some_and(Option::is_some)
    }

    /// How far requests can be forgotten at the next entry: never further than what is deleted by it.
    fn forgettable(&self, may_forget: WallTime) -> Option<WallTime> {
        if may_forget <= self.forgotten {
            return None;
        }
        let last = self.remembered.iter().flatten().filter(|dated| **dated < may_forget).max()?;
        Some(WallTime(last.0 + 1))
    }

    fn apply(&mut self, entry: &Entry<Fact>) {
        assert!(
            entry.record.at() >= self.last_at,
            "time runs backwards at op {}: {:?} after {:?}",
            entry.op,
            entry.record.at(),
            self.last_at
        );
        self.last_at = entry.record.at();
        assert_eq!(
            entry.record.page(),
            self.page,
            "op {} was decided on another page than the one on which it stands: its batch did not wait for a barrier",
            entry.op
        );
        self.page = entry.record.next_page();
        if let Some(before) = entry.record.forgotten_before() {
            self.forgotten = self.forgotten.max(before);
            for dated in self.remembered.iter_mut().filter(|dated| dated.is_some_and(|dated| dated < before))
            {
                *dated = None;
            }
        }
        let Some(request) = entry.record.request() else { return };
        assert!(
            self.effect(request.id).is_none(),
            "invariant 5: request {} takes effect at op {:?} and at op {}",
            request.id,
            self.effect(request.id),
            entry.op
        );
        assert!(
            request.dated >= self.forgotten,
            "invariant 5: request {} takes effect at op {}, and is dated before what is forgotten",
            request.id,
            entry.op
        );
        let place = request.id as usize;
        if self.effects.len() <= place {
            self.effects.resize(place + 1, Op(0));
            self.remembered.resize(place + 1, None);
        }
        self.effects[place] = entry.op;
        self.remembered[place] = Some(request.dated);
        match request.action {
            Action::Set { key } => self.registers[usize::from(key)] = Some(request.id),
            Action::Send { to } => self.messages.push(Message { op: entry.op, to, request: request.id }),
            Action::TurnPage => {}
        }
    }
}

/// The tables, at some op.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    /// How far the log is applied to them.
    pub applied: Position,
    /// What they show.
    pub state: State,
}

/// One replica's folder: a log that is durable as far as it was confirmed, and tables behind it that are durable later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Drawn when it was created.
    pub database: DatabaseId,
    /// Where the log begins: entries up to here were pruned.
    pub pruned: Position,
    /// The log after that.
    pub log: Vec<Entry<Fact>>,
    /// How far the log was known to be committed when its last group was written.
    pub committed: Position,
    /// The tables.
    pub rows: Layers<Rows>,
    /// What it remembers of views; not part of the log.
    pub memory: Layers<Option<Memory>>,
    /// Its rows for this register differ from the others': an entry that sets it can't be applied.
    pub differs: Option<u8>,
    /// Written to the log without a sync that succeeded: a process that starts finds it, unless the power has failed.
    pub unseen: Vec<Entry<Fact>>,
}

impl Disk {
    /// A new database with that number for an identity.
    pub fn new(number: u64) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Self::at(DatabaseId(id), Rows { applied: Position::ORIGIN, state: State::default() }, None)
    }

    /// A database whose log is empty, and begins where these tables end.
    pub fn at(database: DatabaseId, rows: Rows, memory: Option<Memory>) -> Self {
        Self {
            database,
            pruned: rows.applied,
            log: Vec::new(),
            committed: rows.applied,
            rows: rows.into(),
            memory: memory.into(),
            differs: None,
            unseen: Vec::new(),
        }
    }

    /// Where the durable log ends.
    pub fn position(&self) -> Position {
        self.log.last().map_or(self.pruned, Entry::position)
    }

    /// How far the tables go.
    pub fn applied(&self) -> Position {
        self.rows.applied
    }

    /// What the tables show.
    pub fn state(&self) -> &State {
        &self.rows.state
    }

    /// What a process that starts knows to be committed.
    pub fn known_committed(&self) -> Position {
        if self.committed.op > self.rows.applied.op { self.committed } else { self.rows.applied }
    }

    /// The chain that the log has at `op`; `None` if it does not hold that op.
    pub fn chain_at(&self, op: Op) -> Option<Chain> {
        if op == self.pruned.op {
            return Some(self.pruned.chain);
        }
        let place = usize::try_from(op.0.checked_sub(self.pruned.op.0 + 1)?).ok()?;
        self.log.get(place).map(|entry| entry.chain)
    }

    /// Entries after `op`, at most `limit`.
    pub fn after(&self, op: Op, limit: usize) -> Vec<Entry<Fact>> {
        let from = usize::try_from(op.0.saturating_sub(self.pruned.op.0)).unwrap_or(usize::MAX);
        self.log.iter().skip(from).take(limit).cloned().collect()
    }

    /// Decides requests on top of the tables and of what was executed and is not applied: a request that is remembered has no
    /// effect again. Which page it is, the tables alone say.
    pub fn execute(
        &self,
        overlay: &[Entry<Fact>],
        requests: impl Iterator<Item = Request>,
        dates: &Dates,
    ) -> Vec<Entry<Fact>> {
        let last = overlay.last();
        let mut end = last.map_or(self.applied(), Entry::position);
        let at = last.map_or(self.state().last_at, |entry| entry.record.at()).max(dates.wall);
        let mut page = self.state().page;
        let mut entries: Vec<Entry<Fact>> = Vec::new();
        for request in requests {
            let taken =
                |entry: &Entry<Fact>| entry.record.request().is_some_and(|other| other.id == request.id);
            let known = self.state().remembers(request.id) || overlay.iter().chain(&entries).any(taken);
            if !known {
                let entry = end.follow(Fact::of(request, at, page));
                end = entry.position();
                page = entry.record.next_page();
                entries.push(entry);
            }
        }
        if let Some(before) = self.state().forgettable(dates.may_forget) {
            entries.push(end.follow(Fact::forgotten(before, at, page)));
        }
        entries
    }

    /// Makes entries durable.
    pub fn append(&mut self, entries: Vec<Entry<Fact>>) {
        assert!(
            self.position().extend(&entries).is_some(),
            "an append that does not follow {} reaches the disk",
            self.position()
        );
        for entry in entries {
            if let Some(request) = entry.record.request() {
                let lacking = self.log.iter().rev().take_while(|logged| logged.op > self.rows.applied.op);
                let mut requests = lacking.filter_map(|logged| logged.record.request());
                assert!(
                    self.state().effect(request.id).is_none()
                        && !requests.any(|logged| logged.id == request.id),
                    "invariant 5: request {} is logged twice, the second time at op {}",
                    request.id,
                    entry.op
                );
            }
            self.log.push(entry);
        }
    }

    /// Applies the log up to this op. False if rows that differ keep an entry from being applied, and then nothing is.
    pub fn apply(&mut self, up_to: Op) -> bool {
        let entries: Vec<_> = self
            .log
            .iter()
            .filter(|entry| entry.op > self.rows.applied.op && entry.op <= up_to)
            .cloned()
            .collect();
        if self.refuses(&entries) {
            return false;
        }
        self.rows.stop_syncing();
        for entry in &entries {
            assert_eq!(entry.op, self.rows.applied.op.next(), "the log lacks what the tables lack");
            self.rows.state.apply(entry);
            self.rows.applied = entry.position();
        }
        true
    }

    fn refuses(&self, entries: &[Entry<Fact>]) -> bool {
        entries.iter().any(|entry| match entry.record.request().map(|request| request.action) {
            Some(Action::Set { key }) => self.differs == Some(key),
            Some(Action::Send { .. } | Action::TurnPage) | None => false,
        })
    }

    /// A process starts: what was written to the log is read, and written anew, so that it is durable. So is what the database
    /// remembers, but not the tables: the log has what a power failure may take from them.
    pub fn read_back(&mut self) {
        let entries = std::mem::take(&mut self.unseen);
        if self.position().extend(&entries).is_some() {
            self.append(entries);
        }
        self.memory.rewrite();
    }

    /// The log is repaired: what was written after the last sync that succeeded is no part of it.
    pub fn repair(&mut self) {
        self.unseen.clear();
        self.rows.rewrite();
        self.memory.rewrite();
    }

    /// Cuts the log back to this place.
    pub fn cut(&mut self, to: Position) {
        assert!(self.rows.applied.op <= to.op, "the log is cut to {to}, below what the tables show");
        assert_eq!(self.chain_at(to.op), Some(to.chain), "the log is cut to a place that it does not have");
        self.log.retain(|entry| entry.op <= to.op);
        self.unseen.clear();
    }

    /// The power fails. What was written to the log without a sync may be there or not; the tables show some op from the last
    /// that is durable on, `more` above it at most.
    pub fn lose_power(&mut self, keeps_unseen: bool, more: usize) {
        if !keeps_unseen {
            self.unseen.clear();
        }
        self.memory.lose_power();
        let written = self.rows.applied.op;
        self.rows.lose_power();
        let up_to = Op((self.rows.applied.op.0 + more as u64).min(written.0));
        let differs = self.differs.take();
        self.apply(up_to);
        self.rows.rewrite();
        self.differs = differs;
    }

    /// Loses its newest entries: a disk that lied gives back an older state than it had confirmed.
    pub fn lose(&mut self, entries: usize) {
        assert_eq!(self.pruned, Position::ORIGIN, "the state is made anew from the whole log");
        let kept = self.log.len().saturating_sub(entries);
        self.log.truncate(kept);
        self.unseen.clear();
        if self.committed.op > self.position().op {
            self.committed = self.position();
        }
        let applied = self.rows.applied.op.min(self.position().op);
        self.rows = Rows { applied: Position::ORIGIN, state: State::default() }.into();
        let differs = self.differs.take();
        self.apply(applied);
        self.rows.rewrite();
        self.differs = differs;
    }

    /// Becomes another history: in the place of its newest entries stand others, as far as it knows they are committed, and its
    /// tables show them.
    pub fn fork(&mut self, entries: usize) {
        let before = self.position().op;
        self.lose(entries);
        let at = self.log.last().map_or(self.state().last_at, |entry| entry.record.at());
        let page = self.log.last().map_or(self.state().page, |entry| entry.record.next_page());
        while self.position().op < before {
            let entry = self.position().follow(Fact::forgotten(WallTime(0), at, page));
            self.append(vec![entry]);
        }
        self.committed = self.position();
        let differs = self.differs.take();
        self.apply(before);
        self.rows.rewrite();
        self.differs = differs;
    }

    /// Forgets all entries but the newest `keep`, and none that the tables may still need: `checkpointed` are durable in them.
    pub fn prune(&mut self, keep: usize, checkpointed: Op) {
        let drop = self.log.len().saturating_sub(keep);
        let needed = self.log.iter().position(|entry| entry.op > checkpointed).unwrap_or(self.log.len());
        if let Some(last) = self.log.drain(..drop.min(needed)).next_back() {
            self.pruned = last.position();
        }
    }
}
