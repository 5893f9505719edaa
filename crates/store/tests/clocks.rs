//! What a wrong clock does to a store: nothing that outlasts it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{
    AccountId, Action, Answer, HistoryId, Limits, MessageText, Millis, NameRules, PasswordHash, Recipient,
    Refusal, Request, RequestId, SealedToken, SignedAction, TokenHash, UserName,
};
use pair::{Primary, decide, difference};
use protocol::Time;
use store::{Context, Writer};
use uuid::Uuid;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The right time when a test begins.
const BEGIN: Millis = Millis(1_790_000_000_000);
/// Requests are forgotten whenever this many entries were added.
const TIDY_EVERY: u64 = 1024;

fn shifted(time: Millis, by: i64) -> Millis {
    Millis(time.0.saturating_add_signed(by))
}

fn id(dated: Millis) -> RequestId {
    let seconds = uuid::Timestamp::from_unix(
        uuid::NoContext,
        dated.0 / 1000,
        u32::try_from(dated.0 % 1000).unwrap() * 1_000_000,
    );
    RequestId(Uuid::new_v7(seconds))
}

/// A primary and a secondary whose clocks are set by the test.
struct Pair {
    folder: tempfile::TempDir,
    primary: Primary,
    secondary: Writer,
    /// Milliseconds since the beginning.
    passed: i64,
    /// By how much the wall clock is wrong.
    wrong_by: i64,
    primacy: u64,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |which| Writer::open(&folder.path().join(which)).unwrap();
        let (primary, secondary) = (Primary::on(open("a.db")), open("b.db"));
        Self { folder, primary, secondary, passed: 0, wrong_by: 0, primacy: 1 }
    }

    /// Alice has account 2 and session 1, by a clock that is wrong by so much.
    fn with_alice(wrong_by: i64) -> Self {
        let mut pair = Self::new();
        pair.wrong_by = wrong_by;
        pair.run(Action::BeginHistory).unwrap();
        let (name, password) = (name("alice"), PasswordHash("hash".into()));
        pair.run(Action::CreateAccount { name, password }).unwrap();
        pair.log_in(1).unwrap();
        pair
    }

    fn right(&self) -> Millis {
        shifted(BEGIN, self.passed)
    }

    fn wall(&self) -> Millis {
        shifted(self.right(), self.wrong_by)
    }

    fn context(&self) -> Context {
        Context {
            now: self.wall(),
            monotonic: Time::from_micros(self.passed.cast_unsigned() * 1000),
            primacy: self.primacy,
            applied: protocol::Op(0),
            in_sync: 2,
            replicas: 2,
            room: store::Room::Enough,
            limits: Limits::default(),
        }
    }

    fn batch(&mut self, requests: &[Request]) -> Vec<Result<Answer, Refusal>> {
        let context = self.context();
        let executed = decide(&mut self.primary, requests, &context);
        self.secondary.apply(&executed.entries).unwrap();
        executed.outcomes.into_iter().flatten().collect()
    }

    fn again(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.batch(std::slice::from_ref(request)).remove(0)
    }

    /// A request whose id is dated by the service's clock.
    fn run(&mut self, action: Action) -> Result<Answer, Refusal> {
        let request = Request { id: id(self.wall()), sequence: None, action };
        self.again(&request)
    }

    fn log_in(&mut self, session: u8) -> Result<Answer, Refusal> {
        let request = self.login(session);
        self.again(&request)
    }

    fn login(&self, session: u8) -> Request {
        let action = Action::OpenSession {
            account: AccountId(2),
            verified: PasswordHash("hash".into()),
            token: token(session),
            sealed: SealedToken(String::new()),
            expires_at: self.wall().plus(Limits::default().session_lifetime),
        };
        Request { id: id(self.wall()), sequence: None, action }
    }

    fn letter(&self, text: &str) -> Request {
        let to = Recipient::Account(AccountId(2));
        let action = SignedAction::SendMessage { to, text: MessageText::parse(text).unwrap(), min_copies: 0 };
        Request { id: id(self.right()), sequence: None, action: Action::Signed { session: token(1), action } }
    }

    /// Goes on until requests are forgotten the next time, in one batch, with letters dated now.
    fn fill(&mut self) {
        let left = TIDY_EVERY - self.primary.state().applied.op.0 % TIDY_EVERY;
        let letters: Vec<_> = (0..left).map(|_| self.letter("and on")).collect();
        for outcome in self.batch(&letters) {
            outcome.unwrap();
        }
    }

    fn assert_same(&self) {
        let paths = ["a.db", "b.db"].map(|name| self.folder.path().join(name));
        assert_eq!(difference(&paths[0], &paths[1]), None);
    }
}

