//! Databases that are filled without a service, as fast as the disk takes it: for measurements and tests of what cost grows with.

use crate::error::StoreError;
use crate::retention::LogRetention;
use crate::storage::Storage;
use chat::{
    AccountId, Answer, ConversationId, Fact, MessageId, Millis, PasswordHash, Record, RequestId, RequestMark,
    TokenHash,
};
use protocol::{Entry, Position};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Entries of a batch.
const BATCH: usize = 4096;
/// How long the sessions last that are opened: longer than any measurement.
const SESSION: Duration = Duration::from_hours(24);

/// What is added: the same to each replica to which the same is added.
#[derive(Clone, Debug)]
pub struct Filling {
    /// When all of it happens.
    pub now: Millis,
    /// How many accounts are made. They are called `filled-0` and so on, and no password fits theirs.
    pub accounts: u64,
    /// Sessions of the first of these accounts, one each, with these tokens.
    pub sessions: Vec<TokenHash>,
    /// How many messages of 100 bytes go from one of these accounts to another.
    pub messages: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// Where the log ends.
    pub end: Position,
    /// How many entries were added.
    pub entries: u64,
    /// How long the log took to take them, in groups of 4,096 with one sync each.
    pub logged_in: Duration,
    /// How long the tables took to take them, in transactions of 4,096.
    pub applied_in: Duration,
}

/// Adds accounts, sessions and messages to the log and the tables of a replica that has ended.
pub fn fill(storage: Storage, retention: LogRetention, filling: Filling) -> Result<Filled, StoreError> {
    let mut filler = Filler::begin(storage, retention, filling)?;
    while filler.step()? {}
    filler.end()
}

/// Fills a replica that has ended, a step at a time.
pub struct Filler {
    storage: Storage,
    retention: LogRetention,
    now: Millis,
    facts: Box<dyn Iterator<Item = Fact> + Send>,
    filled: Filled,
}

impl Filler {
    /// Begins behind all that the log has.
    ///
    /// # Panics
    /// If there are messages and no accounts, or more sessions than accounts.
    pub fn begin(
        mut storage: Storage,
        retention: LogRetention,
        filling: Filling,
    ) -> Result<Self, StoreError> {
        assert!(filling.accounts > 0 || filling.messages == 0, "a message is from an account");
        assert!(filling.sessions.len() as u64 <= filling.accounts, "a session is of an account");
        let end = storage.apply_all()?;
        let filled = Filled { end, entries: 0, logged_in: Duration::ZERO, applied_in: Duration::ZERO };
        let now = filling.now;
        Ok(Self { storage, retention, now, facts: Box::new(filling.facts(end.op.0 + 1)), filled })
    }

    /// Adds some thousand entries; false if there are no more.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        let Self { storage, retention, now, facts, filled } = self;
        let batch: Vec<Entry<Record>> =
            facts.take(BATCH).map(|fact| next(&mut filled.end, *now, fact)).collect();
        let began = Instant::now();
        storage.log.append(&batch, filled.end)?;
        let logged = Instant::now();
        storage.writer.apply(&batch)?;
        filled.logged_in += logged - began;
        filled.applied_in += logged.elapsed();
        filled.entries += batch.len() as u64;
        storage.log.recycle(retention.recyclable(filled.end.op, storage.writer.checkpointed()));
        Ok(batch.len() == BATCH)
    }

    /// Works all of it into the database.
    pub fn end(mut self) -> Result<Filled, StoreError> {
        self.storage.writer.truncate_wal()?;
        Ok(self.filled)
    }
}

impl Filling {
    fn facts(self, first: u64) -> impl Iterator<Item = Fact> + Send {
        let Self { now, accounts, sessions, messages } = self;
        let id = move |number: u64| AccountId(first + number);
        let expires_at = now.plus(SESSION);
        let sessions = (0..).zip(sessions).map(move |(number, token)| Fact::SessionOpened {
            account: id(number),
            token,
            expires_at,
            closes: Vec::new(),
        });
        let messages = (0..messages).map(move |number| message(number, accounts, id));
        (0..accounts).map(account).chain(sessions).chain(messages)
    }
}

fn account(number: u64) -> Fact {
    let name = name_of(number);
    Fact::AccountCreated { key: name.clone(), name, password: PasswordHash("none".into()) }
}

fn message(number: u64, accounts: u64, id: impl Fn(u64) -> AccountId) -> Fact {
    // Numbers that look drawn, the same on every replica.
    let drawn = (number + 1).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let (from, to) = ((drawn >> 33) % accounts, (drawn >> 13) % accounts);
    Fact::MessageSent {
        conversation: ConversationId::direct(id(from), id(to)),
        from: id(from),
        from_name: name_of(from),
        to_name: name_of(to),
        text: text_of(number),
    }
}

/// The name of an account that was made here.
pub fn name_of(number: u64) -> String {
    format!("filled-{number}")
}

/// What the message of this number says: 100 bytes.
pub fn text_of(number: u64) -> String {
    format!("{number:0>100}")
}

fn next(end: &mut Position, now: Millis, fact: Fact) -> Entry<Record> {
    let op = end.op.next();
    let id = MessageId(op.0);
    let mark = matches!(fact, Fact::MessageSent { .. }).then(|| RequestMark {
        id: RequestId(request_id(now, op.0)),
        digest: [7; 16],
        answer: Answer::MessageSent { id, sent_at: now },
        session: None,
        passwords: Vec::new(),
    });
    let entry = end.follow(Record::new(now, mark, fact));
    *end = entry.position();
    entry
}

/// An id of that time, the same on every replica.
fn request_id(now: Millis, op: u64) -> Uuid {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&op.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(now.0, &bytes).into_uuid()
}
