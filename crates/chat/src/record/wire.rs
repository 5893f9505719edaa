//! How a record is written: protobuf. A number here belongs to its field for ever; what is added has a new one.

use prost::{Message, Oneof};

/// What every format begins with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// Milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub(super) at: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) request: Option<Request>,
    #[prost(oneof = "Fact", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub(super) fact: Option<Fact>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Fact {
    #[prost(message, tag = "4")]
    HistoryBegan(HistoryBegan),
    #[prost(message, tag = "5")]
    RequestsForgotten(RequestsForgotten),
    #[prost(message, tag = "6")]
    AccountCreated(AccountCreated),
    #[prost(message, tag = "7")]
    SessionOpened(SessionOpened),
    #[prost(message, tag = "8")]
    SessionClosed(SessionClosed),
    #[prost(message, tag = "9")]
    AccountDeleted(AccountDeleted),
    #[prost(message, tag = "10")]
    PasswordChanged(PasswordChanged),
    #[prost(message, tag = "11")]
    MessageSent(MessageSent),
    #[prost(message, tag = "12")]
    MessagesAcknowledged(MessagesAcknowledged),
    #[prost(message, tag = "13")]
    ConversationSeen(ConversationSeen),
    #[prost(message, tag = "14")]
    SeenShown(SeenShown),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistoryBegan {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) history: Vec<u8>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) forgotten: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestsForgotten {
    #[prost(uint64, tag = "1")]
    pub(super) before: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AccountCreated {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) key: String,
    #[prost(string, tag = "3")]
    pub(super) password: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionOpened {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) token: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(super) expires_at: u64,
    #[prost(uint64, repeated, tag = "4")]
    pub(super) closes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionClosed {
    #[prost(uint64, tag = "1")]
    pub(super) session: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AccountDeleted {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PasswordChanged {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
    #[prost(string, tag = "2")]
    pub(super) password: String,
    #[prost(uint64, tag = "3")]
    pub(super) keep: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MessageSent {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) conversation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(super) from: u64,
    #[prost(string, tag = "3")]
    pub(super) from_name: String,
    #[prost(string, tag = "4")]
    pub(super) to_name: String,
    #[prost(string, tag = "5")]
    pub(super) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MessagesAcknowledged {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
    #[prost(uint64, tag = "2")]
    pub(super) up_to: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConversationSeen {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) conversation: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(super) up_to: u64,
    #[prost(uint64, optional, tag = "4")]
    pub(super) shown_up_to: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SeenShown {
    #[prost(uint64, tag = "1")]
    pub(super) account: u64,
    #[prost(bool, tag = "2")]
    pub(super) shown: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) digest: Vec<u8>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) session: Option<u64>,
    #[prost(string, repeated, tag = "4")]
    pub(super) passwords: Vec<String>,
    #[prost(oneof = "Answer", tags = "5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub(super) answer: Option<Answer>,
}

/// What of a request is kept in a table: the same fields with the same numbers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Outcome {
    #[prost(string, repeated, tag = "4")]
    pub(super) passwords: Vec<String>,
    #[prost(oneof = "Answer", tags = "5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub(super) answer: Option<Answer>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Answer {
    #[prost(message, tag = "5")]
    HistoryBegun(Nothing),
    #[prost(uint64, tag = "6")]
    AccountCreated(u64),
    #[prost(message, tag = "7")]
    SessionOpened(OpenedSession),
    #[prost(message, tag = "8")]
    SessionClosed(Nothing),
    #[prost(message, tag = "9")]
    AccountDeleted(Nothing),
    #[prost(message, tag = "10")]
    PasswordChanged(Nothing),
    #[prost(message, tag = "11")]
    MessageSent(SentMessage),
    #[prost(uint64, tag = "12")]
    Acknowledged(u64),
    #[prost(uint64, tag = "13")]
    ConversationSeen(u64),
    #[prost(bool, tag = "14")]
    SeenShown(bool),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OpenedSession {
    #[prost(uint64, tag = "1")]
    pub(super) session: u64,
    #[prost(uint64, tag = "2")]
    pub(super) account: u64,
    #[prost(uint64, tag = "3")]
    pub(super) expires_at: u64,
    #[prost(string, tag = "4")]
    pub(super) sealed: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SentMessage {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) sent_at: u64,
}
