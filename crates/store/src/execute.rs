//! Executing requests: the one place where what people want meets what is, inside the primary's open transaction.
//!
//! A request is a retry (it gets its first answer), is refused (it changes nothing), or becomes a fact. Each sees the
//! effects of those before it in the batch.

use crate::apply::apply;
use crate::columns::unsigned;
use crate::error::StoreError;
use crate::forgotten::{forgettable, forgotten_by_entry_times};
use crate::log_table::{DatabaseState, history};
use crate::looks;
use crate::lookups::{Caller, Living, Lookups};
use crate::requests;
use crate::retention::{LogRetention, TIDY_EVERY};
use crate::stop::Stop;
use chat::{
    AccountId, Action, Answer, Fact, HistoryId, Limits, MessageId, Millis, REMEMBERING, Recipient, Record,
    Refusal, Request, RequestId, RequestMark, SESSIONS_AN_ACCOUNT_MAX, Sequence, SessionId,
};
use protocol::{Entry, Forgetting, Op, Position, Time, Verdict, WallTime};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// What a batch is executed under.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The primary's wall clock: every age is judged by it.
    pub now: Millis,
    /// The primary's monotonic clock.
    pub monotonic: Time,
    /// Which primacy of this process it is: how far requests may be forgotten is found anew in each.
    pub primacy: u64,
    /// How many replicas will hold the batch.
    pub in_sync: usize,
    /// How many are configured.
    pub replicas: usize,
    /// Whether the disk has room for what people write.
    pub room: Room,
    /// What the operator has set.
    pub limits: Limits,
}

/// How much room is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Enough,
    /// Too little, and whether another replica has more will be known in a moment.
    Undecided,
    /// Too little.
    TooLittle,
}

/// What a batch came to, while its transaction is open.
#[derive(Debug)]
pub struct Executed {
    /// The entries, following the position before the batch.
    pub entries: Vec<Entry<Record>>,
    /// What each request is to be told once the batch is committed, in the order of the requests. One without an outcome
    /// was passed over, because its sequence is broken.
    pub outcomes: Vec<Option<Result<Answer, Refusal>>>,
}

enum Decision {
    /// Something happens; the answer may name the op that it gets. The request came from that session, if from any.
    Happens(Fact, Answer, Option<SessionId>),
    /// Nothing happens, and this is the answer.
    Nothing(Answer),
}

type Stopped = Stop<rusqlite::Error>;
type Decided = Result<Decision, Stopped>;

pub(crate) fn execute(
    connection: &Connection,
    path: &Path,
    requests: &[Request],
    start: &DatabaseState,
    context: &Context,
    retention: &LogRetention,
    permission: &mut Option<(u64, Forgetting)>,
) -> Result<Executed, StoreError> {
    let sql = StoreError::sqlite(path);
    // Time in entries never runs backwards, whatever the clocks of successive primaries do. It is for people's eyes.
    let at = context.now.max(start.last_at);
    let mut end = start.position;
    let mut entries = Vec::new();
    let mut outcomes = Vec::with_capacity(requests.len());
    let lookups = &mut Lookups::new(connection);
    let happen = |lookups: &mut Lookups<'_>,
                  record,
                  end: &mut Position,
                  entries: &mut Vec<Entry<Record>>|
     -> Result<(), StoreError> {
        let entry = end.follow(record);
        apply(lookups, &entry, retention).map_err(&sql)?;
        *end = entry.position();
        entries.push(entry);
        Ok(())
    };
    let known = lookups.forgotten().map_err(&sql)?;
    if known.is_none() && history(connection).map_err(&sql)?.is_some() {
        let before = forgotten_by_entry_times(connection).map_err(&sql)?;
        let fact = Fact::RequestsForgotten { before };
        happen(lookups, Record::new(at, None, fact), &mut end, &mut entries)?;
    }
    let may_forget = look(permission, known.unwrap_or_default(), context);
    for request in requests {
        if request.sequence.as_ref().is_some_and(Sequence::is_broken) {
            outcomes.push(None);
            continue;
        }
        let decided = decide(lookups, request, end.op.next(), at, context)
            .and_then(|decision| enough_room(decision, context.room));
        let decided = Stop::refusal_as_answer(decided).map_err(&sql)?;
        let outcome = match decided {
            Ok(Decision::Happens(fact, answer, session)) => {
                let mark = RequestMark {
                    id: request.id,
                    digest: request.action.digest(),
                    answer: answer.clone(),
                    session,
                    passwords: request.action.passwords(),
                };
                happen(lookups, Record::new(at, Some(mark), fact), &mut end, &mut entries)?;
                Ok(answer)
            }
            Ok(Decision::Nothing(answer)) => Ok(answer),
            Err(refusal) => {
                if let (Some(sequence), false) = (&request.sequence, refusal.is_for_the_request_alone()) {
                    sequence.break_off();
                }
                Err(refusal)
            }
        };
        outcomes.push(Some(outcome));
    }
    if entries.iter().any(|entry| entry.op.0.is_multiple_of(TIDY_EVERY))
        && let Some(fact) = forgettable(connection, may_forget).map_err(&sql)?
    {
        happen(lookups, Record::new(at, None, fact), &mut end, &mut entries)?;
    }
    Ok(Executed { entries, outcomes })
}

