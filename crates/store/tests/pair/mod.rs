//! Two databases, one written by a primary and the other by a secondary, and requests for them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use chat::{
    Action, Answer, Limits, MessageId, MessageText, Millis, NameRules, PasswordHash, Recipient, Refusal,
    Request, RequestId, SealedToken, TokenHash, UserName,
};
use protocol::Time;
use std::path::Path;
use store::{
    Compared, Context, LogRetention, Reader, TABLES, Writer, compare_slice, open_existing_read_only,
};
use uuid::Uuid;

pub(crate) fn context() -> Context {
    Context {
        now: Millis::of(std::time::SystemTime::now()),
        monotonic: Time::from_micros(0),
        primacy: 1,
        in_sync: 3,
        replicas: 3,
        room: store::Room::Enough,
        limits: Limits::default(),
    }
}

pub(crate) fn name(name: &str) -> UserName {
    UserName::parse(name, &NameRules::default()).unwrap()
}

pub(crate) fn request(session: Option<u8>, action: Action) -> Request {
    let session = session.map(|n| TokenHash([n; 32]));
    Request { id: RequestId(Uuid::now_v7()), session, sequence: None, action }
}

pub(crate) fn create(who: &str) -> Request {
    request(None, Action::CreateAccount { name: name(who), password: PasswordHash(format!("hash of {who}")) })
}

pub(crate) fn open_session(account: chat::AccountId, who: &str, token: u8) -> Request {
    let expires_at = context().now.plus(Limits::default().session_lifetime);
    let verified = PasswordHash(format!("hash of {who}"));
    let sealed = SealedToken(format!("sealed {token}"));
    request(
        None,
        Action::OpenSession { account, verified, token: TokenHash([token; 32]), sealed, expires_at },
    )
}

pub(crate) fn send(session: u8, to: &str, text: &str) -> Request {
    let text = MessageText::parse(text).unwrap();
    request(Some(session), Action::SendMessage { to: Recipient::Named(name(to)), text, min_copies: 0 })
}

pub(crate) fn message_id(outcome: &Result<Answer, Refusal>) -> MessageId {
    match outcome {
        Ok(Answer::MessageSent { id, .. }) => *id,
        other => panic!("{other:?}"),
    }
}

/// Executes and commits requests, each in a batch of its own, and persists the entries at the secondary.
pub(crate) fn run(
    primary: &mut Writer,
    secondary: &mut Writer,
    requests: &[Request],
) -> Vec<Result<Answer, Refusal>> {
    let mut outcomes = Vec::new();
    for one in requests {
        let executed = primary.execute(std::slice::from_ref(one), &context()).unwrap();
        secondary.persist(&executed.entries).unwrap();
        primary.commit().unwrap();
        outcomes.extend(executed.outcomes.into_iter().flatten());
    }
    outcomes
}

pub(crate) fn account(outcome: &Result<Answer, Refusal>) -> chat::AccountId {
    match outcome {
        Ok(Answer::AccountCreated { account }) => *account,
        other => panic!("{other:?}"),
    }
}

pub(crate) struct Pair {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) primary: Writer,
    pub(crate) secondary: Writer,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let primary = Writer::open(&folder.path().join("a/chat.db"), LogRetention::keep(1000)).unwrap();
        let secondary = Writer::open(&folder.path().join("b/chat.db"), LogRetention::keep(1000)).unwrap();
        Self { folder, primary, secondary }
    }

    /// Alice has session 1, bob session 2.
    pub(crate) fn with_two_people() -> Self {
        let mut pair = Self::new();
        let begun = pair.run(&[request(None, Action::BeginHistory), create("alice"), create("bob")]);
        let (alice, bob) = (account(&begun[1]), account(&begun[2]));
        for outcome in pair.run(&[open_session(alice, "alice", 1), open_session(bob, "bob", 2)]) {
            outcome.unwrap();
        }
        pair
    }

    pub(crate) fn run(&mut self, requests: &[Request]) -> Vec<Result<Answer, Refusal>> {
        run(&mut self.primary, &mut self.secondary, requests)
    }

    pub(crate) fn path(&self, which: &str) -> std::path::PathBuf {
        self.folder.path().join(which).join("chat.db")
    }

    pub(crate) fn assert_same(&self) {
        let (a, b) = (self.path("a"), self.path("b"));
        assert_eq!(difference(&a, &b), None);
    }
}

pub(crate) fn difference(a: &Path, b: &Path) -> Option<String> {
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
