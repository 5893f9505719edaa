//! What a store promises, on real files.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use chat::{
    AccountId, Action, Answer, Cursor, Limits, MessageId, MessageText, Millis, NamePattern, NameRules,
    PasswordHash, Recipient, Refusal, Request, RequestId, SealedToken, Sequence, TokenHash, UserName,
};
use proptest::prelude::*;
use protocol::{
    Incarnation, Member, Memory, Position, Proposer, RegisterId, ReplicaIndex, ReplicaSet, Time, View,
    ViewNumber,
};
use std::path::Path;
use store::{
    Compared, Context, INCOMING_SUFFIX, LogRetention, Reader, Readers, StoreError, TABLES, Writer,
    check_snapshot, compare_slice, files::RealFiles, open_existing_read_only, swap_in,
};
use uuid::Uuid;

fn context() -> Context {
    Context {
        now: Millis::of(std::time::SystemTime::now()),
        monotonic: Time::from_micros(0),
        primacy: 1,
        in_sync: 3,
        replicas: 3,
        limits: Limits::default(),
    }
}

fn name(name: &str) -> UserName {
    UserName::parse(name, &NameRules::default()).unwrap()
}

fn request(session: Option<u8>, action: Action) -> Request {
    let session = session.map(|n| TokenHash([n; 32]));
    Request { id: RequestId(Uuid::now_v7()), session, sequence: None, action }
}

fn create(who: &str) -> Request {
    request(None, Action::CreateAccount { name: name(who), password: PasswordHash(format!("hash of {who}")) })
}

fn open_session(account: chat::AccountId, who: &str, token: u8) -> Request {
    let expires_at = context().now.plus(Limits::default().session_lifetime);
    let verified = PasswordHash(format!("hash of {who}"));
    let sealed = SealedToken(format!("sealed {token}"));
    request(
        None,
        Action::OpenSession { account, verified, token: TokenHash([token; 32]), sealed, expires_at },
    )
}

fn send(session: u8, to: &str, text: &str) -> Request {
    let text = MessageText::parse(text).unwrap();
    request(Some(session), Action::SendMessage { to: Recipient::Named(name(to)), text, min_copies: 0 })
}

fn message_id(outcome: &Result<Answer, Refusal>) -> MessageId {
    match outcome {
        Ok(Answer::MessageSent { id, .. }) => *id,
        other => panic!("{other:?}"),
    }
}

/// Executes and commits requests, each in a batch of its own, and persists the entries at the secondary.
fn run(primary: &mut Writer, secondary: &mut Writer, requests: &[Request]) -> Vec<Result<Answer, Refusal>> {
    let mut outcomes = Vec::new();
    for one in requests {
        let executed = primary.execute(std::slice::from_ref(one), &context()).unwrap();
        secondary.persist(&executed.entries).unwrap();
        primary.commit().unwrap();
        outcomes.extend(executed.outcomes.into_iter().flatten());
    }
    outcomes
}

fn account(outcome: &Result<Answer, Refusal>) -> chat::AccountId {
    match outcome {
        Ok(Answer::AccountCreated { account }) => *account,
        other => panic!("{other:?}"),
    }
}

struct Pair {
    folder: tempfile::TempDir,
    primary: Writer,
    secondary: Writer,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let primary = Writer::open(&folder.path().join("a/chat.db"), LogRetention::keep(1000)).unwrap();
        let secondary = Writer::open(&folder.path().join("b/chat.db"), LogRetention::keep(1000)).unwrap();
        Self { folder, primary, secondary }
    }

    /// Alice has session 1, bob session 2.
    fn with_two_people() -> Self {
        let mut pair = Self::new();
        let begun = pair.run(&[request(None, Action::BeginHistory), create("alice"), create("bob")]);
        let (alice, bob) = (account(&begun[1]), account(&begun[2]));
        for outcome in pair.run(&[open_session(alice, "alice", 1), open_session(bob, "bob", 2)]) {
            outcome.unwrap();
        }
        pair
    }

    fn run(&mut self, requests: &[Request]) -> Vec<Result<Answer, Refusal>> {
        run(&mut self.primary, &mut self.secondary, requests)
    }

    fn path(&self, which: &str) -> std::path::PathBuf {
        self.folder.path().join(which).join("chat.db")
    }

    fn assert_same(&self) {
        let (a, b) = (self.path("a"), self.path("b"));
        assert_eq!(difference(&a, &b), None);
    }
}

