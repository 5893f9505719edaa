//! Whose requests and sessions are whose, and what one account may learn of another.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::{
    AccountId, Action, Answer, Fact, HistoryId, Limits, MessageId, MessageText, Millis, NameRules,
    PasswordHash, Recipient, Refusal, Request, RequestId, SESSIONS_AN_ACCOUNT_MAX, SealedToken, SessionId,
    TokenHash, UserName,
};
use protocol::Time;
use std::path::{Path, PathBuf};
use store::{
    Compared, Context, LogRetention, Reader, Readers, Stop, StoreError, TABLES, Writer, compare_slice,
    open_existing_read_only,
};
use uuid::Uuid;

fn now() -> Millis {
    Millis::of(std::time::SystemTime::now())
}

fn context() -> Context {
    Context {
        now: now(),
        monotonic: Time::from_micros(0),
        primacy: 1,
        in_sync: 3,
        replicas: 3,
        room: store::Room::Enough,
        limits: Limits::default(),
    }
}

fn request(session: Option<u8>, action: Action) -> Request {
    Request {
        id: RequestId(Uuid::now_v7()),
        session: session.map(|n| TokenHash([n; 32])),
        sequence: None,
        action,
    }
}

fn create(name: &str, hash: &str) -> Action {
    Action::CreateAccount {
        name: UserName::parse(name, &NameRules::default()).unwrap(),
        password: hash_of(hash),
    }
}

fn hash_of(text: &str) -> PasswordHash {
    PasswordHash(text.into())
}

fn open_session(account: AccountId, token: u8, expires_at: Millis) -> Action {
    let (verified, sealed) = (hash_of("hash"), SealedToken(format!("sealed {token}")));
    Action::OpenSession { account, verified, token: TokenHash([token; 32]), sealed, expires_at }
}

fn send(to: AccountId, text: &str) -> Action {
    Action::SendMessage { to: Recipient::Account(to), text: MessageText::parse(text).unwrap(), min_copies: 0 }
}

/// A primary and a secondary, with alice (session 1), bob (2) and eve (3).
struct Pair {
    folder: tempfile::TempDir,
    primary: Writer,
    secondary: Writer,
    facts: Vec<Fact>,
}

