//! `listen`: prints messages as they arrive, and acknowledges what is printed.
//!
//! `--timeout` limits how long the first stream is waited for. Once messages were listened to, an outage of any length
//! ends nothing: the stream is opened again where it was lost.

use crate::account::session_of;
use crate::arguments::{Common, Listen};
use crate::failure::{Failure, complain};
use crate::output;
use crate::{hang_up, signals};
use client::{ClientError, Heard, Listening, MessageId, Session, Start};
use std::io;

/// How many printed messages may be unacknowledged while more are arriving.
const ACKNOWLEDGE_EVERY: u64 = 100;

pub(crate) async fn listen(common: &Common, listen: &Listen) -> Result<(), Failure> {
    let session = session_of(common, &listen.caller).await?;
    let mut subscription = Subscription::new(session, listen.after.map(MessageId));
    let mut listening = subscription.open();
    let mut printed = 0;
    let interrupted = async {
        tokio::select! {
            _ = signals::interrupted() => {}
            () = hang_up::gone(io::stdout()) => {}
        }
    };
    let mut interrupted = std::pin::pin!(interrupted);
    loop {
        // What is printed is acknowledged when nothing more is there at once.
        let next = tokio::select! {
            biased;
            () = &mut interrupted => break,
            next = listening.next() => next,
            () = std::future::ready(()), if subscription.unacknowledged > 0 => {
                tokio::select! {
                    () = &mut interrupted => break,
                    acknowledged = subscription.acknowledge() => subscription.survives(acknowledged)?,
                }
                continue;
            }
        };
        match next {
            Some(Ok(Heard::Listening { history })) => subscription.opened(history),
            Some(Ok(Heard::Message(message))) => {
                if listen.json {
                    output::json(&output::message_json(&message))?;
                } else {
                    output::line(&output::message_line(&message))?;
                }
                subscription.start.after = Some(MessageId(message.id));
                subscription.unacknowledged += 1;
                printed += 1;
                if listen.count.is_some_and(|count| printed >= count) {
                    break;
                }
                if subscription.unacknowledged >= ACKNOWLEDGE_EVERY {
                    let acknowledged = subscription.acknowledge().await;
                    subscription.survives(acknowledged)?;
                }
            }
            Some(Ok(Heard::Reconnecting | Heard::Receipt(_) | Heard::ReceiptsMissed)) => {}
            Some(Err(error)) => {
                subscription.survives(Err(error))?;
                listening = subscription.open();
            }
            None => break,
        }
    }
    Ok(subscription.acknowledge().await?)
}

/// What was printed, and what of it is acknowledged.
struct Subscription {
    session: Session,
    /// Behind the last printed message.
    start: Start,
    unacknowledged: u64,
    was_open: bool,
    /// The outage is known to the person.
    told_of_outage: bool,
}

impl Subscription {
    fn new(session: Session, after: Option<MessageId>) -> Self {
        let start = Start { after, ..Start::default() };
        Self { session, start, unacknowledged: 0, was_open: false, told_of_outage: false }
    }

    fn open(&self) -> Listening {
        self.session.listen(self.start.clone())
    }

    fn opened(&mut self, history: Vec<u8>) {
        self.start.history = history;
        self.was_open = true;
        self.told_of_outage = false;
    }

    /// An outage is told once and survived, if the stream was open before; every other error ends the command.
    fn survives(&mut self, result: Result<(), ClientError>) -> Result<(), ClientError> {
        match result {
            Err(error @ ClientError::NobodyServed { .. }) if self.was_open => {
                if !std::mem::replace(&mut self.told_of_outage, true) {
                    complain(&format!("{error}; listening goes on once a replica serves"));
                }
                Ok(())
            }
            result => result,
        }
    }

    async fn acknowledge(&mut self) -> Result<(), ClientError> {
        if let (Some(up_to), 1..) = (self.start.after, self.unacknowledged) {
            self.session.acknowledge(up_to, &self.start.history).await?;
            self.unacknowledged = 0;
        }
        Ok(())
    }
}