fn difference(a: &Path, b: &Path) -> Option<String> {
    let (one, other) = (open_existing_read_only(a).unwrap(), open_existing_read_only(b).unwrap());
    let (one, other) = (Reader::on(&one, a), Reader::on(&other, b));
    TABLES.iter().find_map(|table| match compare_slice(&one, &other, table, None, 1000).unwrap() {
        Compared::Same(more) => {
            assert_eq!(more, None, "a test has few rows");
            None
        }
        Compared::Different(difference) => Some(difference.to_string()),
    })
}

#[test]
fn a_message_is_delivered_from_the_acknowledged_one_on_and_history_runs_backwards() {
    let mut pair = Pair::with_two_people();
    let outcomes = pair.run(&[send(1, "bob", "one"), send(2, "Alice", "two"), send(1, "BOB", "three")]);
    let ids: Vec<MessageId> = outcomes.iter().map(message_id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    let acknowledge = request(Some(2), Action::Acknowledge { up_to: ids[0] });
    assert_eq!(pair.run(&[acknowledge])[0], Ok(Answer::Acknowledged { up_to: ids[0] }));
    let readers = Readers::new(&pair.path("a"));
    readers
        .read(|reader| {
            let bob = reader.living(&name("bob"))?.unwrap();
            let alice = reader.living(&name("alice"))?.unwrap();
            let texts = |own| {
                let messages = reader.messages_after(bob.id, bob.acknowledged, own, 10)?;
                Ok::<_, StoreError>(messages.into_iter().map(|message| message.text).collect::<Vec<_>>())
            };
            assert_eq!(texts(false)?, ["three"]);
            assert_eq!(texts(true)?, ["two", "three"]);
            let talk = reader.conversation(alice.id, bob.id, MessageId(u64::MAX), 2)?;
            assert_eq!(
                talk.iter().map(|m| (&*m.text, m.delivered)).collect::<Vec<_>>(),
                [("three", false), ("two", false)]
            );
            let older = reader.conversation(alice.id, bob.id, ids[1], 2)?;
            assert_eq!(older.iter().map(|m| (&*m.text, m.delivered)).collect::<Vec<_>>(), [("one", true)]);
            Ok(())
        })
        .unwrap();
    pair.assert_same();
}

#[test]
fn conversations_come_newest_first_with_what_each_side_has_seen() {
    let mut pair = Pair::with_two_people();
    let carol = account(&pair.run(&[create("carol")])[0]);
    let outcomes = pair.run(&[
        send(1, "bob", "one"),
        send(1, "bob", "two"),
        send(2, "alice", "answer"),
        send(1, "carol", "hello carol"),
        send(1, "alice", "a note to myself"),
    ]);
    let ids: Vec<MessageId> = outcomes.iter().map(message_id).collect();
    let mut state = |requests: &[Request], whose: &str| {
        let outcomes = pair.run(requests);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        pair.assert_same();
        Readers::new(&pair.path("b"))
            .read(|reader| {
                let me = reader.living(&name(whose))?.unwrap().id;
                let lines = reader.conversations(me, MessageId(u64::MAX), 10)?.into_iter().map(|one| {
                    let place = |id: MessageId| {
                        ids.iter().position(|known| *known == id).map_or(0, |place| place + 1)
                    };
                    format!(
                        "{}: {:?}, {} unread, read {}, delivered {}, seen {}",
                        one.peer_name,
                        one.last.text,
                        one.unread,
                        place(one.read_up_to),
                        place(one.delivered_up_to),
                        place(one.seen_up_to)
                    )
                });
                Ok(lines.collect::<Vec<_>>())
            })
            .unwrap()
    };
    let alice = AccountId(2);
    let read = |up_to| request(Some(2), Action::MarkRead { with: alice, up_to });
    assert_eq!(
        state(&[], "alice"),
        [
            "alice: \"a note to myself\", 0 unread, read 0, delivered 0, seen 0",
            "carol: \"hello carol\", 0 unread, read 0, delivered 0, seen 0",
            "bob: \"answer\", 1 unread, read 0, delivered 0, seen 0",
        ]
    );
    assert_eq!(state(&[], "bob"), ["alice: \"answer\", 2 unread, read 0, delivered 0, seen 0"]);
    // Bob has both and has seen the first; reading backwards changes nothing.
    let both = request(Some(2), Action::Acknowledge { up_to: ids[1] });
    assert_eq!(
        state(&[both, read(ids[0])], "bob"),
        ["alice: \"answer\", 1 unread, read 1, delivered 0, seen 0"]
    );
    assert_eq!(state(&[], "alice")[2], "bob: \"answer\", 1 unread, read 0, delivered 2, seen 1");
    // Whoever hides what he has seen is not told of others either, and what was seen meanwhile stays hidden.
    let hide = |shown| request(Some(2), Action::SetReadMarks { shown });
    assert_eq!(
        state(&[hide(false), read(ids[1]), read(ids[0])], "bob")[0].split(", ").nth(1),
        Some("0 unread")
    );
    assert_eq!(state(&[], "alice")[2], "bob: \"answer\", 1 unread, read 0, delivered 2, seen 1");
    let own = request(Some(1), Action::MarkRead { with: AccountId(3), up_to: ids[2] });
    assert_eq!(state(&[own], "bob"), ["alice: \"answer\", 0 unread, read 2, delivered 0, seen 0"]);
    assert_eq!(state(&[hide(true)], "alice")[2], "bob: \"answer\", 0 unread, read 3, delivered 2, seen 1");
    // Nobody reads with someone who never was, or beyond the end.
    let outcomes = pair.run(&[
        request(Some(1), Action::MarkRead { with: AccountId(999), up_to: ids[0] }),
        request(Some(1), Action::MarkRead { with: carol, up_to: MessageId(9999) }),
    ]);
    assert_eq!(
        outcomes,
        [Err(Refusal::NoSuchAccount { name: "#999".into() }), Err(Refusal::HistoryReplaced)]
    );
    // Pages go backwards by the newest message.
    Readers::new(&pair.path("a"))
        .read(|reader| {
            let page = reader.conversations(alice, ids[4], 1)?;
            assert_eq!(page.iter().map(|one| &*one.peer_name).collect::<Vec<_>>(), ["carol"]);
            let waiting = [(alice, vec![ids[4]]), (carol, vec![ids[3]])];
            assert_eq!(reader.unacknowledged(alice, 9)?, waiting, "bob has everything");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_retry_has_one_effect_and_the_same_answer_for_each_action() {
    let mut pair = Pair::with_two_people();
    let alice = PasswordHash("hash of alice".into());
    let requests = [
        create("carol"),
        send(1, "bob", "hello"),
        request(Some(2), Action::Acknowledge { up_to: MessageId(3) }),
        request(Some(2), Action::MarkRead { with: chat::AccountId(2), up_to: MessageId(3) }),
        request(Some(2), Action::SetReadMarks { shown: false }),
        request(Some(1), Action::ChangePassword { verified: alice, password: PasswordHash("new".into()) }),
        request(Some(2), Action::CloseSession),
        request(Some(1), Action::DeleteAccount { verified: PasswordHash("new".into()) }),
    ];
    for one in requests {
        let first = pair.run(std::slice::from_ref(&one)).remove(0);
        let position = pair.primary.identity().position;
        assert!(first.is_ok(), "{one:?}: {first:?}");
        assert_eq!(pair.run(std::slice::from_ref(&one)).remove(0), first, "{one:?}");
        assert_eq!(pair.primary.identity().position, position, "a retry made an entry: {one:?}");
    }
    pair.assert_same();
}

#[test]
fn an_id_used_for_something_else_or_out_of_date_is_refused() {
    let mut pair = Pair::with_two_people();
    let first = send(1, "bob", "hello");
    let mut other = send(1, "bob", "goodbye");
    other.id = first.id;
    let mut old = send(1, "bob", "late");
    old.id = RequestId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_000_000, 0)));
    let mut random = send(1, "bob", "undated");
    random.id = RequestId(Uuid::new_v4());
    let outcomes = pair.run(&[first, other, old, random]);
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(Refusal::RequestIdReused));
    assert!(matches!(outcomes[2], Err(Refusal::RequestTooOld { .. })), "{:?}", outcomes[2]);
    assert_eq!(outcomes[3], Err(Refusal::RequestIdInvalid));
}

