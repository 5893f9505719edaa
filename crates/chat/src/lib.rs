//! What a chat is, without a wire, a disk or a clock: names, passwords, messages, requests and the facts they lead to.
//!
//! Every rule about input is a function on the type it protects ([`UserName::parse`], [`Password::parse`],
//! [`MessageText::parse`], [`NamePattern::parse`], [`Address::parse`]); such a value is always valid.
//! What is refused is data: a [`Refusal`], one sentence that says what is wrong and what would be right.

mod address;
mod conversation;
mod copies;
mod fact;
mod identity;
mod limits;
mod look;
mod name;
mod password;
mod pattern;
mod reason;
mod record;
mod refusal;
mod request;
mod sequence;
mod service_state;
mod shown;
mod text;

pub use address::{Address, parse_servers};
pub use conversation::{ConversationId, ConversationIdError};
pub use copies::KeptOnFewer;
pub use fact::{Fact, RequestMark};
pub use identity::{
    AccountId, Cursor, HistoryId, MessageId, Millis, RequestId, SealedToken, SessionId, TokenHash,
};
pub use limits::{
    BUSY_RETRY_AFTER, Limits, MESSAGE_BYTES_MAX, NAME_CHARACTERS_MAX, PAGE_MAX, PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN, PATTERN_CHARACTERS_MAX, REMEMBERING, REQUEST_AGE_MAX, SESSIONS_AN_ACCOUNT_MAX,
};
pub use look::{looks, looks_version};
pub use name::{NameRules, UserName};
pub use password::{Password, PasswordHash};
pub use pattern::NamePattern;
pub use reason::Reason;
pub use record::{Outcome, RECORD_FORMAT, Record, RecordError};
pub use refusal::{Refusal, span};
pub use request::{Action, Answer, Recipient, Request, SignedAction};
pub use sequence::Sequence;
pub use service_state::{Replication, ServiceState};
pub use shown::{Escaped, escaped_json, harmless, harmless_line};
pub use text::MessageText;
