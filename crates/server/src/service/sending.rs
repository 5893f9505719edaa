//! Many messages of one sender on one stream, each answered by itself.

use super::listening::{UNREAD_MAX, ended, until};
use super::{Failure, Outgoing, Sent, Service};
use crate::delivery::Subscription;
use crate::gateway::{Declined, NotDone, Settled, Share};
use chat::{Action, Refusal, Request, RequestId, Sequence, TokenHash};
use futures_util::{Stream, StreamExt};
use store::Session;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

/// Messages of one stream that wait for their answers.
const UNANSWERED_MAX: usize = 512;

/// A message as its door has read it.
pub(crate) trait Given {
    /// The id that its answer names.
    fn request_id(&self) -> Vec<u8>;
    /// What it says, or why it can't be read.
    fn read(&self) -> Result<(RequestId, Outgoing<'_>), Refusal>;
}

/// What became of one message of a stream.
#[derive(Debug)]
pub(crate) struct MessageAnswer {
    pub(crate) request_id: Vec<u8>,
    pub(crate) outcome: Result<Sent, NotDone>,
}

/// Why a stream is over.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    Failed(Failure),
    /// The client's side of it broke, in the words of its door.
    Broken(E),
}

impl<E> From<Failure> for Ended<E> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What waits to be answered, in the stream's order.
enum Unanswered<E> {
    Submitted(oneshot::Receiver<Settled>),
    Refused(Refusal),
    /// The stream ends with this, once what came before it is answered.
    Ended(Ended<E>),
}

/// What becomes of a stream after an answer.
enum Then {
    GoOn,
    End,
}

impl Service {
    /// Takes messages from a stream, each into effect in the stream's order, and answers each by itself in that order.
    ///
    /// A refusal for a reason that may pass ends the stream with its answer, and nothing behind it takes effect: that message
    /// may be sent again, and what follows it must not be there before it. One for the message alone is only answered.
    ///
    /// Everything belongs to one primacy: when the primacy ends, the stream ends with the first message that has no answer, and
    /// nothing behind it takes effect.
    pub(crate) async fn send_many<G, E>(
        &self,
        token: TokenHash,
        messages: impl Stream<Item = Result<G, E>> + Send + Unpin + 'static,
    ) -> Result<ReceiverStream<Result<MessageAnswer, Ended<E>>>, Failure>
    where
        G: Given + Send + Sync + 'static,
        E: Send + 'static,
    {
        let session = self.session(token).await?;
        let answers = self.take_messages(session, token, messages)?;
        // A session that ended before its stream was registered has not ended the stream.
        self.session(token).await?;
        Ok(answers)
    }

    fn take_messages<G, E>(
        &self,
        session: Session,
        token: TokenHash,
        mut messages: impl Stream<Item = Result<G, E>> + Send + Unpin + 'static,
    ) -> Result<ReceiverStream<Result<MessageAnswer, Ended<E>>>, Failure>
    where
        G: Given + Send + Sync + 'static,
        E: Send + 'static,
    {
        let service = self.clone();
        let mut registered =
            self.delivery.register(session.account.id, session.id, Subscription::default())?;
        let primacy = self.gateway.primacy().map_err(|why| self.declined(why))?;
        let (answers, stream) = mpsc::channel(UNREAD_MAX);
        let (waiting, mut unanswered) = mpsc::channel::<(Vec<u8>, Unanswered<E>)>(UNANSWERED_MAX);
        let answering = self.clone();
        let sequence = Sequence::default();
        let share = Share::Account(session.account.id);
        tokio::spawn(async move {
            while let Some((request_id, next)) = unanswered.recv().await {
                let (answer, then) = match answering.answer(next).await {
                    Ok((outcome, then)) => (Ok(MessageAnswer { request_id, outcome }), then),
                    Err(ended) => (Err(ended), Then::End),
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
                    end = ended(&mut registered) => Err(service.failure_of(end).into()),
                    () = &mut expired => Err(Failure::from(Refusal::SessionInvalid).into()),
                    () = waiting.closed() => return,
                    next = messages.next() => next.transpose().map_err(Ended::Broken),
                };
                let message = match next {
                    Ok(Some(message)) => message,
                    Ok(None) => return,
                    Err(ended) => {
                        // The client has closed the stream, or is told why it ends.
                        let _ = waiting.send((Vec::new(), Unanswered::Ended(ended))).await;
                        return;
                    }
                };
                let request = message.read().and_then(|(id, message)| {
                    let action = service.send_action(message)?;
                    let action = Action::Signed { session: token, action };
                    Ok(Request { id, sequence: Some(sequence.clone()), action })
                });
                let submitted = match request {
                    Err(refusal) => Unanswered::Refused(refusal),
                    Ok(request) => match service.gateway.submit_in_turn(share, request, primacy).await {
                        Ok(outcome) => Unanswered::Submitted(outcome),
                        Err(why) => Unanswered::Ended(service.declined(why).into()),
                    },
                };
                // Behind one that was not taken, nothing may take effect.
                let over = matches!(submitted, Unanswered::Ended(_));
                if waiting.send((message.request_id(), submitted)).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    async fn answer<E>(&self, unanswered: Unanswered<E>) -> Result<(Result<Sent, NotDone>, Then), Ended<E>> {
        let done = match unanswered {
            Unanswered::Ended(ended) => return Err(ended),
            Unanswered::Refused(refusal) => Err(NotDone::Refused(refusal)),
            Unanswered::Submitted(outcome) => {
                let settled = outcome.await.map_err(|_| self.declined(Declined::NotServing))?;
                settled.done(self.replicas())
            }
        };
        match done {
            Ok((answer, copies)) => Ok((Ok(self.sent(&answer, copies)?), Then::GoOn)),
            // Without a session nothing of this stream can succeed any more; a busy replica says after which time it may.
            Err(NotDone::Refused(refusal @ (Refusal::SessionInvalid | Refusal::Busy))) => {
                Err(Failure::from(refusal).into())
            }
            Err(NotDone::Refused(refusal)) => {
                let then = if refusal.is_for_the_request_alone() { Then::GoOn } else { Then::End };
                Ok((Err(NotDone::Refused(refusal)), then))
            }
            // It has its place, so what follows it stands behind it.
            Err(kept @ NotDone::KeptOnFewer(_)) => Ok((Err(kept), Then::GoOn)),
        }
    }
}
