//! A durable outbox: what a person has written and what is not yet acknowledged, so that neither a crash of the program nor
//! one of the primary loses or doubles it.
//!
//! The rules, which the page's outbox (`web/letters.js`) follows too, but where they say so:
//!
//! 1. A message is durable here before anything of it is sent.
//! 2. Once it was tried it goes with the same request id at every try, so that it takes effect once.
//! 3. That it is about to be handed to a socket is durable before it is. Until then it may get another request id, if its own
//!    has become old; afterwards only its owner may send it as another request, for an earlier try may have taken effect.
//! 4. Messages are sent one after the other. One that is kept on fewer replicas than were asked for has its place: it is asked
//!    for again beside those that follow.
//! 5. What was refused stays, with the reason, until its owner sends it again or drops it. It keeps no other waiting.
//! 6. Without an answer a message is tried again, for ever (the page asks its owner after a few answers that it can't read). If
//!    its session ends, it waits for the next one.

use crate::error::ClientError;
use crate::outbox_file::{OutboxFile, Waiting};
use crate::request::Sent;
use crate::session::Session;
use chat::{Reason, RequestId};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What is kept on too few replicas is asked for again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// What could not be written here is written again after this.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A message that was never tried keeps its request id for this long; the service takes those of a day.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// What becomes of the messages of a durable outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Acknowledged: it is in the outbox no longer.
    Sent {
        /// Which message.
        request_id: RequestId,
        /// What the service says of it.
        sent: Sent,
    },
    /// It has its place, on fewer replicas than were asked for, and is asked for again.
    KeptOnFewer {
        /// Which message.
        request_id: RequestId,
        /// How many replicas hold it.
        copies: u32,
        /// How many replicas there are.
        replicas: u32,
    },
    /// It was never tried, and has another request id now.
    Renewed {
        /// Which message.
        request_id: RequestId,
        /// Its new id.
        by: RequestId,
    },
    /// It was refused, and waits for its owner.
    Refused {
        /// Which message.
        request_id: RequestId,
        /// One sentence for people.
        why: String,
    },
    /// No replica serves; it is tried again.
    NobodyServes,
    /// Nothing is sent, as the file can't be written; it is tried again.
    Unwritable {
        /// The error of the disk.
        why: String,
    },
    /// What was answered could not be written down: the next start of the program sends the message again. One that was
    /// acknowledged gets the same answer; one that was refused may be accepted then.
    Unsettled {
        /// The error of the disk.
        why: String,
    },
    /// The session has ended, and with it the sending.
    SessionEnded(ClientError),
}

/// An outbox whose messages outlive the program. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DurableOutbox {
    file: Arc<Mutex<OutboxFile>>,
    to_send: mpsc::UnboundedSender<Waiting>,
}

impl DurableOutbox {
    /// An outbox over an open file and what waits in it, and the task that sends: it ends after the outbox is dropped, or with
    /// the session. `report` is called with what becomes of the messages.
    pub fn start(
        session: Session,
        (file, waiting): (OutboxFile, Vec<Waiting>),
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (to_send, written) = mpsc::unbounded_channel();
        // What was refused waits for its owner.
        for message in waiting.into_iter().filter(|message| message.refused.is_none()) {
            // The other end is in the next lines.
            let _ = to_send.send(message);
        }
        let outbox = Self { file: Arc::new(Mutex::new(file)), to_send };
        let sender = Sender { session, file: outbox.file.clone(), report: Arc::new(report) };
        (outbox, sender.send_all(written))
    }

    /// Keeps a message, and sends it after those before it. `instead_of` is a refused message whose place it takes. On an
    /// error nothing has changed, and nothing is sent.
    pub fn send(&self, message: Waiting, instead_of: Option<RequestId>) -> io::Result<()> {
        // Held until the message is given on, so that both keep one order.
        let mut file = lock(&self.file);
        match instead_of {
            Some(earlier) => file.replace(earlier, &message),
            None => file.keep(&message),
        }?;
        // The task that sends has ended only if the session has.
        let _ = self.to_send.send(message);
        Ok(())
    }

    /// Drops a message that was refused.
    pub fn let_go(&self, request_id: RequestId) -> io::Result<()> {
        lock(&self.file).let_go(request_id)
    }

    /// Forgets everything, when its account leaves this machine.
    pub fn clear(&self) -> io::Result<()> {
        lock(&self.file).clear()
    }
}

