//! What survives a crash: a database with its identity, its log and its state, and nothing of an open transaction.

use crate::fact::{Action, Fact, KEYS, Request, RequestId};
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

    /// The time of an entry that is written now; time in entries never runs backwards.
    fn next_at(&self, dates: &Dates) -> WallTime {
        dates.wall.max(self.last_at)
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
        }
    }
}

/// One replica's database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Drawn when it was created.
    pub database: DatabaseId,
    /// Where the log begins: entries up to here were pruned.
    pub pruned: Position,
    /// The log after that.
    pub log: Vec<Entry<Fact>>,
    /// What the whole log adds up to.
    pub state: State,
    /// What it remembers of views; not part of the log.
    pub memory: Option<Memory>,
    /// Its rows for this register differ from the others': an entry that sets it can't be applied.
    pub differs: Option<u8>,
    /// Written without a sync that succeeded: no program sees it before the database is opened again.
    pub unseen: Option<Vec<Entry<Fact>>>,
    /// Executed and neither committed nor rolled back; gone with a crash.
    pub open: Option<Vec<Entry<Fact>>>,
}

impl Disk {
    /// A new database with that number for an identity.
    pub fn new(number: u64) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Self {
            database: DatabaseId(id),
            pruned: Position::ORIGIN,
            log: Vec::new(),
            state: State::default(),
            memory: None,
            differs: None,
            unseen: None,
            open: None,
        }
    }

    /// Where the durable log ends.
    pub fn position(&self) -> Position {
        self.log.last().map_or(self.pruned, Entry::position)
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

    /// Carries out requests in a transaction that stays open: a request that is remembered has no effect again.
    pub fn execute(&mut self, requests: impl Iterator<Item = Request>, dates: &Dates) -> Vec<Entry<Fact>> {
        assert!(self.open.is_none(), "a transaction is open while another begins");
        let at = self.state.next_at(dates);
        let mut end = self.position();
        let mut entries: Vec<Entry<Fact>> = Vec::new();
        for request in requests {
            let taken =
                |entry: &Entry<Fact>| entry.record.request().is_some_and(|other| other.id == request.id);
            let known = self.state.remembers(request.id) || entries.iter().any(taken);
            if !known {
                let entry = end.follow(Fact::of(request, at));
                end = entry.position();
                entries.push(entry);
            }
        }
        if let Some(before) = self.state.forgettable(dates.may_forget) {
            entries.push(end.follow(Fact::forgotten(before, at)));
        }
        self.open = Some(entries.clone());
        entries
    }

    /// Whether rows that differ keep one of these entries from being applied.
    pub fn refuses(&self, entries: &[Entry<Fact>]) -> bool {
        entries.iter().any(|entry| match entry.record.request().map(|request| request.action) {
            Some(Action::Set { key }) => self.differs == Some(key),
            Some(Action::Send { .. }) | None => false,
        })
    }

    /// The database is opened again: what was written is there.
    pub fn read_back(&mut self) {
        if let Some(entries) = self.unseen.take() {
            self.append(entries);
        }
    }

    /// Makes entries durable, with their effects.
    pub fn append(&mut self, entries: Vec<Entry<Fact>>) {
        assert!(
            self.position().extend(&entries).is_some(),
            "an append that does not follow {} reaches the disk",
            self.position()
        );
        for entry in &entries {
            self.state.apply(entry);
        }
        self.log.extend(entries);
    }

    /// Remembers something new, if there is something.
    pub fn remember(&mut self, memory: Option<Memory>) {
        if memory.is_some() {
            self.memory = memory;
        }
    }

    /// Loses its newest entries: a disk that lied gives back an older state than it had confirmed.
    pub fn lose(&mut self, entries: usize) {
        assert_eq!(self.pruned, Position::ORIGIN, "the state is made anew from the whole log");
        let kept = self.log.len().saturating_sub(entries);
        let log = std::mem::take(&mut self.log);
        self.state = State::default();
        self.append(log.into_iter().take(kept).collect());
    }

    /// Forgets all entries but the newest `keep`.
    pub fn prune(&mut self, keep: usize) {
        let drop = self.log.len().saturating_sub(keep);
        if let Some(last) = self.log.drain(..drop).next_back() {
            self.pruned = last.position();
        }
    }
}
