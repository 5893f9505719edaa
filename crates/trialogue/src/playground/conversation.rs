//! The playground's own conversation: two people who write to each other all the time, and a ledger of what became of it.

use client::{Client, ClientError, Heard, Start, To};
use serde::Serialize;
use server::ClusterKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two messages of one person.
const WRITE_EVERY: Duration = Duration::from_millis(50);
/// Before something is tried again that was refused, such as a message while too few replicas are in sync.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What was received is acknowledged after this many messages.
const ACKNOWLEDGE_EVERY: u64 = 50;
/// What was acknowledged and is not heard within this time counts as lost, until it is heard after all.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Messages that are shown.
const LATEST_MAX: usize = 8;
/// Who they are, unless another account has the name.
const NAMES: [&str; 2] = ["playground-ada", "playground-grace"];

/// What became of the messages.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ledger {
    /// Handed to the service.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) heard: u64,
    /// Acknowledged at least [`LOST_AFTER`] ago, and not heard.
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

/// The messages of one of the two, by number.
#[derive(Debug, Default)]
struct Letters {
    /// The first that is later than all that were heard.
    next: u64,
    /// Those that later ones have passed over.
    passed_over: BTreeSet<u64>,
    /// When those were acknowledged that were not heard yet.
    awaited: BTreeMap<u64, Instant>,
}

impl Letters {
    fn acknowledged(&mut self, number: u64, now: Instant) {
        if number >= self.next || self.passed_over.contains(&number) {
            self.awaited.insert(number, now);
        }
    }

    /// Whether it is heard for the first time.
    fn heard(&mut self, number: u64) -> bool {
        self.awaited.remove(&number);
        if number < self.next {
            return self.passed_over.remove(&number);
        }
        self.passed_over.extend(self.next..number);
        self.next = number + 1;
        true
    }

    fn lost(&self, now: Instant) -> u64 {
        let lost = self.awaited.values().filter(|&&at| now.saturating_duration_since(at) >= LOST_AFTER);
        lost.count() as u64
    }
}

#[derive(Debug, Default)]
struct Book {
    ledger: Ledger,
    last_acknowledged: Option<Instant>,
    /// What each has written.
    letters: [Letters; 2],
}

impl Book {
    fn acknowledged(&mut self, whose: usize, number: u64, now: Instant) {
        self.letters[whose].acknowledged(number, now);
        self.ledger.acknowledged += 1;
        self.ledger.trouble = None;
        if let (Some(before), Some(gap)) = (self.last_acknowledged, &mut self.ledger.last_gap_ms) {
            *gap = (*gap).max(u64::try_from((now - before).as_millis()).unwrap_or(u64::MAX));
        }
        self.last_acknowledged = Some(now);
    }

    /// A message of one of them was heard: each is to come once.
    fn heard(&mut self, whose: usize, number: u64, line: Line) {
        if !self.letters[whose].heard(number) {
            self.ledger.twice += 1;
            return;
        }
        self.ledger.heard += 1;
        self.ledger.latest.push_back(line);
        if self.ledger.latest.len() > LATEST_MAX {
            self.ledger.latest.pop_front();
        }
    }

    fn ledger(&self, now: Instant) -> Ledger {
        let lost = self.letters.iter().map(|letters| letters.lost(now)).sum();
        Ledger { lost, ..self.ledger.clone() }
    }
}

/// The conversation; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    book: Arc<Mutex<Book>>,
    /// Who the two are now: an account that is lost is replaced.
    people: Arc<Mutex<Vec<Person>>>,
}

impl Conversation {
    /// Begins it, as soon as a replica serves.
    pub(crate) fn begin(client: Client, key: &ClusterKey) -> Self {
        let conversation = Self { book: Arc::default(), people: Arc::default() };
        // The same whenever the playground opens, and not to be guessed without the key.
        let password = key.derived_password("playground");
        tokio::spawn(conversation.clone().run(client, password));
        conversation
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.lock().ledger(Instant::now())
    }

    /// A replica is about to be killed or paused: the next gap is the one that counts.
    pub(crate) fn hurt(&self, what: String) {
        let mut book = self.lock();
        book.ledger.last_gap_ms = Some(0);
        book.ledger.since = Some(what);
    }