#[test]
fn a_deleted_account_leaves_its_name_and_what_it_delivered_but_not_what_it_missed() {
    let mut pair = Pair::with_two_people();
    let sent = pair.run(&[send(1, "bob", "seen"), send(1, "bob", "missed"), send(2, "alice", "mine")]);
    let Ok(Answer::MessageSent { id: seen, .. }) = sent[0] else { panic!("{sent:?}") };
    let verified = PasswordHash("hash of bob".into());
    let gone = pair.run(&[
        request(Some(2), Action::Acknowledge { up_to: seen }),
        request(Some(2), Action::DeleteAccount { verified }),
        send(2, "alice", "from beyond"),
        send(1, "bob", "anyone there"),
        create("Bob"),
    ]);
    assert_eq!(gone[2], Err(Refusal::SessionInvalid));
    assert_eq!(gone[3], Err(Refusal::NoSuchAccount { name: "bob".into() }));
    let newcomer = account(&gone[4]);
    let send_to = |account| {
        let text = MessageText::parse("to whom it was meant").unwrap();
        request(Some(1), Action::SendMessage { to: Recipient::Account(account), text, min_copies: 0 })
    };
    let to_number = pair.run(&[send_to(chat::AccountId(3)), send_to(chat::AccountId(1)), send_to(newcomer)]);
    assert_eq!(to_number[0], Err(Refusal::AccountGone), "the newcomer has the name, and gets nothing");
    assert_eq!(to_number[1], Err(Refusal::AccountGone), "never was");
    let arrived = message_id(&to_number[2]);
    Readers::new(&pair.path("b"))
        .read(|reader| {
            let messages = reader.messages_after(newcomer, MessageId(0), true, 10)?;
            assert_eq!(messages.iter().map(|message| message.id).collect::<Vec<_>>(), [arrived]);
            let alice = reader.living(&name("alice"))?.unwrap();
            let old = reader.account(chat::AccountId(3))?.unwrap();
            let talk = reader.conversation(alice.id, old.id, MessageId(u64::MAX), 10)?;
            let shown: Vec<_> = talk.iter().map(|m| (&*m.text, m.undeliverable)).collect();
            assert_eq!(shown, [("mine", false), ("", true), ("seen", false)]);
            Ok(())
        })
        .unwrap();
    pair.assert_same();
}

