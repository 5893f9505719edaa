//! The outbox: a sender's messages in order and exactly once, with many of them in flight.
//!
//! Messages wait here until they are answered. When a stream breaks, the next one begins with the first message that
//! has no answer, and carries the same request ids: what took effect before gets its answer, what did not takes effect
//! now, and neither overtakes the other.

use crate::calls::{Sent, signed};
use crate::connection::{Connection, Pause, Primary};
use crate::error::ClientError;
use api::status::{BUSY, Meaning, meaning};
use api::v1;
use api::v1::send_messages_response::Outcome;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages without an answer; then `send` waits.
const IN_FLIGHT_MAX: usize = 256;

/// Sends messages in the order in which they are given.
#[derive(Debug)]
pub struct Outbox {
    connection: Arc<Connection>,
    messages: mpsc::Sender<Unanswered>,
}

/// Where the answer to one message arrives.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Receiver<Result<Sent, ClientError>>,
}

impl Ticket {
    /// Waits until the message is acknowledged or refused.
    pub async fn answered(self) -> Result<Sent, ClientError> {
        self.answer.await.unwrap_or(Err(ClientError::Abandoned))
    }
}

#[derive(Debug)]
struct Unanswered {
    message: v1::SendMessageRequest,
    answer: oneshot::Sender<Result<Sent, ClientError>>,
}

impl Outbox {
    pub(crate) fn start(connection: Arc<Connection>, token: String) -> Self {
        let (messages, given) = mpsc::channel(IN_FLIGHT_MAX);
        let postman = Postman {
            connection: connection.clone(),
            token,
            given,
            given_up: false,
            unanswered: VecDeque::new(),
        };
        tokio::spawn(postman.run());
        Self { connection, messages }
    }

    /// Gives a message to be sent after those given before. Waits only if too many have no answer yet.
    pub async fn send(&self, to: &str, text: &str, min_copies: u32) -> Result<Ticket, ClientError> {
        let (answer, ticket) = oneshot::channel();
        let message = v1::SendMessageRequest {
            request_id: self.connection.new_request_id().await,
            to: to.to_owned(),
            to_id: 0,
            text: text.to_owned(),
            min_copies,
        };
        self.messages.send(Unanswered { message, answer }).await.map_err(|_| ClientError::Abandoned)?;
        Ok(Ticket { answer: ticket })
    }
}

struct Postman {
    connection: Arc<Connection>,
    token: String,
    given: mpsc::Receiver<Unanswered>,
    /// The application has given its last message.
    given_up: bool,
    unanswered: VecDeque<Unanswered>,
}

/// Why one stream ended.
enum Ended {
    /// Everything is answered, and nothing more will come.
    Done,
    Final(ClientError),
    Broken(String),
    /// The replica has too much to do: it is asked again after this.
    Busy(Duration),
}

impl Postman {
    async fn run(mut self) {
        let mut pause = Pause::default();
        let mut last = "no replica answered".to_owned();
        // The time runs from the last answer, and only while something waits for one.
        let mut until = None;
        loop {
            if self.unanswered.is_empty() {
                until = None;
                match self.given.recv().await {
                    Some(message) => self.unanswered.push_back(message),
                    None => return,
                }
            }
            let limit = *until.get_or_insert_with(|| Instant::now() + self.connection.timeout());
            let primary = match self.connection.primary(limit, &last).await {
                Ok(primary) => primary,
                Err(error) => return self.fail(&error),
            };
            let mut progress = false;
            match self.deliver(&primary, limit, &mut progress).await {
                Ended::Done => return,
                Ended::Final(error) => return self.fail(&error),
                Ended::Broken(why) => {
                    last = why;
                    self.connection.lose(&primary);
                }
                Ended::Busy(retry_after) => {
                    BUSY.clone_into(&mut last);
                    tokio::time::sleep(retry_after).await;
                }
            }
            if progress {
                until = None;
                pause = Pause::default();
            } else {
                if Instant::now() >= limit {
                    let error = self.connection.nobody(&last);
                    return self.fail(&error);
                }
                pause.wait().await;
            }
        }
    }

    /// One stream: what has no answer goes first, then what is given meanwhile.
    async fn deliver(&mut self, primary: &Primary, first_answer_by: Instant, progress: &mut bool) -> Ended {
        // Room for all that can be unanswered, so that giving to the stream never waits.
        let (say, said) = mpsc::channel(2 * IN_FLIGHT_MAX);
        for one in &self.unanswered {
            if say.try_send(one.message.clone()).is_err() {
                return Ended::Broken("the stream could not be filled".into());
            }
        }
        let opened = async {
            let mut client = primary.client();
            client.send_messages(signed(ReceiverStream::new(said), &self.token)?).await
        };
        let opened = tokio::select! {
            opened = opened => opened,
            () = primary.lost() => return Ended::Broken("the primary was lost".into()),
            () = tokio::time::sleep_until(first_answer_by) => return Ended::Broken("no answer in time".into()),
        };
        let mut answers = match opened {
            Ok(opened) => opened.into_inner(),
            Err(status) => return ended(&status),
        };
        let mut answer_by = first_answer_by;
        loop {
            let room = self.unanswered.len() < IN_FLIGHT_MAX && !self.given_up;
            tokio::select! {
                answer = answers.message() => {
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) => return Ended::Broken("the stream ended".into()),
                        Err(status) => return ended(&status),
                    };
                    if !self.answered(answer) {
                        return Ended::Broken("an answer out of order".into());
                    }
                    *progress = true;
                    answer_by = Instant::now() + self.connection.timeout();
                }
                given = self.given.recv(), if room => match given {
                    Some(one) => {
                        if self.unanswered.is_empty() {
                            answer_by = Instant::now() + self.connection.timeout();
                        }
                        let said = say.try_send(one.message.clone());
                        self.unanswered.push_back(one);
                        if said.is_err() {
                            return Ended::Broken("the stream is over".into());
                        }
                    }
                    None => self.given_up = true,
                },
                () = primary.lost() => return Ended::Broken("the primary was lost".into()),
                () = tokio::time::sleep_until(answer_by), if !self.unanswered.is_empty() => {
                    return Ended::Broken("no answer in time".into());
                }
            }
            if self.given_up && self.unanswered.is_empty() {
                return Ended::Done;
            }
        }
    }

    /// Gives the first message its answer. False if the answer belongs to another.
    fn answered(&mut self, answer: v1::SendMessagesResponse) -> bool {
        let first = self.unanswered.pop_front_if(|first| first.message.request_id == answer.request_id);
        let Some(first) = first else { return false };
        let result = match answer.outcome {
            Some(Outcome::Sent(sent)) => Ok(sent.into()),
            Some(Outcome::Refused(refused)) => {
                Err(ClientError::Refused { reason: refused.reason, message: refused.message })
            }
            None => {
                self.unanswered.push_front(first);
                return false;
            }
        };
        // Whoever gave the message may not care about its answer.
        let _ = first.answer.send(result);
        true
    }

    fn fail(mut self, error: &ClientError) {
        self.given.close();
        while let Ok(one) = self.given.try_recv() {
            self.unanswered.push_back(one);
        }
        for one in self.unanswered {
            let _ = one.answer.send(Err(error.clone()));
        }
    }
}

fn ended(status: &Status) -> Ended {
    match meaning(status) {
        Meaning::Refused { reason, message, .. } => Ended::Final(ClientError::Refused { reason, message }),
        Meaning::Busy { retry_after } => Ended::Busy(retry_after),
        Meaning::NotPrimary { .. } | Meaning::Unknown => Ended::Broken(status.message().to_owned()),
    }
}
