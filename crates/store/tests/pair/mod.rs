//! Two databases, one written by a primary and the other by a secondary, and requests for them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use chat::{
    Action, Answer, Limits, MessageId, MessageText, Millis, NameRules, PasswordHash, Recipient, Refusal,
    Request, RequestId, SealedToken, SignedAction, TokenHash, UserName,
};
use protocol::{Op, Time};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use store::{
    AtRest, Compared, Context, DatabaseState, Decider, Executed, Readers, TABLES, Writer, compare_slice,
};
use uuid::Uuid;

pub(crate) fn context() -> Context {
    Context {
        now: Millis::of(std::time::SystemTime::now()),
        monotonic: Time::from_micros(0),
        primacy: 1,
        applied: Op(0),
        in_sync: 3,
        replicas: 3,
        room: store::Room::Enough,
        limits: Limits::default(),
    }
}

pub(crate) fn name(name: &str) -> UserName {
    UserName::parse(name, &NameRules::default()).unwrap()
}

pub(crate) fn request(action: Action) -> Request {
    Request { id: RequestId(Uuid::now_v7()), sequence: None, action }
}

/// What is asked for in a session, by its number.
pub(crate) fn signed(session: u8, action: SignedAction) -> Request {
    request(Action::Signed { session: TokenHash([session; 32]), action })
}

pub(crate) fn create(who: &str) -> Request {
    request(Action::CreateAccount { name: name(who), password: PasswordHash(format!("hash of {who}")) })
}

pub(crate) fn open_session(account: chat::AccountId, who: &str, token: u8) -> Request {
    let expires_at = context().now.plus(Limits::default().session_lifetime);
    let verified = PasswordHash(format!("hash of {who}"));
    let sealed = SealedToken(format!("sealed {token}"));
    request(Action::OpenSession { account, verified, token: TokenHash([token; 32]), sealed, expires_at })
}

pub(crate) fn send(session: u8, to: &str, text: &str) -> Request {
    let text = MessageText::parse(text).unwrap();
    signed(session, SignedAction::SendMessage { to: Recipient::Named(name(to)), text, min_copies: 0 })
}

pub(crate) fn message_id(outcome: &Result<Answer, Refusal>) -> MessageId {
    match outcome {
        Ok(Answer::MessageSent { id, .. }) => *id,
        other => panic!("{other:?}"),
    }
}

/// Decides requests as a primary does whose tables show everything, and applies nothing.
pub(crate) fn decided(writer: &Writer, requests: &[Request]) -> Executed {
    let context = Context { applied: writer.state().applied.op, ..context() };
    let executed = Decider::new(Arc::new(Readers::new(writer.path()))).decide(requests, &context).unwrap();
    assert_eq!(executed.outcomes.len(), requests.len(), "a barrier is the last of its batch");
    executed
}

/// A database with what decides on it.
pub(crate) struct Primary {
    writer: Writer,
    readers: Arc<Readers>,
    decider: Decider,
}

impl Primary {
    pub(crate) fn open(path: &Path) -> Self {
        Self::on(Writer::open(path).unwrap())
    }

    pub(crate) fn on(writer: Writer) -> Self {
        let readers = Arc::new(Readers::new(writer.path()));
        Self { writer, decider: Decider::new(readers.clone()), readers }
    }

    /// It goes on as another process would, which knows what the tables show.
    pub(crate) fn begin_anew(&mut self) {
        self.decider = Decider::new(self.readers.clone());
    }

    pub(crate) fn repair(&mut self) -> DatabaseState {
        self.readers.while_closed(|| self.writer.repair()).unwrap()
    }
}

impl Deref for Primary {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Primary {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

/// Decides a batch and applies it, in as many batches as its barriers make of it.
pub(crate) fn decide(primary: &mut Primary, requests: &[Request], context: &Context) -> Executed {
    let mut all = Executed { entries: Vec::new(), outcomes: Vec::new(), barrier: false };
    loop {
        let context = Context { applied: primary.state().applied.op, ..*context };
        let left = &requests[all.outcomes.len()..];
        let Executed { entries, outcomes, barrier } = primary.decider.decide(left, &context).unwrap();
        primary.apply(&entries).unwrap();
        all.entries.extend(entries);
        all.outcomes.extend(outcomes);
        all.barrier = barrier;
        if all.outcomes.len() == requests.len() {
            return all;
        }
    }
}

/// Decides requests, each in a batch of its own, and applies the entries at the secondary too.
pub(crate) fn run(
    primary: &mut Primary,
    secondary: &mut Writer,
    requests: &[Request],
) -> Vec<Result<Answer, Refusal>> {
    let mut outcomes = Vec::new();
    for one in requests {
        let executed = decide(primary, std::slice::from_ref(one), &context());
        secondary.apply(&executed.entries).unwrap();
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
    pub(crate) primary: Primary,
    pub(crate) secondary: Writer,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let primary = Primary::open(&folder.path().join("a/chat.db"));
        let secondary = Writer::open(&folder.path().join("b/chat.db")).unwrap();
        Self { folder, primary, secondary }
    }

    /// Alice has session 1, bob session 2.
    pub(crate) fn with_two_people() -> Self {
        let mut pair = Self::new();
        let begun = pair.run(&[request(Action::BeginHistory), create("alice"), create("bob")]);
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
    let (one, other) = (AtRest::open(a).unwrap(), AtRest::open(b).unwrap());
    TABLES.iter().find_map(|table| match compare_slice(&one, &other, table, None, 1_000_000).unwrap() {
        Compared::Same(more) => {
            assert_eq!(more, None, "a test has few rows");
            None
        }
        Compared::Different(difference) => Some(difference.to_string()),
    })
}
