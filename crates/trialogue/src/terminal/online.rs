//! What the screen wants of the service, carried out; and what the service says, told to the screen.

use super::outbox::{Letter, Outbox};
use super::vocabulary::{Connection, Effect, Me, Told};
use crate::sessions::{Session, Sessions};
use crate::status::{self, ClusterSummary};
use api::status::{BUSY, DISK_FULL, HISTORY_REPLACED, SESSION_INVALID};
use chat::{NameRules, ServiceState, UserName};
use client::{Client, ClientError, Heard, InUse, Sent, Start, To};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Messages of one page.
const PAGE: u32 = 60;
/// Names that a list shows at most.
const NAMES_MAX: usize = 500;
/// What has arrived is acknowledged at most once in this time.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(300);
/// What is kept on too few replicas is asked for again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What could not be written, here or by the service, is written again after this.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A message that was never tried keeps its request id for this long; the service takes those of a day.
const FRESH_FOR: Duration = Duration::from_hours(12);

/// Everything that goes on beside the screen.
#[derive(Debug)]
pub(crate) struct Online {
    shared: Shared,
    letters: mpsc::UnboundedSender<Letter>,
    outbox: Arc<Mutex<Outbox>>,
    sessions: Arc<Sessions>,
    /// What runs; one that panics must end the program, screen and all.
    pub(crate) tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Shared {
    client: Client,
    session: Session,
    tell: mpsc::UnboundedSender<Told>,
    /// This program itself is ending the session: that it ends is no news then.
    leaving: Arc<AtomicBool>,
}

impl Online {
    /// Begins to listen, and to send what waits from the last time.
    pub(crate) fn start(
        client: Client,
        session: Session,
        sessions: Arc<Sessions>,
        me: &Me,
        (outbox, waiting): (Outbox, Vec<Letter>),
        tell: mpsc::UnboundedSender<Told>,
    ) -> Self {
        let shared = Shared { client, session, tell, leaving: Arc::default() };
        let outbox = Arc::new(Mutex::new(outbox));
        let (letters, to_send) = mpsc::unbounded_channel();
        // What was refused waits for its owner.
        for letter in waiting.into_iter().filter(|letter| letter.refused.is_none()) {
            // The other end stands in the next lines.
            let _ = letters.send(letter);
        }
        let mut tasks = JoinSet::new();
        let (arrived, acknowledged) = watch::channel((0, Vec::new()));
        tasks.spawn(listen(shared.clone(), me.id, arrived));
        tasks.spawn(watch_service(shared.clone()));
        tasks.spawn(acknowledge(shared.clone(), acknowledged));
        tasks.spawn(post(shared.clone(), outbox.clone(), to_send));
        Self { shared, letters, outbox, sessions, tasks }
    }