fn lock(file: &Mutex<OutboxFile>) -> MutexGuard<'_, OutboxFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Sender {
    session: Session,
    file: Arc<Mutex<OutboxFile>>,
    report: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Sender {
    async fn send_all(self, mut written: mpsc::UnboundedReceiver<Waiting>) {
        let mut kept = JoinSet::new();
        while let Some(mut message) = written.recv().await {
            self.make_ready(&mut message).await;
            match self.send_until_answered(&message).await {
                Err(error @ ClientError::KeptOnFewer { .. }) => {
                    kept.spawn(self.clone().ask_again(message, error));
                }
                // It stays in the outbox for the next session.
                Err(error) if error.is_refused_for(&Reason::SessionInvalid) => {
                    return (self.report)(Progress::SessionEnded(error));
                }
                outcome => self.settle(message.request_id, outcome),
            }
        }
        kept.join_all().await;
    }

    /// Waits until a replica serves, and notes, durably, that a message is tried. One that was never tried and has waited for
    /// long gets a fresh request id first.
    async fn make_ready(&self, message: &mut Waiting) {
        loop {
            while self.session.ready().await.is_err() {
                (self.report)(Progress::NobodyServes);
            }
            match self.mark_tried(message) {
                Ok(()) => return,
                Err(error) => {
                    (self.report)(Progress::Unwritable { why: error.to_string() });
                    tokio::time::sleep(WRITE_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn mark_tried(&self, message: &mut Waiting) -> io::Result<()> {
        if message.tried {
            return Ok(());
        }
        let fresh = self.session.new_request_id();
        if is_old(message.request_id, fresh) {
            let earlier = message.request_id;
            let renewed = Waiting { request_id: fresh, ..message.clone() };
            lock(&self.file).replace(earlier, &renewed)?;
            *message = renewed;
            (self.report)(Progress::Renewed { request_id: earlier, by: fresh });
        }
        lock(&self.file).tried(message.request_id)?;
        message.tried = true;
        Ok(())
    }

    /// Asks again for a message that has its place, until enough replicas hold it. It stays in the outbox until then.
    async fn ask_again(self, message: Waiting, mut error: ClientError) {
        let request_id = message.request_id;
        loop {
            match &error {
                ClientError::KeptOnFewer { copies, replicas, .. } => {
                    let (copies, replicas) = (*copies, *replicas);
                    (self.report)(Progress::KeptOnFewer { request_id, copies, replicas });
                }
                error if error.is_refused_for(&Reason::SessionInvalid) => {
                    return (self.report)(Progress::SessionEnded(error.clone()));
                }
                // It has its place, whatever the answer is now: it stays in the outbox, and is asked for again.
                _ => {}
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
            match self.send_until_answered(&message).await {
                Err(again) => error = again,
                Ok(sent) => return self.settle(request_id, Ok(sent)),
            }
        }
    }

    async fn send_until_answered(&self, message: &Waiting) -> Result<Sent, ClientError> {
        loop {
            match self.session.send_with_id(message.request_id, message.with, &message.text, 0).await {
                Err(ClientError::NobodyServed { .. } | ClientError::Abandoned) => {
                    (self.report)(Progress::NobodyServes);
                }
                // That says nothing of an earlier try, which may have taken effect.
                Err(error) if error.is_refused_for(&Reason::Busy) => {}
                answer => return answer,
            }
        }
    }

    fn settle(&self, request_id: RequestId, outcome: Result<Sent, ClientError>) {
        let (written, progress) = match outcome {
            Ok(sent) => (lock(&self.file).settle(request_id), Progress::Sent { request_id, sent }),
            Err(error) => {
                let why = error.to_string();
                (lock(&self.file).refused(request_id, &why), Progress::Refused { request_id, why })
            }
        };
        if let Err(error) = written {
            (self.report)(Progress::Unsettled { why: error.to_string() });
        }
        (self.report)(progress);
    }
}

/// Whether an id is dated so far from one that was drawn now that the service may refuse it soon.
fn is_old(request_id: RequestId, now: RequestId) -> bool {
    let date = |id: RequestId| id.dated().map_or(0, |date| date.0);
    u128::from(date(request_id).abs_diff(date(now))) > FRESH_FOR.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{NoContext, Timestamp, Uuid};

    #[test]
    fn an_id_is_old_after_an_hour_either_way() {
        let dated = |seconds| RequestId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)));
        let now = 1_800_000_000;
        let hour = FRESH_FOR.as_secs();
        for (date, old) in [(now, false), (now - hour, false), (now - hour - 1, true), (now + hour + 1, true)]
        {
            assert_eq!(is_old(dated(date), dated(now)), old, "{date}");
        }
    }
}
