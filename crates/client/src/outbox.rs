//! The outbox: a sender's messages in order and exactly once, with many of them in flight.
//!
//! Messages wait here until they are answered. When a stream breaks, the next one begins with the first message that
//! has no answer, and carries the same request ids: what took effect before gets its answer, what did not takes effect
//! now, and neither overtakes the other.
//!
//! A refusal is an answer. One that may pass ends the stream, and nothing behind it has taken effect: the next stream begins
//! with what follows it. What is kept on fewer replicas than were asked for has its place; it steps out of the line and is
//! asked for again a little later, behind whatever is in the line then.

use crate::connection::{Connection, Primary};
use crate::ended::Ended;
use crate::error::ClientError;
use crate::pause::Pause;
use crate::request::{ASK_AGAIN_AFTER, Sent, To, check_size, check_text, signed};
use api::status::{KEPT_ON_FEWER, Kept};
use api::v1;
use api::v1::send_messages_response::Outcome;
use chat::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

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
    /// Waits until the message is acknowledged or refused. One that is kept on fewer replicas than were asked for is asked
    /// for again until enough hold it, or the client's timeout is over: then this says how many do
    /// ([`ClientError::KeptOnFewer`]).
    pub async fn answered(self) -> Result<Sent, ClientError> {
        self.answer.await.unwrap_or(Err(ClientError::Abandoned))
    }
}

#[derive(Debug)]
struct Unanswered {
    message: v1::SendMessageRequest,
    answer: oneshot::Sender<Result<Sent, ClientError>>,
    /// Set once it is known to have its place.
    kept: Option<KeptUntil>,
}

/// What is known of a message that is kept on fewer replicas than were asked for.
#[derive(Debug)]
struct KeptUntil {
    /// When asking ends.
    give_up_at: Instant,
    /// What was said last.
    error: ClientError,
}

impl Unanswered {
    /// The caller may have dropped its ticket.
    fn settle(self, result: Result<Sent, ClientError>) {
        let _ = self.answer.send(result);
    }

    /// What is known to be kept is told so, whatever asking again came to: it has taken effect.
    fn fail(mut self, error: ClientError) {
        let error = self.kept.take().map_or(error, |kept| kept.error);
        self.settle(Err(error));
    }
}

impl Outbox {
    pub(crate) fn start(connection: Arc<Connection>, token: Arc<str>) -> Self {
        let (messages, given) = mpsc::channel(IN_FLIGHT_MAX);
        let sender = Sender {
            connection: connection.clone(),
            token,
            given,
            given_up: false,
            unanswered: VecDeque::new(),
            kept: VecDeque::new(),
        };
        tokio::spawn(sender.run());
        Self { connection, messages }
    }

    /// Gives a message to be sent after those given before. Waits only if too many have no answer yet. One that no replica would
    /// take has its refusal at once, and delays no other message.
    pub async fn send(
        &self,
        to: impl Into<To<'_>>,
        text: &str,
        min_copies: u32,
    ) -> Result<Ticket, ClientError> {
        let to = to.into();
        let (answer, ticket) = oneshot::channel();
        let ticket = Ticket { answer: ticket };
        let message = to.message(self.connection.new_request_id().await, text, min_copies);
        let unanswered = Unanswered { message, answer, kept: None };
        match check_text(text).and_then(|()| check_size(&unanswered.message)) {
            Err(refusal) => unanswered.settle(Err(refusal)),
            Ok(()) => self.messages.send(unanswered).await.map_err(|_| ClientError::Abandoned)?,
        }
        Ok(ticket)
    }
}

struct Sender {
    connection: Arc<Connection>,
    token: Arc<str>,
    given: mpsc::Receiver<Unanswered>,
    /// The application has given its last message.
    given_up: bool,
    /// In the order of the stream.
    unanswered: VecDeque<Unanswered>,
    /// Kept on fewer replicas than were asked for, each with the moment when it is asked for again, soonest first.
    kept: VecDeque<(Instant, Unanswered)>,
}

