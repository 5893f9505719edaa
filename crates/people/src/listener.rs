//! A listener: it listens all the time, and notes what it hears.

use crate::person::Person;
use client::{ClientError, Heard as Event, Message, Start};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Default)]
struct Heard {
    messages: Vec<Message>,
    /// What ended the listening.
    failure: Option<ClientError>,
}

/// A person who listens all the time. Dropped, it listens no longer.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
    opened: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen, with the first message that is not acknowledged.
    pub fn start(person: &Person) -> Self {
        let mut listening = person.session.listen(Start::default());
        let heard = Arc::<Mutex<Heard>>::default();
        let notes = heard.clone();
        let (open, opened) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Some(next) = listening.next().await {
                match next {
                    Ok(Event::Message(message)) => lock(&notes).messages.push(message),
                    Ok(Event::Listening { .. }) => drop(open.send_replace(true)),
                    Ok(Event::Reconnecting | Event::Receipt(_) | Event::ReceiptsMissed) => {}
                    Err(error) => lock(&notes).failure = Some(error),
                }
            }
        });
        Self { heard, opened, task }
    }

    /// Waits until the stream is open; false if it never will be.
    pub async fn is_open(&mut self) -> bool {
        self.opened.wait_for(|open| *open).await.is_ok()
    }

    /// What was heard, in order.
    pub fn heard(&self) -> Vec<Message> {
        lock(&self.heard).messages.clone()
    }

    /// The error that has ended the listening, if one has.
    pub fn failure(&self) -> Option<ClientError> {
        lock(&self.heard).failure.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
