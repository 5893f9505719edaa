//! Requests decided ahead of the tables come to what they come to when the tables show everything.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{
    AccountId, Action, Answer, MessageId, PasswordHash, Recipient, Record, Refusal, Request, SignedAction,
};
use pair::{account, context, create, open_session, request, send, signed};
use proptest::prelude::*;
use protocol::{Entry, Op};
use std::collections::VecDeque;
use std::sync::Arc;
use store::{Context, Decider, Readers, Writer};

/// A primary whose tables lag behind what it has decided.
struct Primary {
    folder: tempfile::TempDir,
    writer: Writer,
    decider: Decider,
    /// Decided, and not applied.
    in_flight: VecDeque<Vec<Entry<Record>>>,
    /// Every entry that was decided.
    entries: Vec<Entry<Record>>,
    primacy: u64,
}

type Outcomes = Vec<Result<Answer, Refusal>>;

impl Primary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let writer = Writer::open(&path).unwrap();
        let decider = Decider::new(Arc::new(Readers::new(&path)));
        Self { folder, writer, decider, in_flight: VecDeque::new(), entries: Vec::new(), primacy: 1 }
    }

    /// The same history as another primary, on tables of its own.
    fn like(other: &Self) -> Self {
        let mut primary = Self::new();
        primary.writer.apply(&other.entries).unwrap();
        primary.entries.clone_from(&other.entries);
        primary
    }

    fn apply_next(&mut self) {
        if let Some(entries) = self.in_flight.pop_front() {
            self.writer.apply(&entries).unwrap();
        }
    }

    fn apply_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.apply_next();
        }
    }

    /// Decides requests in batches, each as far as it goes, while at most `ahead` batches wait to be applied. The decider is told of
    /// what is applied a batch late.
    fn decide(&mut self, requests: &[Request], batch: usize, ahead: usize, context: &Context) -> Outcomes {
        let mut outcomes = Vec::new();
        for requests in requests.chunks(batch) {
            let mut left = requests;
            while !left.is_empty() {
                let applied = self.writer.state().applied.op;
                while self.in_flight.len() > ahead {
                    self.apply_next();
                }
                let context = Context { applied, primacy: self.primacy, ..*context };
                let executed = self.decider.decide(left, &context).unwrap();
                left = &left[executed.outcomes.len()..];
                outcomes.extend(executed.outcomes.into_iter().map(Option::unwrap));
                self.entries.extend(executed.entries.iter().cloned());
                self.in_flight.push_back(executed.entries);
                if executed.barrier {
                    self.apply_all();
                }
            }
        }
        outcomes
    }
}

fn with_two_people() -> Primary {
    let mut primary = Primary::new();
    let people = [request(Action::BeginHistory), create("alice"), create("bob")];
    let begun = primary.decide(&people, 1, 0, &context());
    let (alice, bob) = (account(&begun[1]), account(&begun[2]));
    primary.decide(&[open_session(alice, "alice", 1), open_session(bob, "bob", 2)], 1, 0, &context());
    primary.apply_all();
    primary
}

fn hash(text: String) -> PasswordHash {
    PasswordHash(text)
}

