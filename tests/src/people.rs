//! People: accounts with a session, who write and listen.

use crate::cluster::Cluster;
use crate::wait::{self, GENEROUS};
use client::{Client, Heard, Start};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The password of everyone, where a test does not care.
pub const PASSWORD: &str = "correct horse battery";

/// Someone with an account and a session.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub token: String,
    pub client: Client,
}

impl Person {
    /// Registers and logs in.
    pub async fn register(cluster: &Cluster, name: &str) -> Self {
        let client = cluster.client();
        client.create_account(name, PASSWORD).await.unwrap();
        let token = client.login(name, PASSWORD).await.unwrap().token;
        Self { name: name.to_owned(), token, client }
    }

    /// The same person, once a new history has ended the session, with a new one.
    ///
    /// # Panics
    /// If the old session is still good for anything.
    pub async fn again(self) -> Self {
        let refused = self.client.account(&self.token).await.unwrap_err();
        assert!(refused.is_refused_for("SESSION_INVALID"), "{refused}");
        let token = self.client.login(&self.name, PASSWORD).await.unwrap().token;
        Self { token, ..self }
    }

    pub async fn send(&self, to: &str, text: &str) -> u64 {
        self.client.send(&self.token, to, text, 0).await.unwrap().id
    }

    /// The next so many messages, from `start` on.
    pub async fn hear(&self, count: usize, start: Start) -> Vec<client::Message> {
        let mut listening = self.client.listen(&self.token, start);
        let mut heard = Vec::new();
        while heard.len() < count {
            let next = tokio::time::timeout(GENEROUS, listening.message()).await;
            heard.push(next.expect("a message in time").expect("an open stream").unwrap());
        }
        heard
    }

    pub async fn hear_texts(&self, count: usize) -> Vec<String> {
        self.hear(count, Start::default()).await.into_iter().map(|message| message.text).collect()
    }
}

/// Someone who writes without pause until told to stop.
#[derive(Debug)]
pub struct Writer {
    acknowledged: Arc<Mutex<Vec<(u64, String, Instant)>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// One message after the other, each when the one before it is acknowledged.
    pub fn one_by_one(person: &Person, to: &str) -> Self {
        let (person, to) = (person.clone(), to.to_owned());
        Self::start(move |acknowledged, stopped| async move {
            let mut number = 0;
            while !*stopped.borrow() {
                number += 1;
                let text = format!("{} {number}", person.name);
                let sent = person.client.send(&person.token, &to, &text, 0).await.unwrap();
                acknowledged.lock().unwrap().push((sent.id, text, Instant::now()));
            }
        })
    }

    /// Many in flight, in order.
    pub fn pipelined(person: &Person, to: &str) -> Self {
        let (person, to) = (person.clone(), to.to_owned());
        Self::start(move |acknowledged, stopped| async move {
            let outbox = person.client.outbox(&person.token);
            let (tickets, mut given) = tokio::sync::mpsc::channel(64);
            let answers = tokio::spawn(async move {
                while let Some((text, ticket)) = given.recv().await {
                    let ticket: client::Ticket = ticket;
                    let sent = ticket.answered().await.unwrap();
                    acknowledged.lock().unwrap().push((sent.id, text, Instant::now()));
                }
            });
            let mut number = 0;
            while !*stopped.borrow() {
                number += 1;
                let text = format!("{} {number}", person.name);
                let ticket = outbox.send(&to, &text, 0).await.unwrap();
                tickets.send((text, ticket)).await.unwrap();
            }
            drop(tickets);
            answers.await.unwrap();
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        write: impl FnOnce(Arc<Mutex<Vec<(u64, String, Instant)>>>, watch::Receiver<bool>) -> F,
    ) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(write(acknowledged.clone(), stopped));
        Self { acknowledged, stop, task }
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more are acknowledged.
    pub async fn until_more(&self, more: usize) {
        let wanted = self.count() + more;
        wait::until("messages are acknowledged", async || {
            assert!(!self.task.is_finished(), "the writer has ended");
            self.count() >= wanted
        })
        .await;
    }

    /// Stops, and gives what was acknowledged: ids, texts, and when.
    pub async fn stop(self) -> Vec<(u64, String, Instant)> {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

/// The longest pause between two acknowledgements.
pub fn longest_gap(acknowledged: &[(u64, String, Instant)]) -> Duration {
    acknowledged.windows(2).map(|pair| pair[1].2 - pair[0].2).max().unwrap_or_default()
}

/// Someone who listens all the time, and notes what is heard.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Vec<client::Message>>>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens; ready once the stream is open.
    pub async fn open(person: &Person) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut listening = person.client.listen(&person.token, Start::default());
        let notes = heard.clone();
        let (open, mut opened) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Some(next) = listening.next().await {
                match next.unwrap() {
                    Heard::Message(message) => notes.lock().unwrap().push(message),
                    Heard::Listening { .. } => drop(open.send_replace(true)),
                    Heard::Reconnecting | Heard::Receipt(_) | Heard::ReceiptsMissed => {}
                }
            }
        });
        let waited = tokio::time::timeout(GENEROUS, opened.wait_for(|open| *open)).await;
        waited.expect("a stream in time").unwrap();
        Self { heard, task }
    }

    pub fn heard(&self) -> Vec<client::Message> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until everything acknowledged was heard, and asserts: once, in order, and nothing else.
    pub async fn assert_heard_exactly(self, acknowledged: &[(u64, String, Instant)]) {
        let last = acknowledged.last().expect("something was acknowledged").0;
        wait::until("the last message is heard", async || {
            assert!(!self.task.is_finished(), "the listener has ended");
            self.heard().last().is_some_and(|message| message.id >= last)
        })
        .await;
        let heard: Vec<(u64, String)> =
            self.heard().into_iter().map(|message| (message.id, message.text)).collect();
        let sent: Vec<(u64, String)> = acknowledged.iter().map(|(id, text, _)| (*id, text.clone())).collect();
        assert!(heard.is_sorted_by(|a, b| a.0 < b.0), "messages were heard out of order, or twice");
        assert_eq!(heard, sent, "what was heard is not what was acknowledged");
        self.task.abort();
    }
}
