//! What calls are made of, and what they give: one call's token, its limits, its answer.

use crate::error::ClientError;
use api::status::{MESSAGE_TOO_LARGE, code_and_reason, refused};
use api::{AUTHORIZATION, CLIENT_MESSAGE_BYTES_MAX, v1};
use chat::{Address, MessageText, Refusal};
use std::time::Duration;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status};

/// What is kept on fewer replicas than were asked for is asked for again after this. A replica that is missing takes at
/// least this long to come back.
pub(crate) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A session that was opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its token.
    pub token: String,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_at: u64,
    /// Whose.
    pub account_id: u64,
    /// The name as it was registered.
    pub name: String,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("name", &self.name)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// The account that has this name when the message takes effect.
    Name(&'a str),
    /// The account of this number, and no later one.
    Account(u64),
}

impl<'a> From<&'a str> for To<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub sent_at: u64,
    /// On how many replicas it is durable.
    pub copies: u32,
    /// How many there should be.
    pub replicas: u32,
}

impl From<v1::SendMessageResponse> for Sent {
    fn from(sent: v1::SendMessageResponse) -> Self {
        Self { id: sent.id, sent_at: sent.sent_at, copies: sent.copies, replicas: sent.replicas }
    }
}

/// A page of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// Newest first.
    pub messages: Vec<v1::Message>,
    /// Whether there may be older ones.
    pub more: bool,
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
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| refused(&Refusal::SessionInvalid))?;
    value.set_sensitive(true);
    let mut request = Request::new(message);
    request.metadata_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

/// What no replica would take is refused here: told to a replica, it would end the stream, and look like an outage.
pub(crate) fn check_text(text: &str) -> Result<(), ClientError> {
    MessageText::parse(text).map(drop).map_err(|refusal| {
        let (_, reason) = code_and_reason(&refusal);
        ClientError::Refused { reason: reason.into(), message: refusal.to_string() }
    })
}

/// The same for whatever else is too large to be sent.
pub(crate) fn check_size(message: &impl prost::Message) -> Result<(), ClientError> {
    let bytes = message.encoded_len();
    if bytes <= CLIENT_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the request has {bytes} bytes; {CLIENT_MESSAGE_BYTES_MAX} are allowed");
    Err(ClientError::Refused { reason: MESSAGE_TOO_LARGE.into(), message })
}
