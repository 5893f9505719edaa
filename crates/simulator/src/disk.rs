//! What survives a crash: a database with its identity, its log and its state, and nothing of an open transaction.

use crate::fact::{Action, Fact, KEYS, Request, RequestId};
use protocol::{Chain, DatabaseId, Entry, Memory, Op, Position};

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
    /// Where each request took effect, by its number.
    effects: Vec<Op>,
}

impl State {
    /// Where a request took effect, if it did.
    pub fn effect(&self, request: RequestId) -> Option<Op> {
        self.effects.get(request as usize).copied().filter(|op| *op > Op(0))
    }

    fn apply(&mut self, entry: &Entry<Fact>) {
        let request = entry.fact.request();
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
        }
        self.effects[place] = entry.op;
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
    /// Written without a sync that succeeded: nobody sees it before the database is opened again.
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

    /// Entries after `op`, at most so many.
    pub fn after(&self, op: Op, limit: usize) -> Vec<Entry<Fact>> {
        let from = usize::try_from(op.0.saturating_sub(self.pruned.op.0)).unwrap_or(usize::MAX);
        self.log.iter().skip(from).take(limit).cloned().collect()
    }

    /// Carries out requests in a transaction that stays open: a known request has no effect again.
    pub fn execute(&mut self, requests: impl Iterator<Item = Request>) -> Vec<Entry<Fact>> {
        assert!(self.open.is_none(), "a transaction is open while another begins");
        let mut end = self.position();
        let mut entries: Vec<Entry<Fact>> = Vec::new();
        for request in requests {
            let known = self.state.effect(request.id).is_some()
                || entries.iter().any(|entry| entry.fact.request().id == request.id);
            if !known {
                let entry = end.follow(Fact::of(request));
                end = entry.position();
                entries.push(entry);
            }
        }
        self.open = Some(entries.clone());
        entries
    }

    /// Whether rows that differ keep one of these entries from being applied.
    pub fn refuses(&self, entries: &[Entry<Fact>]) -> bool {
        entries.iter().any(|entry| match entry.fact.request().action {
            Action::Set { key } => self.differs == Some(key),
            Action::Send { .. } => false,
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

    /// Forgets the oldest entries but so many.
    pub fn prune(&mut self, keep: usize) {
        let drop = self.log.len().saturating_sub(keep);
        if let Some(last) = self.log.drain(..drop).next_back() {
            self.pruned = last.position();
        }
    }
}