fn token(session: u8) -> TokenHash {
    TokenHash([session; 32])
}

fn name(name: &str) -> UserName {
    UserName::parse(name, &NameRules::default()).unwrap()
}

#[test]
fn a_clock_that_was_wrong_for_a_moment_leaves_nothing_behind() {
    for wrong_by in [-4000 * DAY, -40 * DAY, -2 * DAY, -HOUR, HOUR, 2 * DAY, 40 * DAY, 4000 * DAY] {
        let mut pair = Pair::with_alice(0);
        let before = pair.letter("before");
        let first = pair.again(&before).unwrap();
        pair.passed += MINUTE;
        pair.wrong_by = wrong_by;
        pair.log_in(2).unwrap();
        pair.passed += MINUTE;
        pair.wrong_by = 0;
        let after = pair.letter("after");
        pair.again(&after).unwrap_or_else(|refusal| panic!("{wrong_by}: {refusal}"));
        assert_eq!(pair.again(&before).unwrap(), first, "{wrong_by}: the retry of what was sent before");
        pair.log_in(3).unwrap();
        pair.assert_same();
    }
}

#[test]
fn a_first_start_with_a_wrong_clock_works_at_once_when_it_is_right() {
    for wrong_by in [-4000 * DAY, -40 * DAY, 40 * DAY, 4000 * DAY] {
        let mut pair = Pair::with_alice(wrong_by);
        pair.passed += HOUR;
        for session in 2..50 {
            pair.log_in(session).unwrap();
        }
        pair.wrong_by = 0;
        pair.log_in(4).unwrap_or_else(|refusal| panic!("{wrong_by}: {refusal}"));
        pair.passed += DAY;
        pair.log_in(5).unwrap();
        pair.assert_same();
    }
}

#[test]
fn a_moment_of_a_wrong_clock_deletes_nothing_that_a_retry_needs() {
    let mut pair = Pair::with_alice(0);
    let before = pair.letter("before");
    let first = pair.again(&before).unwrap();
    pair.passed += HOUR;
    pair.again(&pair.letter("the clock runs evenly")).unwrap();
    pair.passed += MINUTE;
    pair.wrong_by = 20 * DAY;
    let settings = (0..2 * TIDY_EVERY).map(|place| Request {
        sequence: None,
        id: id(pair.wall()),
        action: Action::Signed {
            session: token(1),
            action: SignedAction::ShowSeen { shown: place % 2 == 0 },
        },
    });
    let settings: Vec<_> = settings.collect();
    for outcome in pair.batch(&settings) {
        outcome.unwrap();
    }
    pair.passed += MINUTE;
    pair.wrong_by = 0;
    assert_eq!(pair.again(&before).unwrap(), first, "it is remembered, and takes no effect again");
    pair.assert_same();
}

#[test]
fn requests_are_forgotten_after_a_day_and_refused_from_then_on() {
    let mut pair = Pair::with_alice(0);
    let old = pair.letter("old");
    pair.again(&old).unwrap();
    pair.passed += 2 * DAY;
    pair.fill();
    pair.passed += HOUR;
    pair.fill();
    pair.assert_same();
    // The clock is wrong by as much as the letter is old: by the clock alone it would be a new one.
    pair.wrong_by = -pair.passed;
    let refused = pair.again(&old);
    assert!(matches!(refused, Err(Refusal::RequestTooOld { .. })), "{refused:?}");
    pair.wrong_by = 0;
    let refused = pair.again(&old);
    assert!(matches!(refused, Err(Refusal::RequestTooOld { .. })), "{refused:?}");
}

