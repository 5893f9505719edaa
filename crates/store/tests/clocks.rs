//! What a wrong clock does to a store: nothing that outlasts it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::{
    AccountId, Action, Answer, Fact, HistoryId, Limits, MessageId, MessageText, Millis, NameRules,
    PasswordHash, Recipient, Record, Refusal, Request, RequestId, RequestMark, SealedToken, TokenHash,
    UserName,
};
use protocol::{Entry, Position, Time};
use store::{
    Compared, Context, LogRetention, Reader, TABLES, Writer, compare_slice, open_existing_read_only,
};
use uuid::Uuid;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The right time when a test begins.
const BEGIN: Millis = Millis(1_790_000_000_000);
/// At every so many entries requests are forgotten.
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
    primary: Writer,
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
        let open = |which| Writer::open(&folder.path().join(which), LogRetention::keep(100_000)).unwrap();
        let (primary, secondary) = (open("a.db"), open("b.db"));
        Self { folder, primary, secondary, passed: 0, wrong_by: 0, primacy: 1 }
    }

    /// Alice has account 2 and session 1, by a clock that is wrong by so much.
    fn with_alice(wrong_by: i64) -> Self {
        let mut pair = Self::new();
        pair.wrong_by = wrong_by;
        pair.run(None, Action::BeginHistory).unwrap();
        let (name, password) = (name("alice"), PasswordHash("hash".into()));
        pair.run(None, Action::CreateAccount { name, password }).unwrap();
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
            in_sync: 2,
            replicas: 2,
            room: store::Room::Enough,
            limits: Limits::default(),
        }
    }

    fn batch(&mut self, requests: &[Request]) -> Vec<Result<Answer, Refusal>> {
        let context = self.context();
        let executed = self.primary.execute(requests, &context).unwrap();
        self.secondary.persist(&executed.entries).unwrap();
        self.primary.commit().unwrap();
        executed.outcomes.into_iter().flatten().collect()
    }

    fn again(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.batch(std::slice::from_ref(request)).remove(0)
    }

    /// A request whose id is dated by the service's clock.
    fn run(&mut self, session: Option<u8>, action: Action) -> Result<Answer, Refusal> {
        let request = Request { id: id(self.wall()), session: session.map(token), sequence: None, action };
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
        Request { id: id(self.wall()), session: None, sequence: None, action }
    }

    fn letter(&self, text: &str) -> Request {
        let to = Recipient::Account(AccountId(2));
        let action = Action::SendMessage { to, text: MessageText::parse(text).unwrap(), min_copies: 0 };
        Request { id: id(self.right()), session: Some(token(1)), sequence: None, action }
    }

    /// Goes on until requests are forgotten the next time, in one batch, with letters dated now.
    fn fill(&mut self) {
        let left = TIDY_EVERY - self.primary.identity().position.op.0 % TIDY_EVERY;
        let letters: Vec<_> = (0..left).map(|_| self.letter("and on")).collect();
        for outcome in self.batch(&letters) {
            outcome.unwrap();
        }
    }

    fn assert_same(&self) {
        let paths = ["a.db", "b.db"].map(|name| self.folder.path().join(name));
        let [one, other] = paths.each_ref().map(|path| open_existing_read_only(path).unwrap());
        let (one, other) = (Reader::on(&one, &paths[0]), Reader::on(&other, &paths[1]));
        for table in &TABLES {
            let compared = compare_slice(&one, &other, table, None, 1_000_000).unwrap();
            assert!(matches!(compared, Compared::Same(None)), "{}: {compared:?}", table.name);
        }
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
        session: Some(token(1)),
        action: Action::SetReadMarks { shown: place % 2 == 0 },
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

/// A log as the version before wrote it: its times never ran backwards, and its replicas forgot by them.
struct OldLog {
    end: Position,
    entries: Vec<Entry<Record>>,
}

impl OldLog {
    fn new(begin: Millis) -> Self {
        let mut log = Self { end: Position::ORIGIN, entries: Vec::new() };
        log.add(
            begin,
            None,
            Fact::HistoryBegan {
                history: HistoryId(Uuid::from_u128(7)),
                forgotten: None,
                ends_sessions: false,
            },
        );
        let (name, key, password) = ("alice".into(), "alice".into(), PasswordHash("hash".into()));
        log.add(begin, None, Fact::AccountCreated { name, key, password });
        let expires_at = begin.plus(Limits::default().session_lifetime);
        log.add(
            begin,
            None,
            Fact::SessionOpened { account: AccountId(2), token: token(1), expires_at, closes: vec![] },
        );
        log
    }

    fn add(&mut self, at: Millis, request: Option<RequestMark>, fact: Fact) {
        let entry = self.end.follow(Record::new(at, request, fact));
        self.end = entry.position();
        self.entries.push(entry);
    }

    /// A letter with an id of that date, sent at that time.
    fn letter(&mut self, request: &Request, at: Millis) {
        let answer = Answer::MessageSent { id: MessageId(self.end.op.next().0), sent_at: at };
        let mark = RequestMark {
            id: request.id,
            digest: request.action.digest(),
            answer,
            session: None,
            passwords: vec![],
        };
        let Action::SendMessage { text, .. } = &request.action else { panic!("{request:?}") };
        let (from, to) = (AccountId(2), AccountId(2));
        let (from_name, to_name) = ("alice".into(), "alice".into());
        let text = text.as_str().to_owned();
        self.add(at, Some(mark), Fact::MessageSent { from, from_name, to, to_name, text });
    }

    fn persist(&self, pair: &mut Pair) {
        pair.primary.persist(&self.entries).unwrap();
        pair.secondary.persist(&self.entries).unwrap();
    }
}

#[test]
fn a_service_that_was_stopped_by_a_wrong_clock_heals_by_itself() {
    // In the first case nothing was deleted by the wrong time; in the second everything was.
    for (case, letters) in [("nothing was forgotten", 10), ("all was forgotten", TIDY_EVERY)] {
        let mut pair = Pair::new();
        let mut log = OldLog::new(BEGIN);
        let before = pair.letter("before");
        log.letter(&before, BEGIN);
        let wrong = shifted(BEGIN, 40 * DAY);
        for _ in 0..letters {
            log.letter(&Request { id: id(wrong), ..pair.letter("while it was wrong") }, wrong);
        }
        log.persist(&mut pair);
        pair.passed += MINUTE;
        let sent = pair.again(&pair.letter("after"));
        assert!(matches!(sent, Ok(Answer::MessageSent { .. })), "{case}: {sent:?}");
        pair.log_in(2).unwrap_or_else(|refusal| panic!("{case}: {refusal}"));
        let retried = pair.again(&before);
        if letters < TIDY_EVERY {
            assert!(
                matches!(retried, Ok(Answer::MessageSent { id: MessageId(4), .. })),
                "{case}: {retried:?}"
            );
        } else {
            assert!(matches!(retried, Err(Refusal::RequestTooOld { .. })), "{case}: not twice: {retried:?}");
        }
        pair.assert_same();
    }
}

#[test]
fn replicas_that_kept_different_parts_of_an_old_log_agree_on_what_is_forgotten() {
    let mut pair = Pair::new();
    let short = pair.folder.path().join("b.db");
    pair.secondary = Writer::open(&short, LogRetention::keep(1)).unwrap();
    let mut log = OldLog::new(shifted(BEGIN, -3 * DAY));
    for place in 0..i64::try_from(TIDY_EVERY).unwrap() * 2 {
        let at = shifted(BEGIN, -3 * DAY + place * MINUTE);
        log.letter(&Request { id: id(at), ..pair.letter("one") }, at);
    }
    log.persist(&mut pair);
    pair.again(&pair.letter("after")).unwrap();
    pair.assert_same();
    // The next primary is the one with the short log, and adds nothing of its own.
    std::mem::swap(&mut pair.primary, &mut pair.secondary);
    pair.primacy += 1;
    pair.again(&pair.letter("after")).unwrap();
    pair.assert_same();
}

#[test]
fn time_can_be_set_back_after_a_clock_was_wrong_for_so_long_that_it_was_believed() {
    let mut pair = Pair::with_alice(0);
    let before = pair.letter("before");
    pair.again(&before).unwrap();
    pair.wrong_by = 40 * DAY;
    pair.log_in(2).unwrap();
    for _ in 0..3 {
        let settings = (0..TIDY_EVERY).map(|place| Request {
            sequence: None,
            id: id(pair.wall()),
            session: Some(token(2)),
            action: Action::SetReadMarks { shown: place % 2 == 0 },
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

    let begun = pair.primary.identity().position;
    pair.primary.set_time_back(HistoryId(Uuid::from_u128(8)), pair.right()).unwrap();
    pair.primacy += 1;
    pair.passed += MINUTE;
    // A new history ends all sessions; their owners log in again.
    let login = pair.login(1);
    let sent = pair.primary.execute(&[login, pair.letter("accepted"), before], &pair.context()).unwrap();
    pair.primary.commit().unwrap();
    let right = pair.right();
    assert!(
        matches!(sent.outcomes[1], Some(Ok(Answer::MessageSent { sent_at, .. })) if sent_at == right),
        "{begun}: {:?}",
        sent.outcomes[1]
    );
    assert!(matches!(sent.outcomes[2], Some(Err(Refusal::RequestTooOld { .. }))), "{:?}", sent.outcomes[2]);
}