impl Sender {
    async fn run(mut self) {
        let mut pause = Pause::default();
        let mut last = "no replica answered".to_owned();
        // The time runs from the last answer, and only while something waits for one.
        let mut until = None;
        loop {
            while self.unanswered.is_empty() {
                until = None;
                if self.given_up && self.kept.is_empty() {
                    return;
                }
                let ask_again_at = self.ask_again_at();
                tokio::select! {
                    given = self.given.recv(), if !self.given_up => match given {
                        Some(message) => self.unanswered.push_back(message),
                        None => self.given_up = true,
                    },
                    () = tokio::time::sleep_until(ask_again_at), if !self.kept.is_empty() => {
                        let due = self.due();
                        self.unanswered.extend(due);
                    }
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
                Ended::Refused => {}
                Ended::Final(error) => return self.fail(&error),
                Ended::Broken(why) => {
                    last = why;
                    self.connection.lose(&primary);
                }
                Ended::Busy(retry_after) => {
                    last = Reason::Busy.to_string();
                    tokio::time::sleep(retry_after).await;
                }
            }
            if progress {
                until = None;
                pause = Pause::default();
            } else {
                if Instant::now() >= limit {
                    let error = self.connection.none_served(&last);
                    return self.fail(&error);
                }
                pause.wait().await;
            }
        }
    }

    /// One stream: what has no answer goes first, then what is given meanwhile.
    async fn deliver(&mut self, primary: &Primary, first_answer_by: Instant, progress: &mut bool) -> Ended {
        // Room for all that can be unanswered, so that giving to the stream never waits.
        let (requests, to_send) = mpsc::channel(2 * IN_FLIGHT_MAX);
        for unanswered in &self.unanswered {
            if requests.try_send(unanswered.message.clone()).is_err() {
                return Ended::Broken("the stream could not be filled".into());
            }
        }
        let opened = async {
            let mut client = primary.client();
            client.send_messages(signed(ReceiverStream::new(to_send), &self.token)?).await
        };
        let opened = tokio::select! {
            opened = opened => opened,
            () = primary.lost() => return Ended::Broken("the primary was lost".into()),
            () = tokio::time::sleep_until(first_answer_by) => return Ended::Broken("no answer in time".into()),
        };
        let mut answers = match opened {
            Ok(opened) => opened.into_inner(),
            Err(status) => return status.into(),
        };
        let mut answer_by = first_answer_by;
        let mut refused = false;
        loop {
            let room = self.unanswered.len() + self.kept.len() < IN_FLIGHT_MAX && !self.given_up;
            let ask_again_at = self.ask_again_at();
            tokio::select! {
                answer = answers.message() => {
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) if refused => return Ended::Refused,
                        Ok(None) => return Ended::Broken("the stream ended".into()),
                        Err(status) => return status.into(),
                    };
                    match self.answered(answer) {
                        Some(answer) => refused = answer == Answer::Refused,
                        None => return Ended::Broken("an answer out of order".into()),
                    }
                    *progress = true;
                    answer_by = Instant::now() + self.connection.timeout();
                }
                given = self.given.recv(), if room => match given {
                    Some(unanswered) => {
                        if self.unanswered.is_empty() {
                            answer_by = Instant::now() + self.connection.timeout();
                        }
                        let sent = requests.try_send(unanswered.message.clone());
                        self.unanswered.push_back(unanswered);
                        if sent.is_err() {
                            return Ended::Broken("the stream is over".into());
                        }
                    }
                    None => self.given_up = true,
                },
                () = tokio::time::sleep_until(ask_again_at), if !self.kept.is_empty() => {
                    if self.unanswered.is_empty() {
                        answer_by = Instant::now() + self.connection.timeout();
                    }
                    let due = self.due();
                    let sent =
                        due.iter().all(|unanswered| requests.try_send(unanswered.message.clone()).is_ok());
                    self.unanswered.extend(due);
                    if !sent {
                        return Ended::Broken("the stream is over".into());
                    }
                }
                () = primary.lost() => return Ended::Broken("the primary was lost".into()),
                () = tokio::time::sleep_until(answer_by), if !self.unanswered.is_empty() => {
                    return Ended::Broken("no answer in time".into());
                }
            }
            if self.given_up && self.unanswered.is_empty() && self.kept.is_empty() {
                return Ended::Done;
            }
        }
    }

    /// When the first of those that are kept on too few replicas is asked for again.
    fn ask_again_at(&self) -> Instant {
        self.kept.front().map_or_else(Instant::now, |(at, _)| *at)
    }

    /// Those that it is time to ask for again.
    fn due(&mut self) -> Vec<Unanswered> {
        let now = Instant::now();
        let due = self.kept.iter().take_while(|(at, _)| *at <= now).count();
        self.kept.drain(..due).map(|(_, unanswered)| unanswered).collect()
    }

    /// Gives the first message its answer. `None` if the answer belongs to another.
    fn answered(&mut self, answer: v1::SendMessagesResponse) -> Option<Answer> {
        let outcome = answer.outcome?;
        let first = self.unanswered.pop_front_if(|first| first.message.request_id == answer.request_id)?;
        match outcome {
            Outcome::Sent(sent) => {
                first.settle(Ok(sent.into()));
                Some(Answer::Sent)
            }
            Outcome::Refused(refused) if refused.reason == KEPT_ON_FEWER => {
                self.keep(first, Kept::read(&refused.metadata, &refused.message).into());
                Some(Answer::Kept)
            }
            Outcome::Refused(refused) => {
                let error =
                    ClientError::Refused { reason: (&*refused.reason).into(), message: refused.message };
                first.fail(error);
                Some(Answer::Refused)
            }
        }
    }

    /// A message has its place, on fewer replicas than were asked for: it is asked for again, while there is time.
    fn keep(&mut self, mut unanswered: Unanswered, error: ClientError) {
        let now = Instant::now();
        let give_up_at =
            unanswered.kept.take().map_or_else(|| now + self.connection.timeout(), |kept| kept.give_up_at);
        if now >= give_up_at {
            return unanswered.settle(Err(error));
        }
        unanswered.kept = Some(KeptUntil { give_up_at, error });
        self.kept.push_back((now + ASK_AGAIN_AFTER, unanswered));
    }

    fn fail(mut self, error: &ClientError) {
        self.given.close();
        while let Ok(unanswered) = self.given.try_recv() {
            self.unanswered.push_back(unanswered);
        }
        let kept = self.kept.into_iter().map(|(_, unanswered)| unanswered);
        for unanswered in self.unanswered.into_iter().chain(kept) {
            unanswered.fail(error.clone());
        }
    }
}

/// What became of the first message in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Sent,
    Kept,
    Refused,
}
