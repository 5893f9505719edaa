//! The playground's own conversation: two people who write to each other all the time, and a ledger of what became of it.

use client::{Client, ClientError, Start, To};
use serde::Serialize;
use server::ClusterKey;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two messages of one person.
const WRITE_EVERY: Duration = Duration::from_millis(50);
/// Before something is tried again that was refused, such as a message while too few replicas are in sync.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What was heard is acknowledged after so many messages.
const ACKNOWLEDGE_EVERY: u64 = 50;
/// Messages that are shown.
const LATEST_MAX: usize = 8;
/// Who they are, unless somebody else has the name.
const NAMES: [&str; 2] = ["playground-ada", "playground-grace"];

/// What became of the messages.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ledger {
    /// Handed to the service.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) heard: u64,
    /// Acknowledged, and passed over by what was heard later.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// The longest time between two acknowledgements since a replica was last killed, paused or restarted, in
    /// milliseconds.
    pub(crate) last_gap_ms: Option<u64>,
    /// What that replica suffered.
    pub(crate) since: Option<String>,
    /// Why nothing is sent, if so.
    pub(crate) trouble: Option<String>,
    /// The newest messages, oldest first.
    pub(crate) latest: VecDeque<Line>,
}

/// A message that was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) from: String,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
struct Book {
    ledger: Ledger,
    last_acknowledged: Option<Instant>,
    /// The number of the next message that is due from each.
    due: [u64; 2],
}

impl Book {
    fn acknowledged(&mut self, now: Instant) {
        self.ledger.acknowledged += 1;
        self.ledger.trouble = None;
        if let (Some(before), Some(gap)) = (self.last_acknowledged, &mut self.ledger.last_gap_ms) {
            *gap = (*gap).max(u64::try_from((now - before).as_millis()).unwrap_or(u64::MAX));
        }
        self.last_acknowledged = Some(now);
    }

    /// A message of one of them was heard: each comes once, in the order in which they were sent.
    fn heard(&mut self, whose: usize, number: u64, line: Line) {
        let due = self.due[whose];
        if number < due {
            self.ledger.twice += 1;
            return;
        }
        self.ledger.lost += number - due;
        self.ledger.heard += 1;
        self.due[whose] = number + 1;
        self.ledger.latest.push_back(line);
        if self.ledger.latest.len() > LATEST_MAX {
            self.ledger.latest.pop_front();
        }
    }
}

/// The conversation; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    book: Arc<Mutex<Book>>,
}