#[test]
fn refusals_change_nothing() {
    let mut pair = Pair::with_two_people();
    let before = pair.primary.identity();
    let wanted = |min_copies| {
        let text = MessageText::parse("x").unwrap();
        request(Some(1), Action::SendMessage { to: Recipient::Named(name("bob")), text, min_copies })
    };
    let cases = [
        (create("ALICE"), Refusal::NameTaken { name: "ALICE".into() }),
        (send(1, "nobody", "x"), Refusal::NoSuchAccount { name: "nobody".into() }),
        (send(9, "bob", "x"), Refusal::SessionInvalid),
        (request(None, Action::CloseSession), Refusal::NotSignedIn),
        (request(Some(1), Action::Acknowledge { up_to: MessageId(1_000_000) }), Refusal::HistoryReplaced),
        (wanted(4), Refusal::TooManyCopies { wanted: 4, replicas: 3 }),
        (
            request(Some(1), Action::DeleteAccount { verified: PasswordHash("other".into()) }),
            Refusal::WrongCredentials,
        ),
    ];
    for (one, refusal) in cases {
        assert_eq!(pair.run(&[one])[0], Err(refusal));
    }
    let executed = pair.primary.execute(&[wanted(3)], &Context { in_sync: 2, ..context() }).unwrap();
    assert_eq!(executed.outcomes, [Some(Err(Refusal::TooFewInSync { in_sync: 2, wanted: 3 }))]);
    pair.primary.roll_back().unwrap();
    assert_eq!(pair.primary.identity(), before);
}