    async fn run(self, client: Client, password: String) {
        for name in NAMES {
            let person = self.sign_in(&client, name, &password).await;
            self.people().push(person);
        }
        // Whatever an earlier conversation left undelivered is none of this one's.
        let run = format!("{:06x}", rand::random::<u32>() & 0x00ff_ffff);
        for me in [0, 1] {
            tokio::spawn(self.clone().hear(client.clone(), me, run.clone(), password.clone()));
            tokio::spawn(self.clone().write(client.clone(), me, run.clone()));
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
                Ok(opened) => return Person { id: opened.account_id, name, token: opened.token },
                // The account is another person's, then.
                Err(error) if error.is_refused_for("WRONG_CREDENTIALS") => name.push('\''),
                Err(error) => self.trouble(&error).await,
            }
        }
    }

    /// Writes for ever, one message after the other.
    async fn write(self, client: Client, me: usize, run: String) {
        for number in 0.. {
            let text =
                format!("{} ({run} {number})", WORDS[usize::try_from(number).unwrap_or(0) % WORDS.len()]);
            self.lock().ledger.sent += 1;
            let mut request = client.new_request_id();
            loop {
                // Either may be another one by now: the listener signs in again where that is needed.
                let (token, to) = (self.person(me).token, self.person(1 - me).id);
                let sent = client.send_with_id(&token, &request, To::Account(to), &text, 0).await;
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
            self.lock().acknowledged(me, number, Instant::now());
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }

    /// Hears for ever what the other one writes: whatever ends the listening, another one goes on from the last message.
    async fn hear(self, client: Client, me: usize, run: String, password: String) {
        let mut start = Start::default();
        let mut unacknowledged = 0;
        loop {
            let token = self.person(me).token;
            let mut listening = client.listen(&token, start.clone());
            while let Some(heard) = listening.next().await {
                let message = match heard {
                    Ok(Heard::Message(message)) => message,
                    Ok(Heard::Listening { history }) => {
                        start.history = history;
                        continue;
                    }
                    Ok(_) => continue,
                    Err(error) => {
                        self.mend(&client, me, &password, &mut start, &error).await;
                        break;
                    }
                };
                start.after = Some(message.id);
                if let Some((text, number)) = read(&message.text, &run) {
                    let line = Line { id: message.id, from: message.from, text: text.to_owned() };
                    self.lock().heard(1 - me, number, line);
                }
                unacknowledged += 1;
                if unacknowledged >= ACKNOWLEDGE_EVERY {
                    unacknowledged = 0;
                    // Without an answer the next acknowledgement covers this one.
                    if let Err(error) = client.acknowledge(&token, message.id, &start.history).await {
                        self.trouble(&error).await;
                    }
                }
            }
        }
    }

    /// Does what it takes for the next listening to succeed where this one was refused.
    async fn mend(&self, client: &Client, me: usize, password: &str, start: &mut Start, error: &ClientError) {
        self.trouble(error).await;
        if error.is_refused_for("SESSION_INVALID") {
            let person = self.person(me);
            let again = self.sign_in(client, &person.name, password).await;
            // A cursor is worth nothing to another account.
            if again.id != person.id {
                *start = Start::default();
            }
            self.people()[me] = again;
        } else if matches!(error, ClientError::Refused { .. }) {
            // The history is another one, most likely: from what was acknowledged in it.
            *start = Start::default();
        }
    }

    async fn trouble(&self, error: &ClientError) {
        self.lock().ledger.trouble = Some(error.to_string());
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, Vec<Person>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn person(&self, which: usize) -> Person {
        self.people()[which].clone()
    }
}

#[derive(Clone)]
struct Person {
    id: u64,
    name: String,
    token: String,
}

impl fmt::Debug for Person {
    /// Tokens stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
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
    fn what_was_acknowledged_and_not_heard_in_time_is_lost_until_it_is_heard() {
        let mut book = Book::default();
        let begun = Instant::now();
        let line = || Line { id: 1, from: "ada".into(), text: "x".into() };
        for number in 0..4 {
            book.acknowledged(0, number, begun);
        }
        book.acknowledged(1, 0, begun);
        // One may be heard before its acknowledgement comes.
        book.heard(1, 1, line());
        book.acknowledged(1, 1, begun);
        for number in [0, 1, 3] {
            book.heard(0, number, line());
        }
        let count = |book: &Book, now| {
            let Ledger { acknowledged, heard, lost, twice, .. } = book.ledger(now);
            (acknowledged, heard, lost, twice)
        };
        assert_eq!(count(&book, begun + LOST_AFTER / 2), (6, 4, 0, 0), "there is time yet");
        assert_eq!(
            count(&book, begun + LOST_AFTER),
            (6, 4, 2, 0),
            "one was passed over by later ones in each"
        );
        book.heard(0, 2, line());
        assert_eq!(count(&book, begun + LOST_AFTER), (6, 5, 1, 0), "it was late");
        book.heard(0, 2, line());
        book.heard(0, 3, line());
        assert_eq!(count(&book, begun + LOST_AFTER), (6, 5, 1, 2));
    }

    #[test]
    fn a_listener_that_is_gone_loses_everything() {
        let mut book = Book::default();
        let begun = Instant::now();
        for number in 0..200 {
            book.acknowledged(0, number, begun + Duration::from_millis(50 * number));
        }
        assert_eq!(book.ledger(begun + LOST_AFTER + Duration::from_millis(50 * 99)).lost, 100);
    }

    #[test]
    fn the_gap_is_the_longest_one_since_a_replica_was_hurt() {
        let mut book = Book::default();
        let begun = Instant::now();
        let mut number = 0;
        let mut at = |book: &mut Book, ms| {
            book.acknowledged(0, number, begun + Duration::from_millis(ms));
            number += 1;
        };
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
