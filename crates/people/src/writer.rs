//! Writers: they write without end until they are stopped, and note what is acknowledged.

use crate::person::Person;
use client::{ClientError, MessageId, Ticket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Answers that a pipelined writer waits for at a time.
const IN_FLIGHT: usize = 64;

/// A message that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number.
    pub id: MessageId,
    /// What was written.
    pub text: String,
    /// When its sender learned of it.
    pub at: Instant,
}

/// The longest time between two acknowledgements that follow each other.
pub fn longest_gap(acknowledged: &[Acknowledged]) -> Duration {
    acknowledged.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
}

#[derive(Debug, Default)]
struct Noted {
    acknowledged: Vec<Acknowledged>,
    /// What ended the writing.
    failure: Option<ClientError>,
}

type Notes = Arc<Mutex<Noted>>;

fn lock(notes: &Notes) -> MutexGuard<'_, Noted> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(notes: &Notes, id: MessageId, text: String) {
    lock(notes).acknowledged.push(Acknowledged { id, text, at: Instant::now() });
}

/// A person who writes to another, "NAME 1", "NAME 2" and so on. The first call that fails ends the writing.
#[derive(Debug)]
pub struct Writer {
    notes: Notes,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// One message after the other, each this long after the one before it is acknowledged.
    pub fn one_by_one(person: &Person, to: &str, pause: Duration) -> Self {
        let (person, to) = (person.clone(), to.to_owned());
        Self::start(|notes, stopped| async move {
            for number in 1.. {
                if *stopped.borrow() {
                    break;
                }
                let text = format!("{} {number}", person.name);
                note(&notes, person.session.send(&to, &text, 0).await?.id, text);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            Ok(())
        })
    }

    /// Many in flight, in order.
    pub fn pipelined(person: &Person, to: &str) -> Self {
        let (person, to) = (person.clone(), to.to_owned());
        Self::start(|notes, stopped| async move {
            let outbox = person.session.outbox();
            let (tickets, mut given) = mpsc::channel::<(String, Ticket)>(IN_FLIGHT);
            let write = async move {
                for number in 1.. {
                    if *stopped.borrow() {
                        break;
                    }
                    let text = format!("{} {number}", person.name);
                    let ticket = outbox.send(&to, &text, 0).await?;
                    if tickets.send((text, ticket)).await.is_err() {
                        // An answer was an error, which is the end.
                        break;
                    }
                }
                Ok(())
            };
            let read = async move {
                while let Some((text, ticket)) = given.recv().await {
                    note(&notes, ticket.answered().await?.id, text);
                }
                Ok(())
            };
            tokio::try_join!(write, read).map(drop)
        })
    }

    fn start<F>(write: impl FnOnce(Notes, watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = Result<(), ClientError>> + Send + 'static,
    {
        let notes = Notes::default();
        let (stop, stopped) = watch::channel(false);
        let (writing, noting) = (write(notes.clone(), stopped), notes.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = writing.await {
                lock(&noting).failure = Some(error);
            }
        });
        Self { notes, stop, task }
    }

    /// How many messages are acknowledged.
    pub fn count(&self) -> usize {
        lock(&self.notes).acknowledged.len()
    }

    /// When the first message was acknowledged after a moment.
    pub fn first_after(&self, moment: Instant) -> Option<Instant> {
        lock(&self.notes).acknowledged.iter().map(|note| note.at).find(|at| *at > moment)
    }

    /// The error that has ended the writing, if one has.
    pub fn failure(&self) -> Option<ClientError> {
        lock(&self.notes).failure.clone()
    }

    /// Stops, and gives what was acknowledged, in order; or the error that ended the writing.
    ///
    /// # Panics
    /// If the writer has.
    pub async fn stop(self) -> Result<Vec<Acknowledged>, ClientError> {
        self.stop.send_replace(true);
        self.task.await.expect("a writer ends by itself, and is not aborted");
        let Noted { acknowledged, failure } = std::mem::take(&mut *lock(&self.notes));
        failure.map_or(Ok(acknowledged), Err)
    }
}