const ALICE: AccountId = AccountId(2);
const BOB: AccountId = AccountId(3);
const EVE: AccountId = AccountId(4);

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |which: &str| {
            Writer::open(&folder.path().join(which).join("chat.db"), LogRetention::keep(10_000)).unwrap()
        };
        let (primary, secondary) = (open("a"), open("b"));
        let mut pair = Self { folder, primary, secondary, facts: Vec::new() };
        pair.run(request(None, Action::BeginHistory)).unwrap();
        for name in ["alice", "bob", "eve"] {
            pair.run(request(None, create(name, "hash"))).unwrap();
        }
        let later = now().plus(Limits::default().session_lifetime);
        for (token, account) in [(1, ALICE), (2, BOB), (3, EVE)] {
            pair.run(request(None, open_session(account, token, later))).unwrap();
        }
        pair
    }

    fn run(&mut self, request: Request) -> Result<Answer, Refusal> {
        let executed = self.primary.execute(&[request], &context()).unwrap();
        self.secondary.persist(&executed.entries).unwrap();
        self.primary.commit().unwrap();
        self.facts.extend(executed.entries.iter().map(|entry| entry.record.fact().clone()));
        executed.outcomes.into_iter().flatten().next().unwrap()
    }

    fn send(&mut self, session: u8, to: AccountId) -> MessageId {
        match self.run(request(Some(session), send(to, "hello"))) {
            Ok(Answer::MessageSent { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    fn path(&self, which: &str) -> PathBuf {
        self.folder.path().join(which).join("chat.db")
    }

    fn read<T>(&self, ask: impl Fn(&Reader<'_>) -> Result<T, StoreError>) -> T {
        let read = |which| Readers::new(&self.path(which)).read(&ask).unwrap();
        assert_eq!(difference(&self.path("a"), &self.path("b")), None);
        read("a")
    }

    fn sessions(&self, account: AccountId) -> Vec<SessionId> {
        let connection = rusqlite::Connection::open(self.path("a")).unwrap();
        let mut find = connection.prepare("SELECT id FROM sessions WHERE account = ?1 ORDER BY id").unwrap();
        let ids = find.query_map([account.0.cast_signed()], |row| row.get::<_, i64>(0)).unwrap();
        ids.map(|id| SessionId(id.unwrap().cast_unsigned())).collect()
    }
}

fn difference(a: &Path, b: &Path) -> Option<String> {
    let (one, other) = (open_existing_read_only(a).unwrap(), open_existing_read_only(b).unwrap());
    let (one, other) = (Reader::on(&one, a), Reader::on(&other, b));
    TABLES.iter().find_map(|table| match compare_slice(&one, &other, table, None, 1_000_000).unwrap() {
        Compared::Same(_) => None,
        Compared::Different(difference) => Some(difference.to_string()),
    })
}

#[test]
fn the_answer_of_a_request_is_for_the_account_that_made_it() {
    let later = now().plus(Limits::default().session_lifetime);
    let actions = [
        send(BOB, "hello"),
        Action::Acknowledge { up_to: MessageId(3) },
        Action::SetReadMarks { shown: false },
        Action::ChangePassword { verified: hash_of("hash"), password: hash_of("hash") },
        Action::CloseSession,
        Action::DeleteAccount { verified: hash_of("hash") },
    ];
    for action in actions {
        let mut pair = Pair::new();
        pair.run(request(None, open_session(ALICE, 11, later))).unwrap();
        let first = request(Some(1), action.clone());
        let answer = pair.run(first.clone());
        assert!(answer.is_ok(), "{action:?}: {answer:?}");
        let from =
            |session: Option<u8>| Request { session: session.map(|n| TokenHash([n; 32])), ..first.clone() };
        let position = pair.primary.identity().position;
        assert_eq!(pair.run(from(Some(1))), answer, "{action:?}: its own session");
        assert_eq!(pair.run(from(Some(3))), Err(Refusal::RequestIdReused), "{action:?}: another account");
        assert_eq!(pair.run(from(Some(99))), Err(Refusal::SessionInvalid), "{action:?}: no session");
        assert_eq!(pair.run(from(None)), Err(Refusal::NotSignedIn), "{action:?}: no token");
        if !matches!(action, Action::DeleteAccount { .. } | Action::ChangePassword { .. }) {
            assert_eq!(pair.run(from(Some(11))), answer, "{action:?}: another session of the account");
        }
        assert_eq!(pair.primary.identity().position, position, "{action:?}: a retry made an entry");
    }
}

#[test]
fn a_request_with_another_password_is_another_request() {
    let mut pair = Pair::new();
    let later = now().plus(Limits::default().session_lifetime);
    let login = |verified: &str, token: u8| match open_session(BOB, token, later) {
        Action::OpenSession { account, token, sealed, expires_at, .. } => {
            Action::OpenSession { account, verified: hash_of(verified), token, sealed, expires_at }
        }
        _ => unreachable!(),
    };
    let change =
        |old: &str, new: &str| Action::ChangePassword { verified: hash_of(old), password: hash_of(new) };
    let delete = |hash: &str| Action::DeleteAccount { verified: hash_of(hash) };
    let cases = [
        (None, create("carol", "salt 1"), create("carol", "salt 2")),
        (None, login("hash", 21), login("other", 22)),
        (Some(1), change("hash", "new"), change("other", "new")),
        (Some(2), change("hash", "new"), change("hash", "other")),
        (Some(3), delete("hash"), delete("other")),
    ];
    for (session, action, other) in cases {
        let first = request(session, action);
        let answer = pair.run(first.clone());
        assert!(answer.is_ok(), "{first:?}: {answer:?}");
        let with_other = Request { action: other, ..first.clone() };
        assert_eq!(pair.run(with_other), Err(Refusal::RequestIdReused), "{first:?}");
        assert_eq!(pair.run(first), answer);
    }
}

#[test]
fn a_login_s_retry_gets_the_token_that_the_first_try_sealed() {
    let mut pair = Pair::new();
    let later = now().plus(Limits::default().session_lifetime);
    let first = request(None, open_session(ALICE, 11, later));
    let retry = Request { action: open_session(ALICE, 12, later), ..first.clone() };
    let answer = pair.run(first);
    assert!(
        matches!(&answer, Ok(Answer::SessionOpened { sealed: Some(sealed), .. }) if *sealed == SealedToken("sealed 11".into()))
    );
    assert_eq!(pair.run(retry), answer);
    assert_eq!(pair.sessions(ALICE).len(), 2, "one effect");
}

#[test]
fn a_session_opened_says_which_others_it_closes() {
    let mut pair = Pair::new();
    let later = now().plus(Limits::default().session_lifetime);
    // Two that will have expired when the next one is opened, then as many as an account can have.
    for token in [101, 102] {
        pair.run(request(None, open_session(ALICE, token, Millis(1)))).unwrap();
    }
    for token in 0..u8::try_from(SESSIONS_AN_ACCOUNT_MAX).unwrap() + 3 {
        let before = pair.sessions(ALICE);
        let opened = pair.run(request(None, open_session(ALICE, 110 + token, later)));
        let Ok(Answer::SessionOpened { session, .. }) = opened else { panic!("{opened:?}") };
        let after = pair.sessions(ALICE);
        let gone: Vec<SessionId> = before.into_iter().filter(|id| !after.contains(id)).collect();
        let Some(Fact::SessionOpened { closes, .. }) = pair.facts.last() else { panic!("no fact") };
        assert_eq!(*closes, gone, "with {} sessions", after.len());
        assert!(after.contains(&session) && after.len() <= usize::try_from(SESSIONS_AN_ACCOUNT_MAX).unwrap());
    }
    assert_eq!(pair.sessions(BOB).len(), 1, "bob's are his");
    pair.read(|_| Ok(()));
}

#[test]
fn a_new_history_ends_all_sessions() {
    let mut pair = Pair::new();
    let history = HistoryId(Uuid::new_v4());
    let before = pair.primary.identity().position;
    pair.primary.begin_new_history(history, now()).unwrap();
    let piece = Readers::new(&pair.path("a")).read(|reader| reader.log_after(before.op, 1 << 20)).unwrap();
    pair.secondary.persist(&piece.entries).unwrap();
    for token in [1, 2, 3] {
        let found = pair.read(|reader| Ok(reader.session(TokenHash([token; 32]), now())));
        assert!(matches!(found, Err(Stop::Refused(Refusal::SessionInvalid))), "{found:?}");
        assert_eq!(pair.run(request(Some(token), send(BOB, "x"))), Err(Refusal::SessionInvalid));
    }
    assert_eq!(pair.read(|reader| reader.history()), Some(history));
}

#[test]
fn a_sender_learns_how_far_its_own_messages_got_and_no_more() {
    let mut pair = Pair::new();
    let mine = [pair.send(1, BOB), pair.send(1, BOB)];
    let others = [pair.send(3, BOB), pair.send(3, BOB), pair.send(3, BOB)];
    let last = pair.send(1, BOB);
    let marks = |pair: &Pair, account| {
        pair.read(move |reader| {
            let all = reader.conversations(account, MessageId(u64::MAX), 10)?;
            Ok(all.into_iter().map(|one| (one.with, one.delivered_up_to, one.seen_up_to)).collect::<Vec<_>>())
        })
    };
    assert_eq!(marks(&pair, ALICE), [(BOB, MessageId(0), MessageId(0))]);
    pair.run(request(Some(2), Action::Acknowledge { up_to: others[1] })).unwrap();
    pair.run(request(Some(2), Action::MarkRead { with: ALICE, up_to: others[2] })).unwrap();
    assert!(
        matches!(pair.facts.last(), Some(Fact::ConversationRead { shown: true, shown_up_to: Some(seen), .. }) if *seen == mine[1])
    );
    assert_eq!(marks(&pair, ALICE), [(BOB, mine[1], mine[1])]);
    assert_eq!(marks(&pair, EVE), [(BOB, others[1], MessageId(0))]);
    // What an entry of before has shown is no more than that either.
    let old = rusqlite::Connection::open(pair.path("a")).unwrap();
    old.execute("UPDATE reads SET shown_up_to = ?1", [others[2].0.cast_signed()]).unwrap();
    let after =
        Readers::new(&pair.path("a")).read(|reader| reader.conversations(ALICE, MessageId(u64::MAX), 1));
    assert_eq!(after.unwrap()[0].seen_up_to, mine[1]);
    // Nothing more of hers was seen: nothing is shown.
    old.execute("UPDATE reads SET shown_up_to = ?1", [mine[1].0.cast_signed()]).unwrap();
    let own = pair.send(2, ALICE);
    pair.run(request(Some(2), Action::MarkRead { with: ALICE, up_to: last })).unwrap();
    pair.run(request(Some(2), Action::MarkRead { with: ALICE, up_to: own })).unwrap();
    assert!(matches!(
        pair.facts.last(),
        Some(Fact::ConversationRead { shown: false, shown_up_to: None, .. })
    ));
}

#[test]
fn nothing_is_read_of_somebody_who_has_written_nothing() {
    let mut pair = Pair::new();
    let to_bob = pair.send(1, BOB);
    let before = pair.primary.identity().position;
    let nothing = Ok(Answer::ConversationRead { up_to: MessageId(0) });
    for with in [BOB, EVE, ALICE] {
        assert_eq!(pair.run(request(Some(1), Action::MarkRead { with, up_to: to_bob })), nothing, "{with:?}");
    }
    assert_eq!(pair.primary.identity().position, before, "an entry was made");
}

/// What a database of schema 2 holds of requests, with their digests and answers as that program wrote them.
#[test]
fn requests_of_a_database_of_before_get_their_owners_or_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../schema/1.sql")).unwrap();
    old.execute_batch(include_str!("../schema/2.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO database (only_row, id) VALUES (1, randomblob(16));
         INSERT INTO accounts (id, name, key, password, created_at) VALUES
             (2, 'alice', 'alice', 'hash', 0), (3, 'bob', 'bob', 'hash', 0), (4, 'eve', 'eve', 'hash', 0);",
    )
    .unwrap();
    let session = |token: u8, account: i64| {
        let values = rusqlite::params![i64::from(token), account, [token; 32], i64::MAX];
        old.execute(
            "INSERT INTO sessions (id, account, token, opened_at, expires_at) VALUES (?1, ?2, ?3, 0, ?4)",
            values,
        )
        .unwrap();
    };
    session(1, 2);
    session(3, 4);
    // Sent by alice in an entry that the log does not have any more; an entry stands for the end of the log.
    old.execute("INSERT INTO messages VALUES (7, 2, 'alice', 3, 'bob', 'hello', 0, 0)", []).unwrap();
    let chain = protocol::Position::ORIGIN;
    let record = chat::Record::new(
        Millis(0),
        None,
        Fact::HistoryBegan { history: HistoryId(Uuid::new_v4()), forgotten: None, ends_sessions: false },
    );
    let mut entry = chain.follow(record);
    entry.op = protocol::Op(9);
    let text = String::from_utf8(protocol::Record::encoded(&entry.record).to_vec()).unwrap();
    old.execute("INSERT INTO log VALUES (9, ?1, ?2)", rusqlite::params![entry.chain.0, text]).unwrap();
    let keep = |request: &Request, answer: &str| {
        let values = rusqlite::params![request.id.0.as_bytes(), request.action.digest(), answer];
        old.execute("INSERT INTO requests (id, digest, answer) VALUES (?1, ?2, ?3)", values).unwrap();
    };
    let sent = request(Some(1), send(BOB, "hello"));
    let created = request(None, create("bob", "another salt"));
    let marks = request(Some(1), Action::SetReadMarks { shown: false });
    let login = request(None, open_session(ALICE, 8, Millis(u64::MAX / 4)));
    keep(&sent, r#"{"message_sent":{"id":7,"sent_at":5}}"#);
    keep(&created, r#"{"account_created":{"account":3}}"#);
    keep(&marks, r#"{"read_marks_set":{"shown":false}}"#);
    keep(&login, r#"{"session_opened":{"session":1,"account":2,"expires_at":99}}"#);
    keep(&request(Some(1), Action::CloseSession), r#""session_closed""#);
    keep(&request(None, Action::BeginHistory), r#""history_begun""#);
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);

    let mut writer = Writer::open(&path, LogRetention::keep(10)).unwrap();
    let kept: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM requests", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 3, "the message, the account and the history");
    let foreign = Request { session: Some(TokenHash([3; 32])), ..sent.clone() };
    let executed = writer.execute(&[foreign, sent, created, marks, login], &context()).unwrap();
    assert_eq!(
        executed.outcomes[..4],
        [
            Err(Refusal::RequestIdReused),
            Ok(Answer::MessageSent { id: MessageId(7), sent_at: Millis(5) }),
            Ok(Answer::AccountCreated { account: BOB }),
            Ok(Answer::ReadMarksSet { shown: false }),
        ]
        .map(Some)
    );
    assert!(matches!(executed.outcomes[4], Some(Ok(Answer::SessionOpened { sealed: Some(_), .. }))));
    let done = executed
        .entries
        .iter()
        .filter(|entry| !matches!(entry.record.fact(), Fact::RequestsForgotten { .. }));
    assert_eq!(done.count(), 2, "what was forgotten was done once more");
}

/// A replica that applies entries of before after its upgrade keeps of them what the migration left on the others.
#[test]
fn an_entry_of_before_leaves_what_the_migration_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let mut writer = Writer::open(&path, LogRetention::keep(10)).unwrap();
    let history = HistoryId(Uuid::new_v4());
    let mark = |answer| chat::RequestMark {
        id: RequestId(Uuid::now_v7()),
        digest: [7; 16],
        answer,
        session: None,
        passwords: vec![],
    };
    let opened = Answer::SessionOpened {
        session: SessionId(3),
        account: AccountId(2),
        expires_at: Millis(u64::MAX / 4),
        sealed: None,
    };
    let facts = [
        (Fact::HistoryBegan { history, forgotten: None, ends_sessions: false }, Answer::HistoryBegun),
        (
            Fact::AccountCreated { name: "a".into(), key: "a".into(), password: hash_of("hash") },
            Answer::AccountCreated { account: AccountId(2) },
        ),
        (
            Fact::SessionOpened {
                account: AccountId(2),
                token: TokenHash([1; 32]),
                expires_at: Millis(u64::MAX / 4),
                closes: vec![],
            },
            opened,
        ),
        (
            Fact::MessageSent {
                from: AccountId(2),
                from_name: "a".into(),
                to: AccountId(2),
                to_name: "a".into(),
                text: "x".into(),
            },
            Answer::MessageSent { id: MessageId(4), sent_at: Millis(1) },
        ),
        (
            Fact::MessagesAcknowledged { account: AccountId(2), up_to: MessageId(4) },
            Answer::Acknowledged { up_to: MessageId(4) },
        ),
        // A history that `recover` began before it was a rule that sessions end with it.
        (Fact::HistoryBegan { history, forgotten: None, ends_sessions: false }, Answer::HistoryBegun),
    ];
    let mut end = protocol::Position::ORIGIN;
    let mut entries = Vec::new();
    for (fact, answer) in facts {
        let entry = end.follow(chat::Record::new(Millis(1), Some(mark(answer)), fact));
        end = entry.position();
        entries.push(entry);
    }
    writer.persist(&entries).unwrap();
    let rows = rusqlite::Connection::open(&path).unwrap();
    let mut find = rows.prepare("SELECT answer, account FROM requests ORDER BY answer").unwrap();
    let kept: Vec<(String, Option<i64>)> = find
        .query_map([], |row| Ok((row.get::<_, String>(0)?.replace(['"', '{', '}'], ""), row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let short: Vec<(&str, Option<i64>)> =
        kept.iter().map(|(answer, account)| (answer.split(':').next().unwrap(), *account)).collect();
    assert_eq!(
        short,
        [
            ("history_begun", None),
            ("history_begun", None),
            ("account_created", None),
            ("message_sent", Some(2))
        ]
    );
    let sessions: i64 = rows.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap();
    assert_eq!(sessions, 1, "as on those who applied it then");
}
