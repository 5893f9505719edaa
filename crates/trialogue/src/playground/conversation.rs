//! The playground's own conversation: two people who write to each other all the time, and a ledger of what became of it.

use client::{AccountId, Client, ClientError, Heard, MessageId, Reason, Session, Start};
use people::{Content, Count, Ledger};
use serde::Serialize;
use server::ClusterKey;
use std::collections::VecDeque;
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

/// What the page shows of the conversation.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Handed to the service.
    pub(crate) sent: u64,
    pub(crate) acknowledged: usize,
    pub(crate) heard: usize,
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

/// The conversation; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// Each person, by number, is a sender and a listener of it.
    ledger: Arc<Ledger>,
    /// What the ledger does not count.
    summary: Arc<Mutex<Summary>>,
    /// Who the two are now: an account that is lost is replaced.
    people: Arc<Mutex<Vec<Person>>>,
}

impl Conversation {
    /// Begins it, as soon as a replica serves.
    pub(crate) fn begin(client: Client, key: &ClusterKey) -> Self {
        let conversation =
            Self { ledger: Arc::new(Ledger::forgetful()), summary: Arc::default(), people: Arc::default() };
        // The same whenever the playground opens, and not to be guessed without the key.
        let password = key.derived_password("playground");
        tokio::spawn(conversation.clone().run(client, password));
        conversation
    }

    pub(crate) fn summary(&self) -> Summary {
        let Count { acknowledged, heard, lost, twice, .. } = self.ledger.count(LOST_AFTER, Instant::now());
        let summary = self.lock().clone();
        let gap = u64::try_from(self.ledger.longest_gap().as_millis()).unwrap_or(u64::MAX);
        let last_gap_ms = summary.since.is_some().then_some(gap);
        Summary { acknowledged, heard, lost, twice, last_gap_ms, ..summary }
    }

    /// A replica is about to be killed or paused: the next gap is the one that counts.
    pub(crate) fn disturbed_by(&self, what: String) {
        self.ledger.forget_gaps();
        self.lock().since = Some(what);
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
            tokio::spawn(self.clone().write(me, run.clone()));
        }
    }

    /// Makes the account, or finds it as an earlier playground left it.
    async fn sign_in(&self, client: &Client, name: &str, password: &str) -> Person {
        let mut name = name.to_owned();
        loop {
            let made = client.create_account(&name, password).await;
            let opened = match made {
                Ok(_) => client.login(&name, password).await,
                Err(error) if error.is_refused_for(&Reason::NameTaken) => client.login(&name, password).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(opened) => return Person { id: opened.account, name, session: opened.session },
                // The account is another person's, then.
                Err(error) if error.is_refused_for(&Reason::WrongCredentials) => name.push('\''),
                Err(error) => self.trouble(&error).await,
            }
        }
    }

    /// Writes for ever, one message after the other.
    async fn write(self, me: usize, run: String) {
        for number in 0.. {
            let text = format!("{} ({run} {number})", WORDS[number % WORDS.len()]);
            self.lock().sent += 1;
            let mut request = self.person(me).session.new_request_id();
            let id = loop {
                // Either may be another account by now: the listener signs in again where that is needed.
                let (session, to) = (self.person(me).session, self.person(1 - me).id);
                match session.send_with_id(request, to, &text, 0).await {
                    Ok(sent) => break sent.id,
                    Err(error) => {
                        // A refused message has no place: it is another one when it is tried again.
                        if matches!(error, ClientError::Refused { .. }) {
                            request = session.new_request_id();
                        }
                        self.trouble(&error).await;
                    }
                }
            };
            self.ledger.acknowledged(id, Content::of(me, 1 - me, &text), Instant::now());
            self.lock().trouble = None;
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }

    /// Hears for ever what the other one writes: whatever ends the listening, another one goes on from the last message.
    async fn hear(self, client: Client, me: usize, run: String, password: String) {
        let listener = self.ledger.listener(me);
        let mut start = Start::default();
        let mut unacknowledged = 0;
        loop {
            let session = self.person(me).session;
            let mut listening = session.listen(start.clone());
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
                let id = MessageId(message.id);
                start.after = Some(id);
                if let Some(words) = words_of(&message.text, &run)
                    && self.ledger.heard(listener, id, Content::of(1 - me, me, &message.text))
                {
                    let line = Line { id: message.id, from: message.from, text: words.to_owned() };
                    let mut summary = self.lock();
                    summary.latest.push_back(line);
                    if summary.latest.len() > LATEST_MAX {
                        summary.latest.pop_front();
                    }
                }
                unacknowledged += 1;
                if unacknowledged >= ACKNOWLEDGE_EVERY {
                    unacknowledged = 0;
                    // Without an answer the next acknowledgement covers this one.
                    if let Err(error) = session.acknowledge(id, &start.history).await {
                        self.trouble(&error).await;
                    }
                }
            }
        }
    }

    /// Does what it takes for the next listening to succeed where this one was refused.
    async fn mend(&self, client: &Client, me: usize, password: &str, start: &mut Start, error: &ClientError) {
        self.trouble(error).await;
        if error.is_refused_for(&Reason::SessionInvalid) {
            let person = self.person(me);
            let again = self.sign_in(client, &person.name, password).await;
            // A cursor is worth nothing to another account.
            if again.id != person.id {
                *start = Start::default();
                self.ledger.begin_anew();
            }
            self.people()[me] = again;
        } else if matches!(error, ClientError::Refused { .. }) {
            // The history is another one, most likely: from what was acknowledged in it.
            *start = Start::default();
            if error.is_refused_for(&Reason::HistoryReplaced) {
                self.ledger.begin_anew();
            }
        }
    }

    async fn trouble(&self, error: &ClientError) {
        self.lock().trouble = Some(error.to_string());
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }

    fn lock(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, Vec<Person>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn person(&self, which: usize) -> Person {
        self.people()[which].clone()
    }
}

#[derive(Clone, Debug)]
struct Person {
    id: AccountId,
    name: String,
    session: Session,
}

/// The words of a message of this conversation, without the run that it belongs to and its number.
fn words_of<'a>(text: &'a str, run: &str) -> Option<&'a str> {
    let (words, mark) = text.strip_suffix(')')?.rsplit_once(" (")?;
    let (its_run, number) = mark.split_once(' ')?;
    (its_run == run && number.parse::<u64>().is_ok()).then_some(words)
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
    fn a_message_of_another_run_is_not_counted() {
        assert_eq!(words_of("Every (word). (00ff11 17)", "00ff11"), Some("Every (word)."));
        for other in ["Every word. (00ff12 17)", "Every word.", "(00ff11 17)", "x (00ff11 y)"] {
            assert_eq!(words_of(other, "00ff11"), None, "{other}");
        }
    }
}
