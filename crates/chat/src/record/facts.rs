//! Facts, to and from the form in which they are written.

use super::{RecordError, exactly, wire};
use crate::conversation::{ConversationId, ConversationIdError};
use crate::fact::Fact;
use crate::identity::{AccountId, HistoryId, MessageId, Millis, SessionId, TokenHash};
use crate::password::PasswordHash;
use uuid::Uuid;

pub(super) fn write(fact: &Fact) -> wire::Fact {
    match fact.clone() {
        Fact::HistoryBegan { history, forgotten } => wire::Fact::HistoryBegan(wire::HistoryBegan {
            history: history.0.as_bytes().to_vec(),
            forgotten: forgotten.map(|before| before.0),
        }),
        Fact::RequestsForgotten { before } => {
            wire::Fact::RequestsForgotten(wire::RequestsForgotten { before: before.0 })
        }
        Fact::AccountCreated { name, key, password } => {
            wire::Fact::AccountCreated(wire::AccountCreated { name, key, password: password.0 })
        }
        Fact::SessionOpened { account, token, expires_at, closes } => {
            wire::Fact::SessionOpened(wire::SessionOpened {
                account: account.0,
                token: token.0.to_vec(),
                expires_at: expires_at.0,
                closes: closes.into_iter().map(|session| session.0).collect(),
            })
        }
        Fact::SessionClosed { session } => {
            wire::Fact::SessionClosed(wire::SessionClosed { session: session.0 })
        }
        Fact::AccountDeleted { account } => {
            wire::Fact::AccountDeleted(wire::AccountDeleted { account: account.0 })
        }
        Fact::PasswordChanged { account, password, keep } => {
            wire::Fact::PasswordChanged(wire::PasswordChanged {
                account: account.0,
                password: password.0,
                keep: keep.0,
            })
        }
        Fact::MessageSent { conversation, from, from_name, to_name, text } => {
            wire::Fact::MessageSent(wire::MessageSent {
                conversation: conversation.as_bytes().to_vec(),
                from: from.0,
                from_name,
                to_name,
                text,
            })
        }
        Fact::MessagesAcknowledged { account, up_to } => {
            wire::Fact::MessagesAcknowledged(wire::MessagesAcknowledged {
                account: account.0,
                up_to: up_to.0,
            })
        }
        Fact::ConversationSeen { account, conversation, up_to, shown_up_to } => {
            wire::Fact::ConversationSeen(wire::ConversationSeen {
                account: account.0,
                conversation: conversation.as_bytes().to_vec(),
                up_to: up_to.0,
                shown_up_to: shown_up_to.map(|shown| shown.0),
            })
        }
        Fact::SeenShown { account, shown } => {
            wire::Fact::SeenShown(wire::SeenShown { account: account.0, shown })
        }
    }
}

pub(super) fn read(fact: wire::Fact) -> Result<Fact, RecordError> {
    Ok(match fact {
        wire::Fact::HistoryBegan(wire::HistoryBegan { history, forgotten }) => Fact::HistoryBegan {
            history: HistoryId(Uuid::from_bytes(exactly("the history", history)?)),
            forgotten: forgotten.map(Millis),
        },
        wire::Fact::RequestsForgotten(wire::RequestsForgotten { before }) => {
            Fact::RequestsForgotten { before: Millis(before) }
        }
        wire::Fact::AccountCreated(wire::AccountCreated { name, key, password }) => {
            Fact::AccountCreated { name, key, password: PasswordHash(password) }
        }
        wire::Fact::SessionOpened(wire::SessionOpened { account, token, expires_at, closes }) => {
            Fact::SessionOpened {
                account: AccountId(account),
                token: TokenHash(exactly("the token", token)?),
                expires_at: Millis(expires_at),
                closes: closes.into_iter().map(SessionId).collect(),
            }
        }
        wire::Fact::SessionClosed(wire::SessionClosed { session }) => {
            Fact::SessionClosed { session: SessionId(session) }
        }
        wire::Fact::AccountDeleted(wire::AccountDeleted { account }) => {
            Fact::AccountDeleted { account: AccountId(account) }
        }
        wire::Fact::PasswordChanged(wire::PasswordChanged { account, password, keep }) => {
            Fact::PasswordChanged {
                account: AccountId(account),
                password: PasswordHash(password),
                keep: SessionId(keep),
            }
        }
        wire::Fact::MessageSent(wire::MessageSent { conversation, from, from_name, to_name, text }) => {
            let from = AccountId(from);
            Fact::MessageSent {
                conversation: conversation_of(conversation, from)?,
                from,
                from_name,
                to_name,
                text,
            }
        }
        wire::Fact::MessagesAcknowledged(wire::MessagesAcknowledged { account, up_to }) => {
            Fact::MessagesAcknowledged { account: AccountId(account), up_to: MessageId(up_to) }
        }
        wire::Fact::ConversationSeen(wire::ConversationSeen {
            account,
            conversation,
            up_to,
            shown_up_to,
        }) => {
            let account = AccountId(account);
            Fact::ConversationSeen {
                account,
                conversation: conversation_of(conversation, account)?,
                up_to: MessageId(up_to),
                shown_up_to: shown_up_to.map(MessageId),
            }
        }
        wire::Fact::SeenShown(wire::SeenShown { account, shown }) => {
            Fact::SeenShown { account: AccountId(account), shown }
        }
    })
}

/// A conversation that the account is a member of.
fn conversation_of(bytes: Vec<u8>, account: AccountId) -> Result<ConversationId, RecordError> {
    let id =
        ConversationId::from_bytes(exactly("the conversation", bytes)?).map_err(|error| match error {
            ConversationIdError::Room => RecordError::Newer(format!("of its conversation, {error}")),
            ConversationIdError::Malformed => RecordError::Damaged(format!("of its conversation, {error}")),
        })?;
    if id.other_than(account).is_none() {
        return Err(RecordError::Damaged(format!("account {account} is no member of conversation {id}")));
    }
    Ok(id)
}