    /// Does what the screen wants. What comes of it is told.
    pub(crate) fn carry_out(&mut self, effect: Effect) {
        let shared = self.shared.clone();
        match effect {
            Effect::Send { request_id, with, to, text, typed_at, instead_of } => {
                let letter = Letter {
                    request_id: drawn(&request_id),
                    with,
                    to,
                    text,
                    typed_at,
                    tried: false,
                    refused: None,
                };
                self.keep_and_send(letter, instead_of.map(|earlier| drawn(&earlier)));
            }
            Effect::Drop { request_id } => {
                if let Err(error) = lock(&self.outbox).let_go(drawn(&request_id)) {
                    shared.say(Told::Notice(format!("the outbox could not be written: {error}")));
                }
            }
            Effect::LoadPage { with, before } => {
                self.tasks.spawn(async move {
                    let account = format!("#{with}");
                    let page = shared.client.history(&shared.session.token, &account, before, PAGE);
                    let page = page.await;
                    if page.is_err() {
                        shared.say(Told::NoPage { with });
                    }
                    shared.answer(page, |page| Told::Page { with, messages: page.messages, more: page.more });
                });
            }
            Effect::MarkRead { with, up_to } => {
                self.tasks.spawn(async move {
                    let marked = shared.client.mark_read(&shared.session.token, with, up_to).await;
                    shared.complain(marked.err());
                });
            }
            Effect::Find(name) => {
                self.tasks.spawn(find(shared, name));
            }
            Effect::List(pattern) => {
                self.tasks.spawn(list(shared, pattern));
            }
            Effect::Status => {
                self.tasks.spawn(async move {
                    let replicas = shared.client.replicas().await;
                    let table = status::table(&ClusterSummary::of(&replicas), &replicas);
                    let lines = table.lines().map(str::to_owned).collect();
                    shared.say(Told::Lines { heading: "status".into(), lines });
                });
            }
            Effect::SetMarks(shown) => {
                self.tasks.spawn(async move {
                    let set = shared.client.set_read_marks(&shared.session.token, shown).await;
                    let said = if shown {
                        "others see what you have read, and you what they have"
                    } else {
                        "what you have read stays your own, and so does theirs"
                    };
                    shared.answer(set, |()| Told::Notice(said.into()));
                });
            }
            Effect::ChangePassword { old, new } => {
                self.tasks.spawn(async move {
                    let changed = shared.client.change_password(&shared.session.token, &old, &new).await;
                    let said = "the password is changed; other sessions have ended";
                    shared.answer(changed, |()| Told::Notice(said.into()));
                });
            }
            Effect::DeleteAccount { password } => {
                let (outbox, sessions) = (self.outbox.clone(), self.sessions.clone());
                self.tasks.spawn(async move {
                    shared.leaving.store(true, Ordering::Relaxed);
                    let deleted = shared.client.delete_account(&shared.session.token, &password).await;
                    let said = format!("the account {} is deleted", shared.session.name);
                    shared.left(deleted, said, &outbox, &sessions);
                });
            }
            Effect::Logout => {
                let (outbox, sessions) = (self.outbox.clone(), self.sessions.clone());
                self.tasks.spawn(async move {
                    shared.leaving.store(true, Ordering::Relaxed);
                    let ended = shared.client.logout(&shared.session.token).await;
                    let said = format!("{} is logged out", shared.session.name);
                    shared.left(ended, said, &outbox, &sessions);
                });
            }
            Effect::Bell | Effect::Quit => {}
        }
    }

    /// Durable first, then on its way.
    fn keep_and_send(&self, letter: Letter, instead_of: Option<Uuid>) {
        let mut outbox = lock(&self.outbox);
        let kept = match instead_of {
            Some(earlier) => outbox.replace(earlier, &letter),
            None => outbox.keep(&letter),
        };
        drop(outbox);
        if let Err(error) = kept {
            let request_id = letter.request_id.as_bytes().to_vec();
            let why = format!("it could not be kept on this machine ({error}), and was not sent");
            let Some(earlier) = instead_of else {
                self.shared.say(Told::NotKept { request_id, why });
                return;
            };
            // What is on the disk is still the one that was refused.
            let by = earlier.as_bytes().to_vec();
            self.shared.say(Told::Renewed { request_id, by: by.clone() });
            self.shared.say(Told::Refused { request_id: by, why });
            return;
        }
        // The task that sends has ended only if the session has.
        let _ = self.letters.send(letter);
    }
}

/// A request id that this program has drawn.
fn drawn(request_id: &[u8]) -> Uuid {
    Uuid::from_slice(request_id).expect("a request id has 16 bytes: it was drawn here")
}

impl Shared {
    fn say(&self, told: Told) {
        // An error means that the screen is closed.
        let _ = self.tell.send(told);
    }

    fn answer<T>(&self, answer: Result<T, ClientError>, what: impl FnOnce(T) -> Told) {
        match answer {
            Ok(answer) => self.say(what(answer)),
            Err(error) => self.complain(Some(error)),
        }
    }

