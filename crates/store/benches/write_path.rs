//! The pieces of the write path, each alone, with the messages that `trialogue bench` sends: 64 between 16 accounts, 100 bytes
//! each.
//!
//! `cargo bench --package store --bench write_path`; with `-- NAME` behind it, one of them. What they are together, and what
//! clients wait for, is measured by `trialogue bench`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a measurement that can't be made is to end")]

mod cluster;
#[path = "../tests/pair/mod.rs"]
mod pair;

use chat::{Record, Request};
use cluster::Cluster;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use files::RealFiles;
use pair::{Primary, account, context, create, open_session, request, run, send};
use protocol::{DatabaseId, Entry, Position, Record as _};
use replica_log::Log;
use std::cell::RefCell;
use std::sync::Arc;
use store::{Context, Decider, Readers, Writer};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ACCOUNTS: u8 = 16;
/// Messages of a batch.
const BATCH: u64 = 64;
/// Messages that are applied in one transaction.
const TRANSACTION: u64 = 4096;

fn main() {
    divan::main();
}

/// A service with 16 accounts, each with a session.
struct Service {
    folder: tempfile::TempDir,
    primary: Primary,
    decider: Decider,
    sent: u64,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/chat.db");
        let mut primary = Primary::open(&path);
        let mut other = Writer::open(&folder.path().join("b/chat.db")).unwrap();
        let begin = request(chat::Action::BeginHistory);
        run(&mut primary, &mut other, &[begin])[0].as_ref().unwrap();
        for number in 0..ACCOUNTS {
            let who = name(number);
            let made = run(&mut primary, &mut other, &[create(&who)]);
            run(&mut primary, &mut other, &[open_session(account(&made[0]), &who, number)])[0]
                .as_ref()
                .unwrap();
        }
        let decider = Decider::new(Arc::new(Readers::new(&path)));
        Self { folder, primary, decider, sent: 0 }
    }

    /// The next messages: each from another account, to the one behind it.
    fn requests(&mut self, count: u64) -> Vec<Request> {
        let text = "x".repeat(100);
        let first = self.sent;
        self.sent += count;
        let account = |number: u64| u8::try_from(number % u64::from(ACCOUNTS)).unwrap();
        (first..self.sent).map(|sent| send(account(sent), &name(account(sent + 1)), &text)).collect()
    }

    fn decide(&mut self, requests: &[Request]) -> Vec<Entry<Record>> {
        let context = Context { applied: self.primary.state().applied.op, ..context() };
        let executed = self.decider.decide(requests, &context).unwrap();
        assert_eq!(executed.entries.len(), requests.len(), "every message takes effect");
        executed.entries
    }

    /// The entries of the next messages, which are not applied yet.
    fn entries(&mut self, count: u64) -> Vec<Entry<Record>> {
        let requests = self.requests(count);
        requests.chunks(64).flat_map(|batch| self.decide(batch)).collect()
    }

    fn apply(&mut self, entries: &[Entry<Record>]) -> Position {
        self.primary.apply(entries).unwrap()
    }
}

fn name(account: u8) -> String {
    format!("account{account}")
}

/// Deciding a batch: every request looked at on top of those before it, its record encoded and chained.
#[divan::bench(counters = [ItemsCount::new(BATCH)], sample_size = 1)]
fn decide(bencher: Bencher<'_, '_>) {
    let service = RefCell::new(Service::new());
    let decided = RefCell::new(Vec::new());
    bencher
        .with_inputs(|| {
            // Those before it were applied meanwhile.
            let mut service = service.borrow_mut();
            let before: Vec<_> = decided.take();
            if !before.is_empty() {
                service.apply(&before);
            }
            service.requests(BATCH)
        })
        .bench_local_values(|requests| *decided.borrow_mut() = service.borrow_mut().decide(&requests));
}

/// Encoding the records of a batch, and chaining them.
#[divan::bench(counters = [ItemsCount::new(BATCH)])]
fn encode(bencher: Bencher<'_, '_>) {
    let mut service = Service::new();
    let base = service.primary.state().applied;
    let entries = service.entries(BATCH);
    let parts = || -> Vec<_> {
        entries
            .iter()
            .map(|entry| (entry.record.at(), entry.record.request().cloned(), entry.record.fact().clone()))
            .collect()
    };
    bencher.with_inputs(parts).bench_local_values(|parts| {
        let mut end = base;
        for (at, mark, fact) in parts {
            end = end.follow(Record::new(at, mark, fact)).position();
        }
        end
    });
}

/// Reading the records of a batch, as a secondary does.
#[divan::bench(counters = [ItemsCount::new(BATCH)])]
fn decode(bencher: Bencher<'_, '_>) {
    let entries = Service::new().entries(BATCH);
    let encoded: Vec<Vec<u8>> = entries.iter().map(|entry| entry.record.encoded().to_vec()).collect();
    bencher.bench_local(|| encoded.iter().map(|bytes| Record::decode(bytes).unwrap()).collect::<Vec<_>>());
}

/// A batch into the log: one write and one sync of the disk of the temporary folder.
#[divan::bench(counters = [ItemsCount::new(BATCH)])]
fn log(bencher: Bencher<'_, '_>) {
    let service = RefCell::new(Service::new());
    let (base, folder) = {
        let service = service.borrow();
        (service.primary.state().applied, service.folder.path().join("log"))
    };
    let database = DatabaseId([7; 16]);
    let mut log =
        Log::create(Arc::new(RealFiles), &folder, database, base, replica_log::Limits::default()).unwrap();
    bencher.with_inputs(|| service.borrow_mut().entries(BATCH)).bench_local_values(|entries| {
        log.append(&entries, base).unwrap();
    });
}

/// Entries into the tables, in one transaction that is not synced.
#[divan::bench(counters = [ItemsCount::new(TRANSACTION)], sample_count = 20, sample_size = 1)]
fn apply(bencher: Bencher<'_, '_>) {
    let service = RefCell::new(Service::new());
    bencher
        .with_inputs(|| service.borrow_mut().entries(TRANSACTION))
        .bench_local_values(|entries| service.borrow_mut().apply(&entries));
}

/// The protocol's part of a batch on three replicas, whose stores and network take no time.
#[divan::bench(counters = [ItemsCount::new(BATCH)])]
fn protocol(bencher: Bencher<'_, '_>) {
    let cluster = RefCell::new(Cluster::serving());
    let records: Vec<Record> = Service::new().entries(BATCH).into_iter().map(|entry| entry.record).collect();
    bencher
        .with_inputs(|| cluster.borrow().entries_of(&records))
        .bench_local_values(|entries| cluster.borrow_mut().commit(entries));
}
