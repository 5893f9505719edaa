//! Databases that are filled without a service, as fast as the disk takes it: what cost grows with.

use chat::{
    AccountId, Answer, ConversationId, Fact, MessageId, Millis, PasswordHash, Record, RequestId, RequestMark,
};
use protocol::{Entry, Position};
use std::path::Path;
use store::{Check, LogRetention, Storage};
use uuid::Uuid;

/// Entries of a batch.
const BATCH: usize = 4096;
/// As many as a replica keeps by default.
const LOG_ENTRIES: u64 = 100_000;

/// Adds accounts, and messages from one of them to another, to the log and the tables of a replica that has ended; the same to each
/// of them that is given the same time. The accounts are called `filled-0` and so on, and no password fits theirs. Returns where
/// the log ends.
pub fn fill(database: &Path, now: Millis, accounts: u64, messages: u64) -> Position {
    let retention = LogRetention::keep(LOG_ENTRIES);
    let limits = Storage::limits(LOG_ENTRIES, u64::MAX);
    let mut storage = Storage::open(database, retention.clone(), limits, Check::Whole).unwrap();
    let mut end = storage.apply_all().unwrap();
    let first = end.op.0 + 1;
    let messages = (0..messages).map(|number| message(number, first, accounts));
    let mut facts = (0..accounts).map(account).chain(messages);
    loop {
        let batch: Vec<Entry<Record>> =
            facts.by_ref().take(BATCH).map(|fact| next(&mut end, now, fact)).collect();
        if batch.is_empty() {
            break;
        }
        storage.log.append(&batch, end).unwrap();
        storage.writer.apply(&batch).unwrap();
        storage.log.recycle(retention.recyclable(end.op, storage.writer.checkpointed()));
    }
    storage.writer.truncate_wal().unwrap();
    end
}

fn account(number: u64) -> Fact {
    let name = format!("filled-{number}");
    Fact::AccountCreated { key: name.clone(), name, password: PasswordHash("none".into()) }
}

fn message(number: u64, first_account: u64, accounts: u64) -> Fact {
    // Numbers that look drawn, the same on every replica.
    let drawn = (number + 1).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let (from, to) = ((drawn >> 33) % accounts, (drawn >> 13) % accounts);
    let id = |number: u64| AccountId(first_account + number);
    Fact::MessageSent {
        conversation: ConversationId::direct(id(from), id(to)),
        from: id(from),
        from_name: format!("filled-{from}"),
        to_name: format!("filled-{to}"),
        text: text_of(number),
    }
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

/// What the message of this number says: 100 bytes.
pub fn text_of(number: u64) -> String {
    format!("{number:0>100}")
}