/// The date before which this primacy may forget requests now.
fn look(permission: &mut Option<(u64, Forgetting)>, forgotten: Millis, context: &Context) -> WallTime {
    let (now, wall) = (context.monotonic, WallTime(context.now.0));
    let begun = permission.filter(|(primacy, _)| *primacy == context.primacy);
    let mut forgetting = begun
        .map_or_else(|| Forgetting::begin(WallTime(forgotten.0), now, wall), |(_, forgetting)| forgetting);
    let may_forget = forgetting.look(now, wall, &REMEMBERING);
    *permission = Some((context.primacy, forgetting));
    may_forget
}

/// Whether a request that is not remembered may take effect, by its date.
fn check_date(lookups: &mut Lookups<'_>, id: RequestId, now: Millis) -> Result<(), Stopped> {
    let dated = id.dated().ok_or(Refusal::RequestIdInvalid)?;
    let forgotten = lookups.forgotten()?.unwrap_or_default();
    let (date, wall) = (WallTime(dated.0), WallTime(now.0));
    let by = date.apart(wall);
    match REMEMBERING.judge(date, wall, WallTime(forgotten.0)) {
        Verdict::New => Ok(()),
        Verdict::TooOld => Err(Refusal::RequestTooOld { by }.into()),
        Verdict::TooEarly => Err(Refusal::RequestTooEarly { by }.into()),
    }
}

/// `next` is the op that the request's entry gets, if it gets one.
fn decide(lookups: &mut Lookups<'_>, request: &Request, next: Op, at: Millis, context: &Context) -> Decided {
    let connection = lookups.connection;
    if matches!(request.action, Action::BeginHistory) {
        return Ok(if history(connection)?.is_some() {
            Decision::Nothing(Answer::HistoryBegun)
        } else {
            let (history, forgotten) = (HistoryId(uuid::Uuid::new_v4()), Some(Millis(0)));
            let fact = Fact::HistoryBegan { history, forgotten, ends_sessions: true };
            Decision::Happens(fact, Answer::HistoryBegun, None)
        });
    }
    // Before anything else: the retry of a logout comes from a session that is gone, and still gets its answer.
    if let Some(answer) = retry(lookups, request, context.now)? {
        return Ok(Decision::Nothing(answer));
    }
    check_date(lookups, request.id, context.now)?;
    enough_copies(request, context)?;
    match &request.action {
        Action::BeginHistory => unreachable!("decided above"),
        Action::CreateAccount { name, password } => {
            if lookups.living(name)?.is_some() {
                return Err(Refusal::NameTaken { name: name.shown().into() }.into());
            }
            if context.limits.refuse_lookalike_names && looks::taken(connection, name)? {
                return Err(Refusal::NameLooksTaken { name: name.shown().into() }.into());
            }
            let (name, key) = (name.shown().to_owned(), name.key().to_owned());
            let fact = Fact::AccountCreated { name, key, password: password.clone() };
            Ok(Decision::Happens(fact, Answer::AccountCreated { account: AccountId(next.0) }, None))
        }
        Action::OpenSession { account, verified, token, sealed, expires_at } => {
            if password_of(connection, *account)?.as_deref() != Some(&verified.0) {
                return Err(Refusal::WrongCredentials.into());
            }
            let (account, expires_at) = (*account, *expires_at);
            let closes = closed_by_one_more(connection, account)?;
            let fact = Fact::SessionOpened { account, token: *token, expires_at, closes };
            let (session, sealed) = (SessionId(next.0), Some(sealed.clone()));
            let answer = Answer::SessionOpened { session, account, expires_at, sealed };
            Ok(Decision::Happens(fact, answer, None))
        }
        action => {
            let caller = lookups.caller(request.session, context.now)?;
            decide_signed_in(lookups, &caller, action, next, at)
        }
    }
}

