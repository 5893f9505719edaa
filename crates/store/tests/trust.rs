//! Whose requests and sessions are whose, and what one account may learn of another.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{
    AccountId, Action, Answer, Fact, HistoryId, Limits, MessageId, MessageText, Millis, NameRules,
    PasswordHash, Recipient, Refusal, Request, RequestId, SESSIONS_AN_ACCOUNT_MAX, SealedToken, SessionId,
    SignedAction, TokenHash, UserName,
};
use pair::{Primary, decide, difference};
use protocol::Time;
use std::path::PathBuf;
use store::{Context, Reader, Readers, Stop, StoreError, Writer};
use uuid::Uuid;

fn now() -> Millis {
    Millis::of(std::time::SystemTime::now())
}

fn context() -> Context {
    Context {
        now: now(),
        monotonic: Time::from_micros(0),
        primacy: 1,
        applied: protocol::Op(0),
        in_sync: 3,
        replicas: 3,
        room: store::Room::Enough,
        limits: Limits::default(),
    }
}

fn request(action: Action) -> Request {
    Request { id: RequestId(Uuid::now_v7()), sequence: None, action }
}

/// What is asked for in a session, by its number.
fn signed(session: u8, action: SignedAction) -> Request {
    request(in_session(session, action))
}

fn in_session(session: u8, action: SignedAction) -> Action {
    Action::Signed { session: TokenHash([session; 32]), action }
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

fn send(to: AccountId, text: &str) -> SignedAction {
    SignedAction::SendMessage {
        to: Recipient::Account(to),
        text: MessageText::parse(text).unwrap(),
        min_copies: 0,
    }
}

/// A primary and a secondary, with alice (session 1), bob (2) and eve (3).
struct Pair {
    folder: tempfile::TempDir,
    primary: Primary,
    secondary: Writer,
    facts: Vec<Fact>,
}

const ALICE: AccountId = AccountId(2);
const BOB: AccountId = AccountId(3);
const EVE: AccountId = AccountId(4);

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |which: &str| Writer::open(&folder.path().join(which).join("chat.db")).unwrap();
        let (primary, secondary) = (Primary::on(open("a")), open("b"));
        let mut pair = Self { folder, primary, secondary, facts: Vec::new() };
        pair.run(request(Action::BeginHistory)).unwrap();
        for name in ["alice", "bob", "eve"] {
            pair.run(request(create(name, "hash"))).unwrap();
        }
        let later = now().plus(Limits::default().session_lifetime);
        for (token, account) in [(1, ALICE), (2, BOB), (3, EVE)] {
            pair.run(request(open_session(account, token, later))).unwrap();
        }
        pair
    }

    fn run(&mut self, request: Request) -> Result<Answer, Refusal> {
        let executed = decide(&mut self.primary, &[request], &context());
        self.secondary.apply(&executed.entries).unwrap();
        self.facts.extend(executed.entries.iter().map(|entry| entry.record.fact().clone()));
        executed.outcomes.into_iter().flatten().next().unwrap()
    }

    fn send(&mut self, session: u8, to: AccountId) -> MessageId {
        match self.run(signed(session, send(to, "hello"))) {
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

#[test]
fn the_answer_of_a_request_is_for_the_account_that_made_it() {
    let later = now().plus(Limits::default().session_lifetime);
    let actions = [
        send(BOB, "hello"),
        SignedAction::Acknowledge { up_to: MessageId(3) },
        SignedAction::ShowSeen { shown: false },
        SignedAction::ChangePassword { verified: hash_of("hash"), password: hash_of("hash") },
        SignedAction::CloseSession,
        SignedAction::DeleteAccount { verified: hash_of("hash") },
    ];
    for action in actions {
        let mut pair = Pair::new();
        pair.run(request(open_session(ALICE, 11, later))).unwrap();
        let first = signed(1, action.clone());
        let answer = pair.run(first.clone());
        assert!(answer.is_ok(), "{action:?}: {answer:?}");
        let from = |session| Request { action: in_session(session, action.clone()), ..first.clone() };
        let position = pair.primary.state().applied;
        assert_eq!(pair.run(from(1)), answer, "{action:?}: its own session");
        assert_eq!(pair.run(from(3)), Err(Refusal::RequestIdReused), "{action:?}: another account");
        assert_eq!(pair.run(from(99)), Err(Refusal::SessionInvalid), "{action:?}: no session");
        let unsigned = Request { action: create("dave", "hash"), ..first.clone() };
        assert_eq!(pair.run(unsigned), Err(Refusal::NotSignedIn), "{action:?}: no session at all");
        // One that the request has ended, too.
        assert_eq!(pair.run(from(11)), answer, "{action:?}: another session of the account");
        assert_eq!(pair.primary.state().applied, position, "{action:?}: a retry made an entry");
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
    let change = |session, old: &str, new: &str| {
        let (verified, password) = (hash_of(old), hash_of(new));
        in_session(session, SignedAction::ChangePassword { verified, password })
    };
    let delete = |hash: &str| in_session(3, SignedAction::DeleteAccount { verified: hash_of(hash) });
    let cases = [
        (create("carol", "salt 1"), create("carol", "salt 2")),
        (login("hash", 21), login("other", 22)),
        (change(1, "hash", "new"), change(1, "other", "new")),
        (change(2, "hash", "new"), change(2, "hash", "other")),
        (delete("hash"), delete("other")),
    ];
    for (action, other) in cases {
        let first = request(action);
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
    let first = request(open_session(ALICE, 11, later));
    let retry = Request { action: open_session(ALICE, 12, later), ..first.clone() };
    let answer = pair.run(first);
    assert!(
        matches!(&answer, Ok(Answer::SessionOpened { sealed, .. }) if *sealed == SealedToken("sealed 11".into()))
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
        pair.run(request(open_session(ALICE, token, Millis(1)))).unwrap();
    }
    for token in 0..u8::try_from(SESSIONS_AN_ACCOUNT_MAX).unwrap() + 3 {
        let before = pair.sessions(ALICE);
        let opened = pair.run(request(open_session(ALICE, 110 + token, later)));
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
    let begun = pair.primary.begin_new_history(history, now());
    for writer in [&mut *pair.primary, &mut pair.secondary] {
        writer.apply(std::slice::from_ref(&begun)).unwrap();
    }
    pair.primary.begin_anew();
    for token in [1, 2, 3] {
        let found = pair.read(|reader| Ok(reader.session(TokenHash([token; 32]), now())));
        assert!(matches!(found, Err(Stop::Refused(Refusal::SessionInvalid))), "{found:?}");
        assert_eq!(pair.run(signed(token, send(BOB, "x"))), Err(Refusal::SessionInvalid));
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
    pair.run(signed(2, SignedAction::Acknowledge { up_to: others[1] })).unwrap();
    pair.run(signed(2, SignedAction::MarkSeen { with: ALICE, up_to: others[2] })).unwrap();
    assert!(
        matches!(pair.facts.last(), Some(Fact::ConversationSeen { shown_up_to: Some(seen), .. }) if *seen == mine[1])
    );
    assert_eq!(marks(&pair, ALICE), [(BOB, mine[1], mine[1])]);
    assert_eq!(marks(&pair, EVE), [(BOB, others[1], MessageId(0))]);
    // What an entry of before has shown is no more than that either.
    let old = rusqlite::Connection::open(pair.path("a")).unwrap();
    old.execute("UPDATE members SET shown_up_to = ?1", [others[2].0.cast_signed()]).unwrap();
    let after =
        Readers::new(&pair.path("a")).read(|reader| reader.conversations(ALICE, MessageId(u64::MAX), 1));
    assert_eq!(after.unwrap()[0].seen_up_to, mine[1]);
    // Nothing more of hers was seen: nothing is shown.
    old.execute("UPDATE members SET shown_up_to = ?1", [mine[1].0.cast_signed()]).unwrap();
    let own = pair.send(2, ALICE);
    pair.run(signed(2, SignedAction::MarkSeen { with: ALICE, up_to: last })).unwrap();
    pair.run(signed(2, SignedAction::MarkSeen { with: ALICE, up_to: own })).unwrap();
    assert!(matches!(pair.facts.last(), Some(Fact::ConversationSeen { shown_up_to: None, .. })));
}

#[test]
fn nothing_is_read_of_an_account_that_has_written_nothing() {
    let mut pair = Pair::new();
    let to_bob = pair.send(1, BOB);
    let before = pair.primary.state().applied;
    let nothing = Ok(Answer::ConversationSeen { up_to: MessageId(0) });
    for with in [BOB, EVE, ALICE] {
        assert_eq!(pair.run(signed(1, SignedAction::MarkSeen { with, up_to: to_bob })), nothing, "{with:?}");
    }
    assert_eq!(pair.primary.state().applied, before, "an entry was made");
}
