//! Requests and their answers, to and from the form in which they are written.

use super::{RecordError, exactly, wire};
use crate::fact::RequestMark;
use crate::identity::{AccountId, MessageId, Millis, RequestId, SealedToken, SessionId};
use crate::password::PasswordHash;
use crate::request::Answer;
use uuid::Uuid;

pub(super) fn write(mark: &RequestMark) -> wire::Request {
    wire::Request {
        id: mark.id.0.as_bytes().to_vec(),
        digest: mark.digest.to_vec(),
        session: mark.session.map(|session| session.0),
        passwords: mark.passwords.iter().map(|password| password.0.clone()).collect(),
        answer: Some(write_answer(&mark.answer)),
    }
}

pub(super) fn read(request: wire::Request) -> Result<RequestMark, RecordError> {
    let answer = request.answer.ok_or_else(|| RecordError::Damaged("its request has no answer".into()))?;
    Ok(RequestMark {
        id: RequestId(Uuid::from_bytes(exactly("the request's id", request.id)?)),
        digest: exactly("the request's digest", request.digest)?,
        answer: read_answer(answer),
        session: request.session.map(SessionId),
        passwords: request.passwords.into_iter().map(PasswordHash).collect(),
    })
}

pub(super) fn write_answer(answer: &Answer) -> wire::Answer {
    let nothing = wire::Nothing {};
    match answer {
        Answer::HistoryBegun => wire::Answer::HistoryBegun(nothing),
        Answer::AccountCreated { account } => wire::Answer::AccountCreated(account.0),
        Answer::SessionOpened { session, account, expires_at, sealed } => {
            wire::Answer::SessionOpened(wire::OpenedSession {
                session: session.0,
                account: account.0,
                expires_at: expires_at.0,
                sealed: sealed.0.clone(),
            })
        }
        Answer::SessionClosed => wire::Answer::SessionClosed(nothing),
        Answer::AccountDeleted => wire::Answer::AccountDeleted(nothing),
        Answer::PasswordChanged => wire::Answer::PasswordChanged(nothing),
        Answer::MessageSent { id, sent_at } => {
            wire::Answer::MessageSent(wire::SentMessage { id: id.0, sent_at: sent_at.0 })
        }
        Answer::Acknowledged { up_to } => wire::Answer::Acknowledged(up_to.0),
        Answer::ConversationSeen { up_to } => wire::Answer::ConversationSeen(up_to.0),
        Answer::SeenShown { shown } => wire::Answer::SeenShown(*shown),
    }
}

pub(super) fn read_answer(answer: wire::Answer) -> Answer {
    match answer {
        wire::Answer::HistoryBegun(wire::Nothing {}) => Answer::HistoryBegun,
        wire::Answer::AccountCreated(account) => Answer::AccountCreated { account: AccountId(account) },
        wire::Answer::SessionOpened(wire::OpenedSession { session, account, expires_at, sealed }) => {
            Answer::SessionOpened {
                session: SessionId(session),
                account: AccountId(account),
                expires_at: Millis(expires_at),
                sealed: SealedToken(sealed),
            }
        }
        wire::Answer::SessionClosed(wire::Nothing {}) => Answer::SessionClosed,
        wire::Answer::AccountDeleted(wire::Nothing {}) => Answer::AccountDeleted,
        wire::Answer::PasswordChanged(wire::Nothing {}) => Answer::PasswordChanged,
        wire::Answer::MessageSent(wire::SentMessage { id, sent_at }) => {
            Answer::MessageSent { id: MessageId(id), sent_at: Millis(sent_at) }
        }
        wire::Answer::Acknowledged(up_to) => Answer::Acknowledged { up_to: MessageId(up_to) },
        wire::Answer::ConversationSeen(up_to) => Answer::ConversationSeen { up_to: MessageId(up_to) },
        wire::Answer::SeenShown(shown) => Answer::SeenShown { shown },
    }
}
