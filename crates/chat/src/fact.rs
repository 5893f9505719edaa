//! Facts: what happened, with everything needed to apply it on any replica at any time.
//!
//! A fact is never judged again. Whatever could make it fail was checked before it became an entry, by the primary
//! alone: a rule applied by three replicas in turn would stop all three.

use crate::conversation::ConversationId;
use crate::identity::{AccountId, HistoryId, MessageId, Millis, RequestId, SessionId, TokenHash};
use crate::password::PasswordHash;
use crate::request::Answer;

/// Something that happened. The number of a new account, session or message is the op of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A history began; what came before, if anything, may have lost entries. All sessions end: those of another history, or of
    /// a folder that was copied, are not valid here.
    HistoryBegan {
        /// Its identity.
        history: HistoryId,
        /// Requests dated before this count as forgotten from here on, whatever counted before; `None` changes nothing.
        forgotten: Option<Millis>,
    },
    /// Requests dated before this are forgotten: their ids are refused from here on.
    RequestsForgotten {
        /// The date, which only grows.
        before: Millis,
    },
    /// An account was created.
    AccountCreated {
        /// The name as written.
        name: String,
        /// The name as compared.
        key: String,
        /// The password.
        password: PasswordHash,
    },
    /// A session was opened.
    SessionOpened {
        /// Whose.
        account: AccountId,
        /// Its token.
        token: TokenHash,
        /// When it ends by itself.
        expires_at: Millis,
        /// The account's sessions that end with it: those that have expired, and the oldest where there are too many.
        closes: Vec<SessionId>,
    },
    /// A session was closed.
    SessionClosed {
        /// Which.
        session: SessionId,
    },
    /// An account was deleted, with its sessions and what was not delivered to it.
    AccountDeleted {
        /// Which.
        account: AccountId,
    },
    /// An account has a new password, and only one session.
    PasswordChanged {
        /// Which.
        account: AccountId,
        /// The password.
        password: PasswordHash,
        /// The session that stays.
        keep: SessionId,
    },
    /// A message was sent.
    MessageSent {
        /// In which conversation.
        conversation: ConversationId,
        /// By whom: a member of it.
        from: AccountId,
        /// The sender's name at that time.
        from_name: String,
        /// The other side's name at that time.
        to_name: String,
        /// What.
        text: String,
    },
    /// An account has everything up to a message.
    MessagesAcknowledged {
        /// Which account.
        account: AccountId,
        /// The last message it has.
        up_to: MessageId,
    },
    /// An account has seen everything of one conversation up to a message.
    ConversationSeen {
        /// Which account.
        account: AccountId,
        /// Which conversation: it is a member of it.
        conversation: ConversationId,
        /// The last message it has seen.
        up_to: MessageId,
        /// The last of the other side's own messages that was seen, if it learns of that: both showed what they had seen
        /// at that time, and more of its messages were seen than it knew of. A place between them would tell of what
        /// others wrote.
        shown_up_to: Option<MessageId>,
    },
    /// An account shows others what it has seen, or no longer does.
    SeenShown {
        /// Which account.
        account: AccountId,
        /// Whether it does.
        shown: bool,
    },
}

/// The request that led to a fact, so that its retry is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMark {
    /// The request's id.
    pub id: RequestId,
    /// What it asked for.
    pub digest: [u8; 16],
    /// What it was answered.
    pub answer: Answer,
    /// The session that it came from, and so whose it was; none for a request that needs no session.
    pub session: Option<SessionId>,
    /// What its passwords were, in the order of [`crate::Action::passwords`].
    pub passwords: Vec<PasswordHash>,
}
