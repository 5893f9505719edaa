//! What calls are made of, and what they give: one call's token, its limits, its answer.

use crate::error::ClientError;
use api::status::refused;
use api::{CLIENT_MESSAGE_BYTES_MAX, v1};
use chat::{AccountId, Address, MessageId, MessageText, Reason, Refusal, RequestId};
use std::time::Duration;
use tonic::{Request, Status};

pub use v1::ListAccountsResponse as AccountPage;
pub use v1::ListConversationsResponse as ConversationPage;
pub use v1::ListMessagesResponse as MessagePage;

/// What is kept on fewer replicas than were asked for is asked for again after this. A replica that is missing takes at
/// least this long to come back.
pub(crate) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// An account that a message goes to, or that a conversation is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// The account that has this name when the call takes effect.
    Name(&'a str),
    /// The account of this number, and no later one of the same name.
    Account(AccountId),
}

impl<'a> To<'a> {
    /// Reads what people write: a name, or `#` and the number of an account.
    pub fn parse(written: &'a str) -> Self {
        let number = written.strip_prefix('#').and_then(|digits| digits.parse().ok());
        number.map_or(Self::Name(written), |number| Self::Account(AccountId(number)))
    }

    /// As the fields of a request: the name, or else the number.
    pub(crate) fn fields(self) -> (String, u64) {
        match self {
            Self::Name(name) => (name.to_owned(), 0),
            Self::Account(id) => (String::new(), id.0),
        }
    }

    pub(crate) fn message(
        self,
        request_id: RequestId,
        text: &str,
        min_copies: u32,
    ) -> v1::SendMessageRequest {
        let (to, to_id) = self.fields();
        v1::SendMessageRequest {
            request_id: request_id.0.into(),
            to,
            to_id,
            text: text.to_owned(),
            min_copies,
        }
    }
}

impl<'a> From<&'a str> for To<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for To<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<AccountId> for To<'_> {
    fn from(id: AccountId) -> Self {
        Self::Account(id)
    }
}

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub id: MessageId,
    /// When, in milliseconds since 1970.
    pub sent_at: u64,
    /// On how many replicas it is durable.
    pub copies: u32,
    /// How many there should be.
    pub replicas: u32,
}

impl From<v1::SendMessageResponse> for Sent {
    fn from(sent: v1::SendMessageResponse) -> Self {
        Self { id: MessageId(sent.id), sent_at: sent.sent_at, copies: sent.copies, replicas: sent.replicas }
    }
}

/// What one replica says of itself; `None` if it does not answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaView {
    /// Where it was asked.
    pub address: Address,
    /// What it said.
    pub heartbeat: Option<v1::HeartbeatResponse>,
}

/// A call that carries the session's token.
pub(crate) fn signed<T>(message: T, token: &str) -> Result<Request<T>, Status> {
    // A token that can't be written in a header is none: an answer, which no replica need be asked for.
    api::signed(message, token).map_err(|_| refused(&Refusal::SessionInvalid))
}

/// What no replica would take is refused here: told to a replica, it would end the stream, and look like an outage.
pub(crate) fn check_text(text: &str) -> Result<(), ClientError> {
    MessageText::parse(text)
        .map(drop)
        .map_err(|refusal| ClientError::Refused { reason: refusal.reason(), message: refusal.to_string() })
}

/// The same for whatever else is too large to be sent.
pub(crate) fn check_size(message: &impl prost::Message) -> Result<(), ClientError> {
    let bytes = message.encoded_len();
    if bytes <= CLIENT_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the request has {bytes} bytes; {CLIENT_MESSAGE_BYTES_MAX} are allowed");
    Err(ClientError::Refused { reason: Reason::MessageTooLarge, message })
}
