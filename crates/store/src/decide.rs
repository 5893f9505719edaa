//! The rules of the chat: what becomes of a request, given what is.
//!
//! A request is a retry (it gets its first answer), is refused (it changes nothing), or becomes a fact.

use crate::caller::Caller;
use crate::context::{Context, Room};
use crate::known::Known;
use crate::stop::Stop;
use chat::{
    AccountId, Action, Answer, ConversationId, Fact, HistoryId, MessageId, Millis, Outcome, REMEMBERING,
    Recipient, Refusal, Request, RequestId, SessionId, SignedAction,
};
use protocol::{Op, Verdict, WallTime};
use std::sync::Arc;

/// What becomes of a request.
pub(crate) enum Decision {
    /// Something happens; the answer may name the op that it gets. The request came from that session, if from any.
    Happens(Fact, Answer, Option<Arc<Caller>>),
    /// Nothing happens, and this is the answer.
    Nothing(Answer),
}

type Stopped = Stop<rusqlite::Error>;
pub(crate) type Decided = Result<Decision, Stopped>;

/// `next` is the op that the request's entry gets, if it gets one; `at` is its time.
pub(crate) fn decide(
    known: &mut Known<'_>,
    request: &Request,
    next: Op,
    at: Millis,
    context: &Context,
) -> Decided {
    // A history begins without a client: each new primary asks for it, and where there is one nothing happens.
    if !matches!(request.action, Action::BeginHistory) {
        // Before anything else: the retry of a logout comes from a session that is gone, and still gets its answer.
        if let Some(answer) = retry(known, request, context.now)? {
            return Ok(Decision::Nothing(answer));
        }
        check_date(known, request.id, context.now)?;
        enough_copies(request, context)?;
    }
    let decision = match &request.action {
        Action::BeginHistory => begin_history(known)?,
        Action::CreateAccount { name, password } => {
            if known.living(name)?.is_some() {
                return Err(Refusal::NameTaken { name: name.shown().into() }.into());
            }
            if context.limits.refuse_lookalike_names && known.looks_taken(name)? {
                return Err(Refusal::NameLooksTaken { name: name.shown().into() }.into());
            }
            let (name, key) = (name.shown().to_owned(), name.key().to_owned());
            let fact = Fact::AccountCreated { name, key, password: password.clone() };
            Decision::Happens(fact, Answer::AccountCreated { account: AccountId(next.0) }, None)
        }
        Action::OpenSession { account, verified, token, sealed, expires_at } => {
            let owner = known.living_account(*account)?;
            if owner.is_none_or(|owner| owner.password != *verified) {
                return Err(Refusal::WrongCredentials.into());
            }
            let (account, expires_at) = (*account, *expires_at);
            let closes = known.closed_by_one_more(account)?;
            let fact = Fact::SessionOpened { account, token: *token, expires_at, closes };
            let (session, sealed) = (SessionId(next.0), sealed.clone());
            let answer = Answer::SessionOpened { session, account, expires_at, sealed };
            Decision::Happens(fact, answer, None)
        }
        Action::Signed { session, action } => {
            let caller = known.caller(*session, context.now)?;
            decide_signed_in(known, &caller, action, next, at)?
        }
    };
    enough_room(decision, context.room)
}

fn begin_history(known: &Known<'_>) -> Decided {
    if known.history()?.is_some() {
        return Ok(Decision::Nothing(Answer::HistoryBegun));
    }
    let (history, forgotten) = (HistoryId(uuid::Uuid::new_v4()), Some(Millis(0)));
    let fact = Fact::HistoryBegan { history, forgotten };
    Ok(Decision::Happens(fact, Answer::HistoryBegun, None))
}