fn decide_signed_in(
    lookups: &mut Lookups<'_>,
    caller: &Caller,
    action: &Action,
    next: Op,
    at: Millis,
) -> Decided {
    let (connection, account) = (lookups.connection, caller.account);
    let happens = |fact, answer| Decision::Happens(fact, answer, Some(caller.session));
    let decision = match action {
        Action::BeginHistory | Action::CreateAccount { .. } | Action::OpenSession { .. } => {
            unreachable!("needs no session")
        }
        Action::CloseSession => {
            happens(Fact::SessionClosed { session: caller.session }, Answer::SessionClosed)
        }
        Action::DeleteAccount { verified } | Action::ChangePassword { verified, .. }
            if password_of(connection, account)?.as_deref() != Some(&verified.0) =>
        {
            return Err(Refusal::WrongCredentials.into());
        }
        Action::DeleteAccount { .. } => happens(Fact::AccountDeleted { account }, Answer::AccountDeleted),
        Action::ChangePassword { password, .. } => {
            let fact = Fact::PasswordChanged { account, password: password.clone(), keep: caller.session };
            happens(fact, Answer::PasswordChanged)
        }
        Action::SendMessage { to, text, .. } => {
            let (recipient, to_name) = match to {
                Recipient::Named(name) => lookups
                    .living(name)?
                    .ok_or_else(|| Refusal::NoSuchAccount { name: name.shown().to_owned() })?,
                Recipient::Account(id) => living_account(connection, *id)?.ok_or(Refusal::AccountGone)?,
            };
            let fact = Fact::MessageSent {
                from: account,
                from_name: caller.name.clone(),
                to: recipient,
                to_name,
                text: text.as_str().to_owned(),
            };
            happens(fact, Answer::MessageSent { id: MessageId(next.0), sent_at: at })
        }
        Action::Acknowledge { up_to } if up_to.0 >= next.0 => return Err(Refusal::HistoryReplaced.into()),
        Action::Acknowledge { up_to } if *up_to <= caller.acknowledged => {
            Decision::Nothing(Answer::Acknowledged { up_to: caller.acknowledged })
        }
        Action::Acknowledge { up_to } => {
            let fact = Fact::MessagesAcknowledged { account, up_to: *up_to };
            happens(fact, Answer::Acknowledged { up_to: *up_to })
        }
        Action::MarkRead { up_to, .. } if up_to.0 >= next.0 => return Err(Refusal::HistoryReplaced.into()),
        Action::MarkRead { with, up_to } => return decide_read(connection, caller, *with, *up_to),
        Action::SetReadMarks { shown } => {
            let answer = Answer::ReadMarksSet { shown: *shown };
            if shows_reads(connection, account)? == Some(*shown) {
                Decision::Nothing(answer)
            } else {
                happens(Fact::ReadMarksSet { account, shown: *shown }, answer)
            }
        }
    };
    Ok(decision)
}

/// The account has seen a conversation up to a message. Where the other side has written nothing, there is nothing to be
/// seen, and nothing happens.
fn decide_read(connection: &Connection, caller: &Caller, with: AccountId, up_to: MessageId) -> Decided {
    let account = caller.account;
    let Some(they_show) = shows_reads(connection, with)? else {
        return Err(Refusal::NoSuchAccount { name: format!("#{}", with.0) }.into());
    };
    let (seen, shown_before) = read_up_to(connection, account, with)?;
    let Some(theirs) = last_message(connection, with, account, up_to)?.filter(|_| up_to > seen) else {
        return Ok(Decision::Nothing(Answer::ConversationRead { up_to: seen }));
    };
    let shown = theirs > shown_before && they_show && shows_reads(connection, account)? == Some(true);
    let shown_up_to = shown.then_some(theirs);
    let fact = Fact::ConversationRead { account, with, up_to, shown, shown_up_to };
    Ok(Decision::Happens(fact, Answer::ConversationRead { up_to }, Some(caller.session)))
}

