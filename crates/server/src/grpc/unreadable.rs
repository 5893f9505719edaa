//! What the transport could not read or would not take, told with a reason as every other refusal is.

use api::status::refused;
use axum::http::Response;
use chat::Refusal;
use tonic::{Code, Status};

/// A status of the transport, with the reason that our own have. Others stay as they are.
pub(super) fn explained(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        // Over the limit as it is, or once it is decompressed.
        Code::OutOfRange | Code::ResourceExhausted => {
            refused(&Refusal::MessageTooLarge(status.message().to_owned()))
        }
        Code::Internal if NO_MESSAGE.iter().any(|begin| status.message().starts_with(begin)) => {
            refused(&Refusal::Malformed(status.message().to_owned()))
        }
        _ => status,
    }
}

/// How tonic begins to say that bytes are no message of their kind.
const NO_MESSAGE: [&str; 3] =
    ["failed to decode Protobuf message", "Error decompressing", "Unexpected EOF decoding stream"];

/// The same for a call that was answered before its handler saw it.
pub(crate) fn answered<B: Default>(response: Response<B>) -> Response<B> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let (code, explained) = (status.code(), explained(status));
    if explained.code() == code && explained.details().is_empty() {
        return response;
    }
    explained.into_http()
}
