//! `SendMessages`: many messages of one sender, each answered by itself.
//!
//! The stream is read as bytes of which each message may turn out to be no text, or too large: read as what the proto says,
//! one such message would end the stream, and take with it the answers of those before it.

use crate::chat_service::{Answered, ChatService, request_id};
use crate::delivery::Wants;
use crate::gateway::{Declined, NotDone, Settled, Share};
use crate::listen::{UNREAD_MAX, ended, status_of, until};
use crate::unreadable;
use api::status::{in_a_stream, kept_in_a_stream, over_a_limit, refused};
use api::v1;
use api::v1::send_messages_response::Outcome;
use api::{CLIENT_ANSWER_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX};
use axum::body::Body;
use chat::{Refusal, Request as ChatRequest, Sequence, TokenHash};
use futures_util::future::BoxFuture;
use prost::Message;
use store::Session;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{CompressionEncoding, EnabledCompressionEncodings};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The call's path.
pub(crate) const PATH: &str = "/trialogue.v1.Chat/SendMessages";
/// A message beyond this ends its stream; up to here one that is too large is refused by itself.
const GIVEN_BYTES_MAX: usize = 1024 * 1024;
/// Messages of one stream that wait for their answers.
const UNANSWERED_MAX: usize = 512;

/// A `SendMessageRequest` whose texts were not checked yet: they may be no UTF-8.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Given {
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

impl Given {
    /// The message, if it is one.
    fn text(self) -> Result<v1::SendMessageRequest, Refusal> {
        let bytes = self.encoded_len();
        if bytes > CLIENT_MESSAGE_BYTES_MAX {
            let what = format!("the request has {bytes} bytes; {CLIENT_MESSAGE_BYTES_MAX} are allowed");
            return Err(Refusal::MessageTooLarge(what));
        }
        let text = |bytes, what| String::from_utf8(bytes).map_err(|_| Refusal::NotText { what });
        Ok(v1::SendMessageRequest {
            request_id: self.request_id,
            to: text(self.to, "recipient")?,
            to_id: self.to_id,
            text: text(self.text, "message")?,
            min_copies: self.min_copies,
        })
    }
}

/// Answers the call, as it comes over HTTP.
pub(crate) async fn serve(
    service: ChatService,
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

struct SendMessages(ChatService);

impl StreamingService<Given> for SendMessages {
    type Response = v1::SendMessagesResponse;
    type ResponseStream = ReceiverStream<Answered<v1::SendMessagesResponse>>;
    type Future = BoxFuture<'static, Answered<Response<Self::ResponseStream>>>;

    fn call(&mut self, request: Request<Streaming<Given>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let (session, token) = service.session_of(&request).await?;
            let answers = send_messages(service.clone(), session, token, request.into_inner())?;
            // A session that ended before its stream was registered has not ended the stream.
            service.session(token).await?;
            Ok(Response::new(answers))
        })
    }
}

/// What waits to be answered, in the stream's order.
enum Unanswered {
    Submitted(oneshot::Receiver<Settled>),
    Refused(Refusal),
    /// The stream ends with this, once what came before it is answered.
    Ended(Status),
}

/// Takes messages from a stream, each into effect in the stream's order, and answers each by itself in that order.
///
/// A refusal for a reason that may pass ends the stream with its answer, and nothing behind it takes effect: that message
/// may be sent again, and what follows it must not be there before it. One for the message alone is only answered.
///
/// Everything belongs to one term: when the primacy ends, the stream ends with the first message that has no answer, and
/// nothing behind it takes effect.
pub(crate) fn send_messages(
    service: ChatService,
    session: Session,
    token: TokenHash,
    mut messages: Streaming<Given>,
) -> Answered<ReceiverStream<Answered<v1::SendMessagesResponse>>> {
    let registered = service.delivery.register(session.account.id, session.id, Wants::default());
    let mut registered = registered.map_err(|why| over_a_limit(&why.to_string()))?;
    let term = service.gateway.term().map_err(|why| service.declined(why))?;
    let (answers, stream) = mpsc::channel(UNREAD_MAX);
    let (waiting, mut unanswered) = mpsc::channel::<(Vec<u8>, Unanswered)>(UNANSWERED_MAX);
    let answering = service.clone();
    let sequence = Sequence::default();
    let share = Share::Account(session.account.id);
    tokio::spawn(async move {
        while let Some((request_id, one)) = unanswered.recv().await {
            let (answer, then) = match answer(&answering, request_id, one).await {
                Ok((answer, then)) => (Ok(answer), then),
                Err(status) => (Err(status), Then::End),
            };
            if answers.send(answer).await.is_err() || matches!(then, Then::End) {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let expired = tokio::time::sleep(until(&session));
        tokio::pin!(expired);
        loop {
            let next = tokio::select! {
                biased;
                end = ended(&mut registered) => Err(status_of(&service, end)),
                () = &mut expired => Err(refused(&Refusal::SessionInvalid)),
                () = waiting.closed() => return,
                next = messages.message() => next,
            };
            let message = match next {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(status) => {
                    // The client has closed the stream, or is told why it ends.
                    let _ = waiting.send((Vec::new(), Unanswered::Ended(unreadable::told(status)))).await;
                    return;
                }
            };
            let given_id = message.request_id.clone();
            let checked = message.text().and_then(|message| {
                let id = request_id(&message.request_id)?;
                let action = service.send_action(&message)?;
                Ok(ChatRequest { id, session: Some(token), sequence: Some(sequence.clone()), action })
            });
            let one = match checked {
                Err(refusal) => Unanswered::Refused(refusal),
                Ok(request) => match service.gateway.submit_in_turn(share, request, term).await {
                    Ok(outcome) => Unanswered::Submitted(outcome),
                    Err(error) => Unanswered::Ended(service.declined(error)),
                },
            };
            // Behind one that was not taken, nothing may take effect.
            let over = matches!(one, Unanswered::Ended(_));
            if waiting.send((given_id, one)).await.is_err() || over {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// What becomes of a stream after an answer.
enum Then {
    GoOn,
    End,
}

async fn answer(
    service: &ChatService,
    request_id: Vec<u8>,
    one: Unanswered,
) -> Answered<(v1::SendMessagesResponse, Then)> {
    let done = match one {
        Unanswered::Ended(status) => return Err(status),
        Unanswered::Refused(refusal) => Err(NotDone::Refused(refusal)),
        Unanswered::Submitted(outcome) => {
            let settled = outcome.await.map_err(|_| service.declined(Declined::NotServing))?;
            settled.done(service.settings.addresses.len())
        }
    };
    let (outcome, then) = match done {
        Ok((answer, copies)) => (Outcome::Sent(service.sent(&answer, copies)?), Then::GoOn),
        // Without a session nothing of this stream can succeed any more.
        Err(NotDone::Refused(Refusal::SessionInvalid)) => return Err(refused(&Refusal::SessionInvalid)),
        // With the time after which it may be sent again.
        Err(NotDone::Refused(Refusal::Busy)) => return Err(refused(&Refusal::Busy)),
        Err(NotDone::Refused(refusal)) => {
            let then = if refusal.is_for_the_request_alone() { Then::GoOn } else { Then::End };
            (Outcome::Refused(in_a_stream(&refusal)), then)
        }
        // It has its place, so what follows it stands behind it.
        Err(NotDone::KeptOnFewer(kept)) => (Outcome::Refused(kept_in_a_stream(&kept)), Then::GoOn),
    };
    Ok((v1::SendMessagesResponse { request_id, outcome: Some(outcome) }, then))
}