#[test]
fn whose_a_session_was_is_known_for_as_long_as_its_requests_are() {
    let mut pair = Pair::with_alice(0);
    pair.passed += DAY / 2;
    pair.log_in(2).unwrap();
    let letter = pair.letter("by a session that ends");
    let Action::Signed { action, .. } = letter.action.clone() else { unreachable!() };
    let letter = Request { action: Action::Signed { session: token(2), action }, ..letter };
    let sent = pair.again(&letter).unwrap();
    pair.run(Action::Signed { session: token(2), action: SignedAction::CloseSession }).unwrap();
    let count = |pair: &Pair, of: &str| -> i64 {
        let connection = rusqlite::Connection::open(pair.folder.path().join("a.db")).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).unwrap()
    };
    let first_ones = "requests WHERE id <= (SELECT last_request FROM ended_sessions) AND account IS NULL";
    assert_eq!(count(&pair, first_ones), 4, "the history, the account and two sessions");
    pair.passed += DAY / 2 + HOUR;
    pair.fill();
    pair.passed += HOUR;
    pair.fill();
    assert_eq!(count(&pair, first_ones), 1, "those of the first hour are forgotten");
    assert_eq!((count(&pair, "ended_sessions"), pair.again(&letter)), (1, Ok(sent)));
    pair.passed += DAY / 2;
    pair.fill();
    pair.passed += HOUR;
    pair.fill();
    assert_eq!(count(&pair, "ended_sessions"), 0);
    pair.assert_same();
}

#[test]
fn a_session_is_judged_by_the_clock_of_now() {
    let mut pair = Pair::with_alice(0);
    pair.passed += MINUTE;
    pair.wrong_by = 40 * DAY;
    let request = Request { id: id(pair.wall()), ..pair.letter("by the wrong clock") };
    assert_eq!(pair.again(&request), Err(Refusal::SessionInvalid));
    for session in 2..5 {
        pair.log_in(session).unwrap();
    }
    pair.wrong_by = 0;
    let sent = pair.again(&pair.letter("the session was only thought to be over"));
    assert!(matches!(sent, Ok(Answer::MessageSent { .. })), "{sent:?}");
    pair.passed += 31 * DAY;
    assert_eq!(pair.again(&pair.letter("a month later it is over")), Err(Refusal::SessionInvalid));
}

#[test]
fn time_can_be_set_back_after_a_clock_was_wrong_for_days_and_believed() {
    let mut pair = Pair::with_alice(0);
    let before = pair.letter("before");
    pair.again(&before).unwrap();
    pair.wrong_by = 40 * DAY;
    pair.log_in(2).unwrap();
    for _ in 0..3 {
        let settings = (0..TIDY_EVERY).map(|place| Request {
            sequence: None,
            id: id(pair.wall()),
            action: Action::Signed {
                session: token(2),
                action: SignedAction::ShowSeen { shown: place % 2 == 0 },
            },
        });
        let settings: Vec<_> = settings.collect();
        for outcome in pair.batch(&settings) {
            outcome.unwrap();
        }
        pair.passed += DAY + HOUR;
    }
    pair.wrong_by = 0;
    let refused = pair.again(&pair.letter("refused"));
    assert!(matches!(refused, Err(Refusal::RequestTooOld { .. })), "{refused:?}");

    let begun = pair.primary.state().applied;
    let back = pair.primary.set_time_back(HistoryId(Uuid::from_u128(8)), pair.right()).unwrap();
    pair.primary.apply(&[back]).unwrap();
    pair.primacy += 1;
    pair.passed += MINUTE;
    // A new history ends all sessions; their owners log in again.
    let login = pair.login(1);
    let batch = [login, pair.letter("accepted"), before];
    let context = pair.context();
    let sent = decide(&mut pair.primary, &batch, &context);
    let right = pair.right();
    assert!(
        matches!(sent.outcomes[1], Some(Ok(Answer::MessageSent { sent_at, .. })) if sent_at == right),
        "{begun}: {:?}",
        sent.outcomes[1]
    );
    assert!(matches!(sent.outcomes[2], Some(Err(Refusal::RequestTooOld { .. }))), "{:?}", sent.outcomes[2]);
}