/// The answer of a request that took effect, for the caller that made it and repeats it; others learn only that the id is
/// taken.
fn retry(lookups: &mut Lookups<'_>, request: &Request, now: Millis) -> Result<Option<Answer>, Stopped> {
    let Some(kept) = requests::find(lookups.connection, request.id)? else { return Ok(None) };
    if !kept.belongs_to(None, request.session) {
        let caller = lookups.caller(request.session, now)?;
        if !kept.belongs_to(Some(caller.account), None) {
            return Err(Refusal::RequestIdReused.into());
        }
    }
    let same_passwords = kept.passwords.is_empty() || kept.passwords == request.action.passwords();
    if kept.digest != request.action.digest() || !same_passwords {
        return Err(Refusal::RequestIdReused.into());
    }
    Ok(Some(kept.answer))
}

/// Without room nothing new happens; a history begins all the same, as nothing can be read before.
fn enough_room(decision: Decision, room: Room) -> Decided {
    match (&decision, room) {
        (Decision::Happens(Fact::HistoryBegan { .. }, ..) | Decision::Nothing(_), _) | (_, Room::Enough) => {
            Ok(decision)
        }
        (Decision::Happens(..), Room::Undecided) => Err(Refusal::Busy.into()),
        (Decision::Happens(..), Room::TooLittle) => Err(Refusal::DiskFull.into()),
    }
}

fn enough_copies(request: &Request, context: &Context) -> Result<(), Refusal> {
    let asked = match &request.action {
        Action::SendMessage { min_copies, .. } => *min_copies,
        _ => 0,
    };
    if asked > context.replicas {
        return Err(Refusal::TooManyCopies { wanted: asked, replicas: context.replicas });
    }
    let wanted = request.copies_wanted(&context.limits);
    if context.in_sync < wanted {
        return Err(Refusal::TooFewInSync { in_sync: context.in_sync, wanted });
    }
    Ok(())
}

fn living_account(connection: &Connection, account: AccountId) -> Result<Option<Living>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT name FROM accounts WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([account.0.cast_signed()], |row| Ok((account, row.get(0)?)))
        .optional()
}

fn password_of(connection: &Connection, account: AccountId) -> Result<Option<String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT password FROM accounts WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([account.0.cast_signed()], |row| row.get(0))
        .optional()
}

/// Whether an account, living or not, lets others know what it has seen; `None` if there never was one.
fn shows_reads(connection: &Connection, account: AccountId) -> Result<Option<bool>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT shows_reads FROM accounts WHERE id = ?1")?
        .query_row([account.0.cast_signed()], |row| row.get(0))
        .optional()
}

/// What an account has seen of a conversation, and how much of that the other side knows.
fn read_up_to(
    connection: &Connection,
    account: AccountId,
    with: AccountId,
) -> Result<(MessageId, MessageId), rusqlite::Error> {
    let up_to = connection
        .prepare_cached("SELECT up_to, shown_up_to FROM reads WHERE account = ?1 AND peer = ?2")?
        .query_row(params![account.0.cast_signed(), with.0.cast_signed()], |row| {
            Ok((MessageId(unsigned(row, 0)?), MessageId(unsigned(row, 1)?)))
        })
        .optional()?;
    Ok(up_to.unwrap_or_default())
}

/// The last message from one account to another, up to a place. Index: `messages_conversation`.
fn last_message(
    connection: &Connection,
    from: AccountId,
    to: AccountId,
    up_to: MessageId,
) -> Result<Option<MessageId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT max(id) FROM messages WHERE sender = ?1 AND recipient = ?2 AND id <= ?3")?
        .query_row([from.0, to.0, up_to.0].map(u64::cast_signed), |row| row.get::<_, Option<i64>>(0))
        .map(|id| id.map(|id| MessageId(id.cast_unsigned())))
}

/// The sessions of an account that end when one more is opened: the oldest beyond what an account can have. Whether they have
/// expired is not asked: a clock that is wrong for a moment must not end any that has not. Index: `sessions_account`.
fn closed_by_one_more(
    connection: &Connection,
    account: AccountId,
) -> Result<Vec<SessionId>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT id FROM sessions WHERE account = ?1 AND id NOT IN
             (SELECT id FROM sessions WHERE account = ?1 ORDER BY id DESC LIMIT ?2)
             ORDER BY id",
        )?
        .query_map(params![account.0.cast_signed(), SESSIONS_AN_ACCOUNT_MAX - 1], |row| {
            unsigned(row, 0).map(SessionId)
        })?
        .collect()
}
