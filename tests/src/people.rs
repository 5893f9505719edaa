//! People of the tests: accounts with a session, who write and listen.

use crate::cluster::Cluster;
use crate::wait::{self, GENEROUS};
use client::{AccountId, Message, MessageId, Reason, Start};
pub use people::{Acknowledged, longest_gap};
use std::ops::Deref;
use std::time::Duration;

/// The password of everyone, where a test does not care.
pub const PASSWORD: &str = "correct horse battery";

/// A person of the library, with what only a test may do.
#[derive(Clone, Debug)]
pub struct Person(people::Person);

impl Deref for Person {
    type Target = people::Person;

    fn deref(&self) -> &people::Person {
        &self.0
    }
}

impl Person {
    /// Registers and logs in.
    pub async fn register(cluster: &Cluster, name: &str) -> Self {
        Self(people::Person::register(cluster.client(), name, PASSWORD).await.unwrap())
    }

    /// The same person, once a new history has ended the session, with a new one.
    ///
    /// # Panics
    /// If the old session is still good for anything.
    pub async fn again(self) -> Self {
        let refused = self.session.account().await.unwrap_err();
        assert!(refused.is_refused_for(&Reason::SessionInvalid), "{refused}");
        Self(people::Person::log_in(self.0.client, &self.0.name, PASSWORD).await.unwrap())
    }

    /// Sends a message, and gives its number.
    pub async fn send(&self, to: &str, text: &str) -> u64 {
        self.session.send(to, text, 0).await.unwrap().id.0
    }

    /// Acknowledges all up to a message, in whatever history.
    /// Sends one message after the other, each a batch of its own: more batches than a primary keeps in memory. A replica
    /// that lacks them takes what it lacks from the log, or a snapshot if the log no longer reaches back.
    pub async fn send_more_batches_than_are_kept(&self, to: &str) {
        for _ in 0..100 {
            self.send(to, "one of many").await;
        }
    }

    pub async fn acknowledge(&self, up_to: u64) -> u64 {
        self.session.acknowledge(MessageId(up_to), &[]).await.unwrap().0
    }

    /// Marks all of a conversation as seen, up to a message.
    pub async fn mark_seen(&self, with: u64, up_to: u64) -> u64 {
        self.session.mark_seen(AccountId(with), MessageId(up_to)).await.unwrap().0
    }

    /// The next messages, this many, from `start` on.
    pub async fn hear(&self, count: usize, start: Start) -> Vec<Message> {
        let mut listening = self.session.listen(start);
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

/// A person who writes without pause until stopped, and whom nothing may stop before.
#[derive(Debug)]
pub struct Writer(people::Writer);

impl Writer {
    /// One message after the other, each when the one before it is acknowledged.
    pub fn one_by_one(person: &Person, to: &str) -> Self {
        Self(people::Writer::one_by_one(person, to, Duration::ZERO))
    }

    /// Many in flight, in order.
    pub fn pipelined(person: &Person, to: &str) -> Self {
        Self(people::Writer::pipelined(person, to))
    }

    /// Waits until this many more are acknowledged.
    pub async fn until_more(&self, more: usize) {
        let wanted = self.count() + more;
        wait::until("messages are acknowledged", async || {
            assert_eq!(self.failure(), None, "the writer has ended");
            self.count() >= wanted
        })
        .await;
    }

    /// Stops, and gives what was acknowledged.
    pub async fn stop(self) -> Vec<Acknowledged> {
        self.0.stop().await.unwrap()
    }
}

impl Deref for Writer {
    type Target = people::Writer;

    fn deref(&self) -> &people::Writer {
        &self.0
    }
}

/// A person who listens all the time.
#[derive(Debug)]
pub struct Listener(people::Listener);

impl Listener {
    /// Listens; ready once the stream is open.
    pub async fn open(person: &Person) -> Self {
        let mut listener = people::Listener::start(person);
        let open = tokio::time::timeout(GENEROUS, listener.is_open()).await;
        assert!(open.expect("a stream in time"), "the listening has ended: {:?}", listener.failure());
        Self(listener)
    }

    pub fn heard(&self) -> Vec<Message> {
        self.0.heard()
    }

    /// Waits until everything acknowledged was heard, and asserts: once, in order, and nothing else.
    pub async fn assert_heard_exactly(self, acknowledged: &[Acknowledged]) {
        let last = acknowledged.last().expect("something was acknowledged").id;
        wait::until("the last message is heard", async || {
            assert_eq!(self.0.failure(), None, "the listener has ended");
            self.heard().last().is_some_and(|message| message.id >= last.0)
        })
        .await;
        let heard: Vec<(u64, String)> =
            self.heard().into_iter().map(|message| (message.id, message.text)).collect();
        let sent: Vec<(u64, String)> =
            acknowledged.iter().map(|message| (message.id.0, message.text.clone())).collect();
        assert!(heard.is_sorted_by(|a, b| a.0 < b.0), "messages were heard out of order, or twice");
        assert_eq!(heard, sent, "what was heard is not what was acknowledged");
    }
}
