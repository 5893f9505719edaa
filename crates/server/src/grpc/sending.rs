//! The path of `SendMessages`.
//!
//! The stream is read as bytes of which each message may turn out to be no text, or too large: read as what the proto says,
//! one such message would end the stream, and take with it the answers of those before it.

use super::{token, unreadable, wire};
use crate::gateway::NotDone;
use crate::service::{Ended, Failure, Given, MessageAnswer, Outgoing, Service, With};
use api::status::{in_a_stream, kept_in_a_stream};
use api::v1;
use api::v1::send_messages_response::Outcome;
use api::{CLIENT_ANSWER_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX};
use axum::body::Body;
use chat::{Refusal, RequestId};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use prost::Message;
use tonic::codec::{CompressionEncoding, EnabledCompressionEncodings};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The call's path.
pub(crate) const PATH: &str = "/trialogue.v1.Chat/SendMessages";
/// A message beyond this ends its stream; up to here one that is too large is refused by itself.
const GIVEN_BYTES_MAX: usize = 1024 * 1024;

/// A `SendMessageRequest` whose texts were not checked yet: they may be no UTF-8.
#[derive(Clone, PartialEq, Eq, Message)]
struct Unchecked {
    #[prost(bytes = "vec", tag = "1")]
    request_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    to: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    text: Vec<u8>,
    #[prost(uint32, tag = "4")]
    min_copies: u32,
    #[prost(uint64, tag = "5")]
    to_id: u64,
}

impl Given for Unchecked {
    fn request_id(&self) -> Vec<u8> {
        self.request_id.clone()
    }

    fn read(&self) -> Result<(RequestId, Outgoing<'_>), Refusal> {
        let bytes = self.encoded_len();
        if bytes > CLIENT_MESSAGE_BYTES_MAX {
            let what = format!("the request has {bytes} bytes; {CLIENT_MESSAGE_BYTES_MAX} are allowed");
            return Err(Refusal::MessageTooLarge(what));
        }
        let text = |bytes, what| std::str::from_utf8(bytes).map_err(|_| Refusal::NotText { what });
        let with = With::of(self.to_id, text(&self.to, "recipient")?);
        let message = Outgoing { with, text: text(&self.text, "message")?, min_copies: self.min_copies };
        Ok((RequestId::parse(&self.request_id)?, message))
    }
}

/// Answers the call, as it comes over HTTP.
pub(crate) async fn serve(
    service: Service,
    request: axum::http::Request<Body>,
) -> axum::http::Response<tonic::body::Body> {
    let mut accepted = EnabledCompressionEncodings::default();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        accepted.enable(encoding);
    }
    Grpc::new(ProstCodec::default())
        .apply_compression_config(accepted, EnabledCompressionEncodings::default())
        .apply_max_message_size_config(Some(GIVEN_BYTES_MAX), Some(CLIENT_ANSWER_BYTES_MAX))
        .streaming(SendMessages(service), request)
        .await
}

struct SendMessages(Service);

impl StreamingService<Unchecked> for SendMessages {
    type Response = v1::SendMessagesResponse;
    type ResponseStream = BoxStream<'static, Result<v1::SendMessagesResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Unchecked>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let token = token(&request).map_err(Failure::from)?;
            let messages = request.into_inner();
            let answers = service.send_many(token, messages).await?;
            Ok(Response::new(answers.map(answer).boxed()))
        })
    }
}

fn answer(answer: Result<MessageAnswer, Ended<Status>>) -> Result<v1::SendMessagesResponse, Status> {
    let MessageAnswer { request_id, outcome } = answer.map_err(|ended| match ended {
        Ended::Failed(failure) => failure.into(),
        Ended::Broken(status) => unreadable::explained(status),
    })?;
    let outcome = match outcome {
        Ok(sent) => Outcome::Sent(wire::sent(sent)),
        Err(NotDone::Refused(refusal)) => Outcome::Refused(in_a_stream(&refusal)),
        Err(NotDone::KeptOnFewer(kept)) => Outcome::Refused(kept_in_a_stream(&kept)),
    };
    Ok(v1::SendMessagesResponse { request_id, outcome: Some(outcome) })
}