fn requests(steps: &[(u8, u8, u8)]) -> Vec<Request> {
    let people = ["alice", "bob", "carol", "dave"];
    let mut requests: Vec<Request> = Vec::new();
    for (kind, who, whom) in steps.iter().copied() {
        let (who_name, session) = (people[usize::from(who)], who + 1);
        let (whom_id, place) = (AccountId(u64::from(whom) + 2), MessageId(u64::from(whom) * 5));
        requests.push(match kind {
            0 => create(who_name),
            1 => open_session(whom_id, who_name, session),
            2 => signed(session, SignedAction::CloseSession),
            3 => {
                signed(session, SignedAction::DeleteAccount { verified: hash(format!("hash of {who_name}")) })
            }
            4 => {
                let (verified, password) =
                    (hash(format!("hash of {who_name}")), hash(format!("hash {whom}")));
                signed(session, SignedAction::ChangePassword { verified, password })
            }
            5 | 6 => signed(session, SignedAction::Acknowledge { up_to: place }),
            7 | 8 => signed(session, SignedAction::MarkSeen { with: whom_id, up_to: place }),
            9 => signed(session, SignedAction::ShowSeen { shown: whom % 2 == 0 }),
            // A retry.
            10 => match requests.get(usize::from(whom) * 3) {
                Some(earlier) => earlier.clone(),
                None => create(who_name),
            },
            11 => {
                let Action::Signed { action: SignedAction::SendMessage { text, .. }, .. } =
                    send(session, "bob", "to a number").action
                else {
                    unreachable!("it is a message")
                };
                let to = Recipient::Account(whom_id);
                signed(session, SignedAction::SendMessage { to, text, min_copies: 0 })
            }
            _ => send(session, people[usize::from(whom)], &format!("{kind} {who} {whom}")),
        });
    }
    requests
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_decided_ahead_is_what_is_decided_on_complete_tables(
        steps in proptest::collection::vec((0_u8..16, 0_u8..4, 0_u8..4), 1..120),
        batch in 1_usize..9,
        ahead in 0_usize..12,
    ) {
        let mut complete = with_two_people();
        let mut lagging = Primary::like(&complete);
        // Later than what they begin with: entries have the time of their batch.
        let context = Context { now: context().now.plus(std::time::Duration::from_mins(1)), ..context() };
        let requests = requests(&steps);
        let expected = complete.decide(&requests, 1, 0, &context);
        let outcomes = lagging.decide(&requests, batch, ahead, &context);
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(&lagging.entries, &complete.entries);
        complete.apply_all();
        lagging.apply_all();
        let (one, other) = (complete.folder.path().join("chat.db"), lagging.folder.path().join("chat.db"));
        prop_assert_eq!(pair::difference(&one, &other), None);
    }
}

#[test]
fn what_an_earlier_primacy_decided_and_did_not_commit_never_happened() {
    let mut primary = with_two_people();
    let hello = send(1, "bob", "hello");
    let first = primary.decide(std::slice::from_ref(&hello), 1, 9, &context());
    // It was cut off: the tables never show it.
    primary.in_flight.clear();
    primary.primacy += 1;
    let again = primary.decide(&[send(2, "alice", "first"), hello], 1, 9, &context());
    let (Ok(Answer::MessageSent { id: lost, .. }), Ok(Answer::MessageSent { id, .. })) =
        (&first[0], &again[1])
    else {
        panic!("{first:?} {again:?}")
    };
    assert_eq!(id.0, lost.0 + 1, "it takes effect now, behind what the new primacy decided before it");
}

#[test]
#[should_panic(expected = "before the tables show a barrier")]
fn no_batch_is_decided_before_the_tables_show_a_barrier() {
    let mut primary = with_two_people();
    let applied = primary.writer.state().applied.op;
    let context = Context { applied, primacy: 1, ..context() };
    let executed = primary.decider.decide(&[signed(1, SignedAction::CloseSession)], &context).unwrap();
    assert!(executed.barrier && executed.entries.len() == 1 && applied < executed.entries[0].op);
    let _ = primary.decider.decide(&[send(2, "alice", "still there?")], &context);
}

#[test]
fn a_barrier_ends_its_batch_and_nothing_else_does() {
    let mut primary = with_two_people();
    let context = Context { applied: Op(5), primacy: 1, ..context() };
    let batch = [
        send(1, "bob", "one"),
        create("carol"),
        signed(2, SignedAction::ShowSeen { shown: false }),
        open_session(AccountId(2), "alice", 7),
        send(7, "carol", "two"),
        signed(1, SignedAction::CloseSession),
        send(2, "alice", "three"),
    ];
    let executed = primary.decider.decide(&batch, &context).unwrap();
    assert!(executed.outcomes.iter().flatten().all(Result::is_ok), "{executed:?}");
    assert_eq!((executed.outcomes.len(), executed.barrier), (6, true));
}