/// A message that was refused for the moment is sent again: what followed it in its stream must not be there before it.
#[test]
fn behind_a_refusal_that_may_pass_nothing_of_its_stream_takes_effect() {
    let words = |primary: &mut Writer, requests: &[Request], in_sync: usize| {
        let executed = primary.execute(requests, &Context { in_sync, ..context() }).unwrap();
        primary.commit().unwrap();
        let word = |outcome: Option<Result<Answer, Refusal>>| match outcome {
            None => "passed over",
            Some(Ok(_)) => "done",
            Some(Err(_)) => "refused",
        };
        executed.outcomes.into_iter().map(word).collect::<Vec<_>>()
    };
    let text = |text| MessageText::parse(text).unwrap();
    let letter = |sequence: &Sequence, to: &str, min_copies| {
        let action = Action::SendMessage { to: Recipient::Named(name(to)), text: text("x"), min_copies };
        Request { sequence: Some(sequence.clone()), ..request(Some(1), action) }
    };
    let mut pair = Pair::with_two_people();
    let primary = &mut pair.primary;

    let (one, other) = (Sequence::default(), Sequence::default());
    let too_few = letter(&one, "bob", 3);
    let behind = letter(&one, "bob", 0);
    let batch = [letter(&one, "bob", 0), too_few.clone(), behind.clone(), letter(&other, "bob", 0)];
    assert_eq!(words(primary, &batch, 2), ["done", "refused", "passed over", "done"]);
    // In the next batch too, when everything is well again.
    assert_eq!(words(primary, std::slice::from_ref(&behind), 3), ["passed over"]);
    // The sender begins another stream with what was refused.
    let again = Sequence::default();
    let resent = [too_few, behind].map(|one| Request { sequence: Some(again.clone()), ..one });
    assert_eq!(words(primary, &resent, 3), ["done", "done"]);
    // An unknown recipient may be registered before the message is sent again.
    let unknown = [letter(&other, "nobody", 0), letter(&other, "bob", 0)];
    assert_eq!(words(primary, &unknown, 3), ["refused", "passed over"]);
}

#[test]
fn what_is_not_committed_is_gone_and_what_is_committed_stays() {
    let mut pair = Pair::with_two_people();
    let path = pair.path("a");
    let before = pair.primary.identity().position;
    pair.primary.execute(&[send(1, "bob", "lost")], &context()).unwrap();
    assert_eq!(
        Readers::new(&path).read(|reader| reader.head()).unwrap(),
        before.op,
        "a reader sees what is not committed"
    );
    let Pair { folder, primary, secondary } = pair;
    drop(primary);
    let mut pair =
        Pair { primary: Writer::open(&path, LogRetention::keep(1000)).unwrap(), folder, secondary };
    assert_eq!(pair.primary.identity().position, before);
    pair.run(&[send(1, "bob", "kept")])[0].as_ref().unwrap();
    let after = pair.primary.identity().position;
    assert_eq!(pair.primary.repair().unwrap().position, after);
    pair.assert_same();
}

#[test]
fn a_snapshot_is_the_same_history_with_an_identity_of_its_own() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let target = pair.folder.path().join("c/chat.db");
    drop(Writer::open(&target, LogRetention::keep(1000)).unwrap());
    let incoming = pair.folder.path().join(format!("c/chat.db{INCOMING_SUFFIX}"));
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let checked = check_snapshot(&incoming, None).unwrap();
    assert_eq!(checked.position, pair.primary.identity().position);
    assert_ne!(checked.database, pair.primary.identity().database);
    swap_in(&RealFiles, &target).unwrap();
    let swapped = Writer::open(&target, LogRetention::keep(1000)).unwrap();
    assert_eq!(swapped.identity(), checked);
    assert_eq!(difference(&pair.path("a"), &target), None);
}

