//! Requests: what a client wants changed, already validated; and their answers.

use crate::identity::{AccountId, MessageId, Millis, RequestId, SealedToken, SessionId, TokenHash};
use crate::limits::Limits;
use crate::name::UserName;
use crate::password::PasswordHash;
use crate::sequence::Sequence;
use crate::text::MessageText;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A mutating call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the client; repeated, the request takes effect once and gets the same answer.
    pub id: RequestId,
    /// The stream that it belongs to, whose requests take effect in order.
    pub sequence: Option<Sequence>,
    /// What is wanted.
    pub action: Action,
}

impl Request {
    /// On how many replicas it must be before it is done: what its sender asks for, and what the operator demands.
    pub fn copies_wanted(&self, limits: &Limits) -> usize {
        match &self.action {
            // Asked for by the replica itself.
            Action::BeginHistory => 0,
            action => limits.min_in_sync.max(action.min_copies()),
        }
    }
}

/// What a request wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The first entry of a history; asked for by each new primary, and without effect where there is one.
    BeginHistory,
    /// A new account.
    CreateAccount {
        /// Its name.
        name: UserName,
        /// Its password.
        password: PasswordHash,
    },
    /// A new session, for someone whose password was verified.
    OpenSession {
        /// Whose.
        account: AccountId,
        /// The hash that the password was verified against: if it changed since, the session is refused.
        verified: PasswordHash,
        /// The new session's token.
        token: TokenHash,
        /// The token itself, for a retry that brings the same password.
        sealed: SealedToken,
        /// When it ends by itself.
        expires_at: Millis,
    },
    /// Something that the account of a session does.
    Signed {
        /// The session's token.
        session: TokenHash,
        /// What it does.
        action: SignedAction,
    },
}

/// What an account does in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedAction {
    /// The session ends.
    CloseSession,
    /// The account ends, whose password was verified.
    DeleteAccount {
        /// The hash that the password was verified against.
        verified: PasswordHash,
    },
    /// A new password; the account's other sessions end.
    ChangePassword {
        /// The hash that the old password was verified against.
        verified: PasswordHash,
        /// The new one.
        password: PasswordHash,
    },
    /// A message.
    SendMessage {
        /// To whom.
        to: Recipient,
        /// What.
        text: MessageText,
        /// Refused without effect if fewer replicas are in sync; done once as many hold it.
        min_copies: usize,
    },
    /// The account has received everything up to this message.
    Acknowledge {
        /// The last message it has.
        up_to: MessageId,
    },
    /// The account has seen everything of one conversation up to this message.
    MarkSeen {
        /// With whom.
        with: AccountId,
        /// The last message it has seen.
        up_to: MessageId,
    },
    /// Whether others may know what the account has seen.
    ShowSeen {
        /// Whether they may.
        shown: bool,
    },
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The account that has this name when the message takes effect.
    Named(UserName),
    /// This account and no other: once it is deleted, the message is refused, even if another account has its name then.
    Account(AccountId),
}

impl Action {
    /// The session that it comes from; none for what a client does before it is signed in.
    pub const fn session(&self) -> Option<TokenHash> {
        match self {
            Self::Signed { session, .. } => Some(*session),
            Self::BeginHistory | Self::CreateAccount { .. } | Self::OpenSession { .. } => None,
        }
    }

    /// On how many replicas its sender asks for it to be.
    pub const fn min_copies(&self) -> usize {
        match self {
            Self::Signed { action: SignedAction::SendMessage { min_copies, .. }, .. } => *min_copies,
            _ => 0,
        }
    }

    /// The passwords that came with it, as Argon2id hashes that they were verified against or turned into: what a retry
    /// must bring again, compared by those hashes alone.
    pub fn passwords(&self) -> Vec<PasswordHash> {
        match self {
            Self::CreateAccount { password, .. } => vec![password.clone()],
            Self::OpenSession { verified, .. }
            | Self::Signed { action: SignedAction::DeleteAccount { verified }, .. } => vec![verified.clone()],
            Self::Signed { action: SignedAction::ChangePassword { verified, password }, .. } => {
                vec![verified.clone(), password.clone()]
            }
            Self::BeginHistory | Self::Signed { .. } => Vec::new(),
        }
    }