impl Conversation {
    /// Begins it, as soon as somebody serves.
    pub(crate) fn begin(client: Client, key: &ClusterKey) -> Self {
        let conversation = Self { book: Arc::default() };
        // The same whenever the playground opens, and nobody else's to guess.
        let password = key.derived_password("playground");
        tokio::spawn(conversation.clone().run(client, password));
        conversation
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    /// A replica is about to be killed or paused: the next gap is the one that counts.
    pub(crate) fn hurt(&self, what: String) {
        let mut book = self.lock();
        book.ledger.last_gap_ms = Some(0);
        book.ledger.since = Some(what);
    }

    async fn run(self, client: Client, password: String) {
        let mut people = Vec::new();
        for name in NAMES {
            people.push(self.sign_in(&client, name, &password).await);
        }
        // Whatever an earlier conversation left undelivered is none of this one's.
        let run = format!("{:06x}", rand::random::<u32>() & 0x00ff_ffff);
        for (me, other) in [(0, 1), (1, 0)] {
            let (mine, theirs): (&Person, &Person) = (&people[me], &people[other]);
            tokio::spawn(self.clone().hear(client.clone(), mine.clone(), other, run.clone()));
            tokio::spawn(self.clone().write(client.clone(), mine.clone(), theirs.id, run.clone()));
        }
    }

    /// Makes the account, or finds it as an earlier playground left it.
    async fn sign_in(&self, client: &Client, name: &str, password: &str) -> Person {
        let mut name = name.to_owned();
        loop {
            let made = client.create_account(&name, password).await;
            let opened = match made {
                Ok(_) => client.login(&name, password).await,
                Err(error) if error.is_refused_for("NAME_TAKEN") => client.login(&name, password).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(opened) => return Person { id: opened.account_id, token: opened.token },
                // Somebody else's, then.
                Err(error) if error.is_refused_for("WRONG_CREDENTIALS") => name.push('\''),
                Err(error) => self.trouble(&error).await,
            }
        }
    }

    /// Writes for ever, one message after the other.
    async fn write(self, client: Client, me: Person, to: u64, run: String) {
        for number in 0.. {
            let text =
                format!("{} ({run} {number})", WORDS[usize::try_from(number).unwrap_or(0) % WORDS.len()]);
            self.lock().ledger.sent += 1;
            let mut request = client.new_request_id();
            loop {
                let sent = client.send_with_id(&me.token, &request, To::Account(to), &text, 0).await;
                match sent {
                    Ok(_) => break,
                    Err(error) => {
                        // A refused message has no place: it is another one when it is tried again.
                        if matches!(error, ClientError::Refused { .. }) {
                            request = client.new_request_id();
                        }
                        self.trouble(&error).await;
                    }
                }
            }
            self.lock().acknowledged(Instant::now());
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }

    /// Hears for ever what the other one writes.
    async fn hear(self, client: Client, me: Person, other: usize, run: String) {
        let mut listening = client.listen(&me.token, Start::default());
        let mut unacknowledged = 0;
        loop {
            match listening.message().await {
                Some(Ok(message)) => {
                    if let Some((text, number)) = read(&message.text, &run) {
                        let line = Line { id: message.id, from: message.from, text: text.to_owned() };
                        self.lock().heard(other, number, line);
                    }
                    unacknowledged += 1;
                    if unacknowledged >= ACKNOWLEDGE_EVERY {
                        unacknowledged = 0;
                        if let Err(error) = client.acknowledge(&me.token, message.id, &[]).await {
                            self.trouble(&error).await;
                        }
                    }
                }
                Some(Err(error)) => self.trouble(&error).await,
                None => return,
            }
        }
    }

    async fn trouble(&self, error: &ClientError) {
        self.lock().ledger.trouble = Some(error.to_string());
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Person {
    id: u64,
    token: String,
}

/// The words and the number of a message of this conversation.
fn read<'a>(text: &'a str, run: &str) -> Option<(&'a str, u64)> {
    let (words, mark) = text.strip_suffix(')')?.rsplit_once(" (")?;
    let (its_run, number) = mark.split_once(' ')?;
    (its_run == run).then_some((words, number.parse().ok()?))
}

const WORDS: [&str; 8] = [
    "Still here.",
    "Do you hear me?",
    "Every word.",
    "Kill the one that leads, and watch.",
    "Did you notice anything?",
    "Not a thing.",
    "Pause one; it wakes up behind, and catches up.",
    "One of three is enough.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_counts_what_is_lost_and_what_comes_twice() {
        let mut book = Book::default();
        let line = || Line { id: 1, from: "ada".into(), text: "x".into() };
        for (whose, number) in [(0, 0), (0, 1), (1, 0), (0, 1), (0, 4), (1, 1)] {
            book.heard(whose, number, line());
        }
        let Ledger { heard, lost, twice, .. } = book.ledger;
        assert_eq!((heard, lost, twice), (5, 2, 1));
    }

    #[test]
    fn the_gap_is_the_longest_one_since_a_replica_was_hurt() {
        let mut book = Book::default();
        let begun = Instant::now();
        let at = |book: &mut Book, ms| book.acknowledged(begun + Duration::from_millis(ms));
        at(&mut book, 0);
        at(&mut book, 900);
        assert_eq!(book.ledger.last_gap_ms, None, "nobody was hurt yet");
        book.ledger.last_gap_ms = Some(0);
        for ms in [910, 950, 990, 995] {
            at(&mut book, ms);
        }
        assert_eq!(book.ledger.last_gap_ms, Some(40));
    }

    #[test]
    fn a_message_of_another_run_is_not_counted() {
        assert_eq!(read("Every (word). (00ff11 17)", "00ff11"), Some(("Every (word).", 17)));
        for other in ["Every word. (00ff12 17)", "Every word.", "(00ff11 17)", "x (00ff11 y)"] {
            assert_eq!(read(other, "00ff11"), None, "{other}");
        }
    }
}