/// What a database remembers is its own: it outlives a restart, is kept by the commit of the batch that it comes with, is not
/// compared with another's, and does not come along with a snapshot.
#[test]
fn what_is_remembered_of_views_is_durable_and_local() {
    let mut pair = Pair::with_two_people();
    let index = ReplicaIndex(2);
    let view = View {
        number: ViewNumber(7),
        members: vec![Member { index, database: pair.primary.identity().database }],
        in_sync: ReplicaSet::EMPTY.with(index),
        op: protocol::Op(1),
        proposed_by: Proposer { index, incarnation: Incarnation(u64::MAX), attempt: u64::MAX },
    };
    let memory = Memory { register: RegisterId([3; 16]), complete: view.number, view };
    let newer = Memory { register: RegisterId([4; 16]), complete: ViewNumber(6), ..memory.clone() };
    assert_eq!(pair.primary.memory().unwrap(), None);
    pair.primary.remember(&newer).unwrap();
    pair.primary.remember(&memory).unwrap();
    assert_eq!(pair.primary.memory().unwrap().as_ref(), Some(&memory));
    pair.assert_same();

    let path = pair.path("a");
    pair.primary = Writer::open(&path, LogRetention::keep(1000)).unwrap();
    assert_eq!(pair.primary.memory().unwrap().as_ref(), Some(&memory), "after a restart");

    let incoming = pair.folder.path().join("incoming");
    Readers::new(&path).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    check_snapshot(&incoming, None).unwrap();
    assert_eq!(Writer::open(&incoming, LogRetention::keep(1000)).unwrap().memory().unwrap(), None);
    check_snapshot(&incoming, Some(&newer)).unwrap();
    assert_eq!(Writer::open(&incoming, LogRetention::keep(1000)).unwrap().memory().unwrap(), Some(newer));
}

/// A swap that was interrupted leaves the old write-ahead log beside no database for a moment.
#[test]
fn a_write_ahead_log_without_its_database_is_not_taken_for_one() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let (from, to) = (pair.path("a"), pair.folder.path().join("d/chat.db"));
    std::fs::create_dir(to.parent().unwrap()).unwrap();
    let log = |path: &std::path::Path| path.with_file_name("chat.db-wal");
    assert!(std::fs::metadata(log(&from)).unwrap().len() > 0, "the log is not empty");
    std::fs::copy(log(&from), log(&to)).unwrap();
    let opened = Writer::open(&to, LogRetention::keep(1000)).unwrap();
    assert_eq!(opened.identity().position, protocol::Position::ORIGIN);
}

#[test]
fn a_damaged_snapshot_or_database_is_refused() {
    let pair = Pair::with_two_people();
    let incoming = pair.folder.path().join("incoming");
    Readers::new(&pair.path("a")).read(|reader| reader.snapshot_to(&incoming)).unwrap();
    let mut bytes = std::fs::read(&incoming).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 2048..middle + 2048].fill(0x5a);
    std::fs::write(&incoming, &bytes).unwrap();
    assert!(matches!(check_snapshot(&incoming, None), Err(StoreError::Corrupt { .. })));
    std::fs::write(
        &incoming,
        b"this is no database, but it is long enough to be read as a header".repeat(10),
    )
    .unwrap();
    assert!(matches!(check_snapshot(&incoming, None), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_changed_row_is_named() {
    let mut pair = Pair::with_two_people();
    pair.run(&[send(1, "bob", "hello")])[0].as_ref().unwrap();
    let other = rusqlite_open(&pair.path("b"));
    other.execute("UPDATE messages SET text = 'jello'", []).unwrap();
    let found = difference(&pair.path("a"), &pair.path("b")).unwrap();
    assert!(found.contains("messages") && found.contains("hello") && found.contains("jello"), "{found}");
}

fn rusqlite_open(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    drop(Writer::open(&path, LogRetention::keep(1000)).unwrap());
    rusqlite_open(&path).pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(
        Writer::open(&path, LogRetention::keep(1000)),
        Err(StoreError::NewerSchema { found: 99, .. })
    ));
}

#[test]
fn the_log_is_pruned_behind_its_bound_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let mut writer = Writer::open(&path, LogRetention::keep(100)).unwrap();
    let all: Vec<Request> = (0..2100).map(|i| create(&format!("user{i}"))).collect();
    let executed = writer.execute(&all, &context()).unwrap();
    assert!(executed.outcomes.iter().flatten().all(Result::is_ok));
    writer.commit().unwrap();
    let readers = Readers::new(&path);
    let piece = |after| readers.read(|reader| reader.log_after(protocol::Op(after), 1 << 20)).unwrap();
    assert!(piece(0).chain.is_none() && piece(0).entries.is_empty());
    assert!(piece(1000).chain.is_none());
    assert_eq!(piece(2000).entries.len(), 100);
    assert_eq!(piece(2100).chain, Some(writer.identity().position.chain));
    drop(writer);
    assert_eq!(Writer::open(&path, LogRetention::keep(100)).unwrap().identity().position.op.0, 2100);
}