fn decide_signed_in(
    known: &mut Known<'_>,
    caller: &Arc<Caller>,
    action: &SignedAction,
    next: Op,
    at: Millis,
) -> Decided {
    let account = caller.account;
    let happens = |fact, answer| Decision::Happens(fact, answer, Some(caller.clone()));
    let decision = match action {
        SignedAction::CloseSession => {
            happens(Fact::SessionClosed { session: caller.session }, Answer::SessionClosed)
        }
        SignedAction::DeleteAccount { verified } | SignedAction::ChangePassword { verified, .. }
            if known.living_account(account)?.is_none_or(|owner| owner.password != *verified) =>
        {
            return Err(Refusal::WrongCredentials.into());
        }
        SignedAction::DeleteAccount { .. } => {
            happens(Fact::AccountDeleted { account }, Answer::AccountDeleted)
        }
        SignedAction::ChangePassword { password, .. } => {
            let fact = Fact::PasswordChanged { account, password: password.clone(), keep: caller.session };
            happens(fact, Answer::PasswordChanged)
        }
        SignedAction::SendMessage { to, text, .. } => {
            let recipient = match to {
                Recipient::Named(name) => known
                    .living(name)?
                    .ok_or_else(|| Refusal::NoSuchAccount { name: name.shown().to_owned() })?,
                Recipient::Account(id) => known.living_account(*id)?.ok_or(Refusal::AccountGone)?,
            };
            let fact = Fact::MessageSent {
                conversation: ConversationId::direct(account, recipient.id),
                from: account,
                from_name: caller.name.to_string(),
                to_name: recipient.name.to_string(),
                text: text.as_str().to_owned(),
            };
            happens(fact, Answer::MessageSent { id: MessageId(next.0), sent_at: at })
        }
        SignedAction::Acknowledge { up_to } | SignedAction::MarkSeen { up_to, .. } if up_to.0 >= next.0 => {
            return Err(Refusal::HistoryReplaced.into());
        }
        SignedAction::Acknowledge { up_to } => {
            let acknowledged = known.acknowledged(account)?;
            if *up_to <= acknowledged {
                Decision::Nothing(Answer::Acknowledged { up_to: acknowledged })
            } else {
                let fact = Fact::MessagesAcknowledged { account, up_to: *up_to };
                happens(fact, Answer::Acknowledged { up_to: *up_to })
            }
        }
        SignedAction::MarkSeen { with, up_to } => return decide_seen(known, caller, *with, *up_to),
        SignedAction::ShowSeen { shown } => {
            let answer = Answer::SeenShown { shown: *shown };
            if known.account(account)?.is_some_and(|account| account.shows_reads == *shown) {
                Decision::Nothing(answer)
            } else {
                happens(Fact::SeenShown { account, shown: *shown }, answer)
            }
        }
    };
    Ok(decision)
}

/// The account has seen a conversation up to a message. Where the other side has written nothing, there is nothing to be
/// seen, and nothing happens.
fn decide_seen(known: &mut Known<'_>, caller: &Arc<Caller>, with: AccountId, up_to: MessageId) -> Decided {
    let account = caller.account;
    let Some(other) = known.account(with)? else {
        return Err(Refusal::NoSuchAccount { name: format!("#{}", with.0) }.into());
    };
    let conversation = ConversationId::direct(account, with);
    let (seen, shown_before) = known.seen(account, conversation)?;
    let Some(theirs) = known.last_sent(conversation, with, up_to)?.filter(|_| up_to > seen) else {
        return Ok(Decision::Nothing(Answer::ConversationSeen { up_to: seen }));
    };
    let both_show = other.shows_reads && known.account(account)?.is_some_and(|own| own.shows_reads);
    let shown_up_to = (theirs > shown_before && both_show).then_some(theirs);
    let fact = Fact::ConversationSeen { account, conversation, up_to, shown_up_to };
    Ok(Decision::Happens(fact, Answer::ConversationSeen { up_to }, Some(caller.clone())))
}

/// The answer of a request that took effect, for the caller that made it and repeats it; others learn only that the id is
/// taken.
fn retry(known: &mut Known<'_>, request: &Request, now: Millis) -> Result<Option<Answer>, Stopped> {
    let Some(kept) = known.request(request.id)? else { return Ok(None) };
    let session = request.action.session();
    if !kept.came_with(known.connection, session)? {
        // A session that the tables do not show yet.
        let caller = known.caller(session.ok_or(Refusal::NotSignedIn)?, now)?;
        if kept.account != Some(caller.account) {
            return Err(Refusal::RequestIdReused.into());
        }
    }
    let asked_for_it = kept.asked_for(request.action.digest());
    let Outcome { answer, passwords } = kept.outcome;
    let same_passwords = passwords.is_empty() || passwords == request.action.passwords();
    if !asked_for_it || !same_passwords {
        return Err(Refusal::RequestIdReused.into());
    }
    Ok(Some(answer))
}

/// Whether a request that is not remembered may take effect, by its date.
fn check_date(known: &mut Known<'_>, id: RequestId, now: Millis) -> Result<(), Stopped> {
    let dated = id.dated().ok_or(Refusal::RequestIdInvalid)?;
    let forgotten = known.forgotten()?.unwrap_or_default();
    let (date, wall) = (WallTime(dated.0), WallTime(now.0));
    let by = date.apart(wall);
    match REMEMBERING.judge(date, wall, WallTime(forgotten.0)) {
        Verdict::New => Ok(()),
        Verdict::TooOld => Err(Refusal::RequestTooOld { by }.into()),
        Verdict::TooEarly => Err(Refusal::RequestTooEarly { by }.into()),
    }
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
    let asked = request.action.min_copies();
    if asked > context.replicas {
        return Err(Refusal::TooManyCopies { wanted: asked, replicas: context.replicas });
    }
    let wanted = request.copies_wanted(&context.limits);
    if context.in_sync < wanted {
        return Err(Refusal::TooFewInSync { in_sync: context.in_sync, wanted });
    }
    Ok(())
}