    fn complain(&self, error: Option<ClientError>) {
        let Some(error) = error else { return };
        if error.is_refused_for(SESSION_INVALID) {
            if self.leaving.load(Ordering::Relaxed) {
                return;
            }
            self.say(Told::Over("the session has ended; sign in again with: trialogue chat".into()));
        } else {
            self.say(Told::Notice(error.to_string()));
        }
    }

    /// The session was ended by this program, or was to be.
    fn left(
        &self,
        ended: Result<(), ClientError>,
        said: String,
        outbox: &Mutex<Outbox>,
        sessions: &Sessions,
    ) {
        if let Err(error) = ended {
            self.leaving.store(false, Ordering::Relaxed);
            return self.complain(Some(error));
        }
        self.forget(outbox, sessions);
        self.say(Told::Left(said));
    }

    fn forget(&self, outbox: &Mutex<Outbox>, sessions: &Sessions) {
        if let Err(error) = lock(outbox).clear() {
            self.say(Told::Notice(format!("the outbox could not be emptied: {error}")));
        }
        if let Err(error) = sessions.forget(&self.session) {
            self.say(Told::Notice(format!("the session is still kept here: {}", error.sentence())));
        }
    }

    /// How all conversations stand.
    async fn refresh(&self) {
        let mut before = 0;
        loop {
            let page = self.client.conversations(&self.session.token, before, 0).await;
            let (page, more) = match page {
                Ok(page) => page,
                Err(error) => return self.complain(Some(error)),
            };
            before = page.last().and_then(|last| last.last.as_ref()).map_or(0, |last| last.id);
            self.say(Told::Conversations(page));
            if !more || before == 0 {
                return;
            }
        }
    }
}

fn lock(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(shared: Shared, me: u64, arrived: watch::Sender<(u64, Vec<u8>)>) {
    let mut start = Start { own_messages: true, receipts: true, ..Start::default() };
    loop {
        let mut listening = shared.client.listen(&shared.session.token, start.clone());
        while let Some(heard) = listening.next().await {
            match heard {
                Ok(Heard::Listening { history }) => {
                    start.history = history;
                    shared.refresh().await;
                }
                Ok(Heard::Message(message)) => {
                    start.after = Some(message.id);
                    if message.to_id == me {
                        arrived.send_replace((message.id, start.history.clone()));
                    }
                    shared.say(Told::Message(message));
                }
                Ok(Heard::Receipt(receipt)) => shared.say(Told::Receipt(receipt)),
                Ok(Heard::ReceiptsMissed) => shared.refresh().await,
                // `watch_service` says so at once, whichever task notices it first.
                Ok(Heard::Reconnecting) => {}
                Err(error) if error.is_refused_for(HISTORY_REPLACED) => {
                    start = Start { own_messages: true, receipts: true, ..Start::default() };
                    shared.say(Told::Notice(ServiceState::HistoryReplaced.to_string()));
                }
                Err(error) if error.is_refused_for(SESSION_INVALID) => return shared.complain(Some(error)),
                Err(ClientError::NobodyServed { .. } | ClientError::Abandoned) => {
                    shared.say(Told::Connection(Connection::NobodyServes));
                }
                Err(error) => {
                    shared.complain(Some(error));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Says which replica is in use, and how the service is doing.
async fn watch_service(shared: Shared) {
    let mut in_use = shared.client.in_use();
    loop {
        let now = in_use.borrow_and_update().clone();
        let connection = match now {
            Some(InUse { replica, address, state }) => {
                Connection::Serving { replica, address: address.to_string(), state }
            }
            None => Connection::Reconnecting,
        };
        shared.say(Told::Connection(connection));
        if in_use.changed().await.is_err() {
            return;
        }
    }
}

/// Says what has arrived here, so that it does not come again, and its senders know.
async fn acknowledge(shared: Shared, mut arrived: watch::Receiver<(u64, Vec<u8>)>) {
    while arrived.changed().await.is_ok() {
        let (up_to, history) = arrived.borrow_and_update().clone();
        match shared.client.acknowledge(&shared.session.token, up_to, &history).await {
            // Without an answer the next acknowledgement covers this one.
            Ok(_)
            | Err(
                ClientError::NobodyServed { .. } | ClientError::Abandoned | ClientError::KeptOnFewer { .. },
            ) => {}
            // Later it will be taken, perhaps without another message to acknowledge.
            Err(error) if error.is_refused_for(DISK_FULL) || error.is_refused_for(BUSY) => {
                arrived.mark_changed();
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
            Err(error) => shared.complain(Some(error)),
        }
        tokio::time::sleep(ACKNOWLEDGE_EVERY).await;
    }
}

/// Sends letters one after the other, each until it has its place. One that is kept on fewer replicas than were asked for
/// keeps no other letter waiting: what follows it is behind it already.
async fn post(shared: Shared, outbox: Arc<Mutex<Outbox>>, mut letters: mpsc::UnboundedReceiver<Letter>) {
    let mut kept = JoinSet::new();
    while let Some(mut letter) = letters.recv().await {
        make_ready(&shared, &outbox, &mut letter).await;
        match send_until_told(&shared, &letter).await {
            Err(error @ ClientError::KeptOnFewer { .. }) => {
                kept.spawn(ask_again(shared.clone(), outbox.clone(), letter, error));
            }
            // It stays in the outbox for the next session.
            Err(error) if error.is_refused_for(SESSION_INVALID) => return shared.complain(Some(error)),
            outcome => settle(&shared, &outbox, &letter, outcome),
        }
    }
    kept.join_all().await;
}

/// Waits until a replica serves, and marks a letter as tried, durably, before it is handed to a socket for the first time.
/// One that was never tried and has waited for long gets a fresh request id first. What can't be written down is not sent.
async fn make_ready(shared: &Shared, outbox: &Mutex<Outbox>, letter: &mut Letter) {
    loop {
        while shared.client.ready().await.is_err() {
            shared.say(Told::Connection(Connection::NobodyServes));
        }
        match mark_tried(shared, outbox, letter) {
            Ok(()) => return,
            Err(error) => {
                shared.say(Told::Notice(format!("nothing is sent, as the outbox can't be written: {error}")));
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
        }
    }
}

fn mark_tried(shared: &Shared, outbox: &Mutex<Outbox>, letter: &mut Letter) -> std::io::Result<()> {
    if letter.tried {
        return Ok(());
    }
    let fresh = drawn(&shared.client.new_request_id());
    if is_old(letter.request_id, fresh) {
        let earlier = letter.request_id;
        let renewed = Letter { request_id: fresh, ..letter.clone() };
        lock(outbox).replace(earlier, &renewed)?;
        *letter = renewed;
        let (request_id, by) = (earlier.as_bytes().to_vec(), fresh.as_bytes().to_vec());
        shared.say(Told::Renewed { request_id, by });
    }
    lock(outbox).tried(letter.request_id)?;
    letter.tried = true;
    Ok(())
}

/// Whether an id is dated so far from one that was drawn now that the service may refuse it soon.
fn is_old(request_id: Uuid, now: Uuid) -> bool {
    let date = |id: Uuid| id.get_timestamp().map_or(0, |date| date.to_unix().0);
    date(request_id).abs_diff(date(now)) > FRESH_FOR.as_secs()
}

/// Asks again for a letter that has its place, until enough replicas hold it. It stays in the outbox until then.
async fn ask_again(shared: Shared, outbox: Arc<Mutex<Outbox>>, letter: Letter, mut error: ClientError) {
    let request_id = letter.request_id.as_bytes().to_vec();
    loop {
        match &error {
            ClientError::KeptOnFewer { copies, replicas, .. } => {
                let (copies, replicas) = (*copies, *replicas);
                shared.say(Told::Kept { request_id: request_id.clone(), copies, replicas });
            }
            error if error.is_refused_for(SESSION_INVALID) => return shared.complain(Some(error.clone())),
            // It has its place, whatever the answer is now: it stays in the outbox, and is asked for again.
            _ => {}
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
        match send_until_told(&shared, &letter).await {
            Err(again) => error = again,
            Ok(sent) => return settle(&shared, &outbox, &letter, Ok(sent)),
        }
    }
}

/// Sends a letter until there is an answer.
async fn send_until_told(shared: &Shared, letter: &Letter) -> Result<Sent, ClientError> {
    let (id, to) = (letter.request_id.as_bytes(), To::Account(letter.with));
    loop {
        match shared.client.send_with_id(&shared.session.token, id, to, &letter.text, 0).await {
            Err(ClientError::NobodyServed { .. } | ClientError::Abandoned) => {
                shared.say(Told::Connection(Connection::NobodyServes));
            }
            // That says nothing of an earlier try, which may have taken effect.
            Err(error) if error.is_refused_for(BUSY) => {}
            told => return told,
        }
    }
}

/// A letter has its place, or was refused: then it waits for its owner.
fn settle(shared: &Shared, outbox: &Mutex<Outbox>, letter: &Letter, outcome: Result<Sent, ClientError>) {
    let request_id = letter.request_id.as_bytes().to_vec();
    let (written, told) = match outcome {
        Ok(sent) => (lock(outbox).settle(letter.request_id), Told::Sent { request_id, sent }),
        Err(error) => {
            let why = error.to_string();
            (lock(outbox).refused(letter.request_id, &why), Told::Refused { request_id, why })
        }
    };
    if let Err(error) = written {
        shared.say(Told::Notice(format!("the outbox could not be written: {error}")));
    }
    shared.say(told);
}

/// Finds the account of a name, whatever its case.
async fn find(shared: Shared, name: String) {
    let wanted = match UserName::parse(&name, &NameRules::default()) {
        Ok(wanted) => wanted,
        Err(refusal) => return shared.say(Told::Notice(refusal.to_string())),
    };
    let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
    let pattern = format!("^{}$", wanted.shown().chars().map(escape).collect::<String>());
    let found = shared.client.accounts(&shared.session.token, &pattern, "").await;
    shared.answer(found, |(accounts, _)| {
        let same = accounts.into_iter().find(|account| {
            UserName::parse(&account.name, &NameRules::default()).is_ok_and(|name| name.key() == wanted.key())
        });
        match same {
            Some(account) => Told::Found { id: account.id, name: account.name },
            None => Told::Notice(format!("there is no account named {name:?}; /list shows who is there")),
        }
    });
}

async fn list(shared: Shared, pattern: String) {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        match shared.client.accounts(&shared.session.token, &pattern, &page_token).await {
            Ok((accounts, next)) => {
                names.extend(accounts.into_iter().map(|account| account.name));
                page_token = next;
            }
            Err(error) => return shared.complain(Some(error)),
        }
        if page_token.is_empty() || names.len() >= NAMES_MAX {
            break;
        }
    }
    if names.is_empty() {
        names.push("nobody".into());
    } else if !page_token.is_empty() {
        names.push("… and more; name them by a regular expression: /list ^a".into());
    }
    let heading = if pattern.is_empty() { "accounts".into() } else { format!("accounts like {pattern}") };
    shared.say(Told::Lines { heading, lines: names });
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{NoContext, Timestamp};

    #[test]
    fn an_id_is_old_after_half_a_day_either_way() {
        let dated = |seconds| Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0));
        let now = 1_800_000_000;
        let half_a_day = FRESH_FOR.as_secs();
        for (date, old) in [
            (now, false),
            (now - half_a_day, false),
            (now - half_a_day - 1, true),
            (now + half_a_day + 1, true),
        ] {
            assert_eq!(is_old(dated(date), dated(now)), old, "{date}");
        }
    }
}