#[test]
fn accounts_come_in_pages_in_the_order_of_their_names() {
    let mut pair = Pair::new();
    let people: Vec<Request> = ["dora", "Alma", "carl", "berta", "alan"].map(create).to_vec();
    pair.run(&people);
    Readers::new(&pair.path("a"))
        .read(|reader| {
            let page =
                |pattern, after: &str| reader.accounts(&NamePattern::parse(pattern).unwrap(), after, 2);
            let names = |page: &[(chat::AccountId, String)]| {
                page.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>()
            };
            let (first, next) = page("", "")?;
            assert_eq!(names(&first), ["alan", "Alma"]);
            let (second, next) = page("", &next.unwrap())?;
            assert_eq!(names(&second), ["berta", "carl"]);
            let (third, next) = page("", &next.unwrap())?;
            assert_eq!((names(&third), next), (vec!["dora".to_owned()], None));
            assert_eq!(names(&page("^al", "")?.0), ["alan", "Alma"]);
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the primary executed, in whatever batches, the secondary that applied the entries has the same rows.
    #[test]
    fn execute_and_apply_agree(steps in proptest::collection::vec((0_u8..8, 0_u8..4, 0_u8..4), 1..60), batch in 1_usize..9) {
        let mut pair = Pair::with_two_people();
        let people = ["alice", "bob", "carol", "dave"];
        let mut requests = Vec::new();
        for (kind, who, whom) in steps {
            let (who_name, session) = (people[usize::from(who)], who + 1);
            requests.push(match kind {
                0 => create(who_name),
                1 => open_session(chat::AccountId(u64::from(whom) + 2), who_name, session),
                2 => request(Some(session), Action::CloseSession),
                3 => request(Some(session), Action::DeleteAccount { verified: PasswordHash(format!("hash of {who_name}")) }),
                4 => request(Some(session), Action::Acknowledge { up_to: MessageId(u64::from(whom) * 4) }),
                _ => send(session, people[usize::from(whom)], &format!("{kind} {who} {whom}")),
            });
        }
        let before: Position = pair.primary.identity().position;
        for some in requests.chunks(batch) {
            let executed = pair.primary.execute(some, &context()).unwrap();
            prop_assert_eq!(executed.outcomes.len(), some.len());
            pair.secondary.persist(&executed.entries).unwrap();
            pair.primary.commit().unwrap();
        }
        prop_assert!(pair.primary.identity().position.op >= before.op);
        pair.assert_same();
    }
}

#[test]
fn a_cursor_is_a_place_in_one_history() {
    let pair = Pair::with_two_people();
    let history = Readers::new(&pair.path("a")).read(|reader| reader.history()).unwrap();
    let other = Readers::new(&pair.path("b")).read(|reader| reader.history()).unwrap();
    assert!(history.is_some());
    let cursor = |history| Cursor { history, after: MessageId(0) };
    assert_eq!(cursor(history), cursor(other), "the secondary has the primary's history");
}