    /// A digest of what is asked for, so that an id used for something else is noticed. What differs between two tries
    /// of one request (salts, expiry) is left out, and so is every password: a reader of a fast digest of one can try
    /// millions of passwords a second, with or without a key (see [`Action::passwords`]).
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        let mut feed = |parts: &[&[u8]]| {
            for part in parts {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        };
        match self {
            Self::BeginHistory => feed(&[b"begin"]),
            Self::CreateAccount { name, .. } => feed(&[b"create", name.key().as_bytes()]),
            Self::OpenSession { account, .. } => feed(&[b"login", &account.0.to_be_bytes()]),
            Self::Signed { action, .. } => match action {
                SignedAction::CloseSession => feed(&[b"logout"]),
                SignedAction::DeleteAccount { .. } => feed(&[b"delete"]),
                SignedAction::ChangePassword { .. } => feed(&[b"password"]),
                SignedAction::SendMessage { to: Recipient::Named(name), text, .. } => {
                    feed(&[b"send", name.key().as_bytes(), text.as_str().as_bytes()]);
                }
                SignedAction::SendMessage { to: Recipient::Account(account), text, .. } => {
                    feed(&[b"send to account", &account.0.to_be_bytes(), text.as_str().as_bytes()]);
                }
                SignedAction::Acknowledge { up_to } => feed(&[b"acknowledge", &up_to.0.to_be_bytes()]),
                SignedAction::MarkSeen { with, up_to } => {
                    feed(&[b"read", &with.0.to_be_bytes(), &up_to.0.to_be_bytes()]);
                }
                SignedAction::ShowSeen { shown } => feed(&[b"read marks", &[u8::from(*shown)]]),
            },
        }
        let full: [u8; 32] = hash.finalize().into();
        let mut digest = [0; 16];
        digest.copy_from_slice(&full[..16]);
        digest
    }
}

/// What a request that took effect is answered, the first time and every time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// There is a history (whether or not this request began it).
    HistoryBegun,
    /// The account exists.
    AccountCreated {
        /// Its number.
        account: AccountId,
    },
    /// The session is open.
    SessionOpened {
        /// Its number.
        session: SessionId,
        /// Whose.
        account: AccountId,
        /// When it ends by itself.
        expires_at: Millis,
        /// Its token, for a caller that has the password.
        sealed: SealedToken,
    },
    /// The session is closed.
    SessionClosed,
    /// The account is gone.
    AccountDeleted,
    /// The password is the new one.
    PasswordChanged,
    /// The message has its place.
    MessageSent {
        /// Its number.
        id: MessageId,
        /// When.
        sent_at: Millis,
    },
    /// Everything up to here counts as delivered.
    Acknowledged {
        /// The last message that does.
        up_to: MessageId,
    },
    /// Everything of the conversation up to here counts as seen.
    #[serde(rename = "conversation_read")]
    ConversationSeen {
        /// The last message that does.
        up_to: MessageId,
    },
    /// What the account has seen is shown, or is not.
    #[serde(rename = "read_marks_set")]
    SeenShown {
        /// Whether they are.
        shown: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NameRules;

    #[test]
    fn the_digest_tells_requests_apart_and_ignores_salts() {
        let name = |name| UserName::parse(name, &NameRules::default()).unwrap();
        let create =
            |n, hash: &str| Action::CreateAccount { name: name(n), password: PasswordHash(hash.into()) };
        let send_to = |to, text| {
            let action =
                SignedAction::SendMessage { to, text: MessageText::parse(text).unwrap(), min_copies: 0 };
            Action::Signed { session: TokenHash([1; 32]), action }
        };
        let send = |to, text| send_to(Recipient::Named(name(to)), text);
        let send_number = |to, text| send_to(Recipient::Account(AccountId(to)), text);
        assert_eq!(create("alice", "salt1").digest(), create("Alice", "salt2").digest());
        assert_ne!(create("alice", "s").digest(), create("bob", "s").digest());
        assert_ne!(send("bob", "ab").digest(), send("bob", "abc").digest());
        assert_ne!(send("boba", "b").digest(), send("bob", "ab").digest());
        assert_ne!(send_number(1, "b").digest(), send_number(2, "b").digest());
        assert_ne!(send_number(1, "b").digest(), send("1", "b").digest());
    }
}
