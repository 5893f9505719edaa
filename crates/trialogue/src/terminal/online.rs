//! What the screen wants of the service, carried out; and what the service says, told to the screen.

use super::vocabulary::{Connection, Effect, Event, Me};
use crate::sessions::{KeptSession, Sessions};
use crate::status::{self, ClusterSummary};
use chat::{NameRules, ServiceState, UserName};
use client::{
    Account, AccountId, Client, ClientError, DurableOutbox, Heard, InUse, MessageId, OutboxFile, Progress,
    Reason, RequestId, Session, Start, Waiting,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Messages of one page.
const PAGE: u32 = 60;
/// Names that a list shows at most.
const NAMES_MAX: usize = 500;
/// What has arrived is acknowledged at most once in this time.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(300);
/// What could not be written by the service is written again after this.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Everything that goes on beside the screen.
#[derive(Debug)]
pub(crate) struct Online {
    shared: Shared,
    outbox: DurableOutbox,
    sessions: Arc<Sessions>,
    /// What runs; one that panics must end the program, screen and all.
    pub(crate) tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Shared {
    client: Client,
    session: Session,
    kept: Arc<KeptSession>,
    events: mpsc::UnboundedSender<Event>,
    /// This program itself is ending the session: that it ends is no news then.
    leaving: Arc<AtomicBool>,
}

impl Online {
    /// Begins to listen, and to send what waits from the last time.
    pub(crate) fn start(
        client: Client,
        kept: KeptSession,
        sessions: Arc<Sessions>,
        me: &Me,
        outbox: (OutboxFile, Vec<Waiting>),
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let session = client.session(&kept.token);
        let shared = Shared { client, session, kept: Arc::new(kept), events, leaving: Arc::default() };
        let reporter = shared.clone();
        let report = move |progress| reporter.report(progress);
        let (outbox, sending) = DurableOutbox::start(shared.session.clone(), outbox, report);
        let mut tasks = JoinSet::new();
        let (arrived, acknowledged) = watch::channel((0, Vec::new()));
        tasks.spawn(listen(shared.clone(), me.id, arrived));
        tasks.spawn(watch_service(shared.clone()));
        tasks.spawn(acknowledge(shared.clone(), acknowledged));
        tasks.spawn(sending);
        Self { shared, outbox, sessions, tasks }
    }

    /// Does what the screen wants. What comes of it is told.
    pub(crate) fn carry_out(&mut self, effect: Effect) {
        let shared = self.shared.clone();
        match effect {
            Effect::Send { request_id, with, to, text, typed_at, instead_of } => {
                let (with, tried, refused) = (AccountId(with), false, None);
                let message = Waiting { request_id, with, to, text, typed_at, tried, refused };
                self.keep_and_send(message, instead_of);
            }
            Effect::Drop { request_id } => {
                if let Err(error) = self.outbox.let_go(request_id) {
                    shared.emit(Event::Notice(format!("the outbox could not be written: {error}")));
                }
            }
            Effect::LoadPage { with, before } => {
                self.tasks.spawn(async move {
                    let before = (before > 0).then_some(MessageId(before));
                    let page = shared.session.conversation(AccountId(with), before, PAGE).await;
                    if page.is_err() {
                        shared.emit(Event::NoPage { with });
                    }
                    shared.answer(page, |page| Event::Page {
                        with,
                        messages: page.messages,
                        more: page.more,
                    });
                });
            }
            Effect::MarkSeen { with, up_to } => {
                self.tasks.spawn(async move {
                    let marked = shared.session.mark_seen(AccountId(with), MessageId(up_to)).await;
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
                    shared.emit(Event::Lines { heading: "status".into(), lines });
                });
            }
            Effect::ShowSeen(shown) => {
                self.tasks.spawn(async move {
                    let set = shared.session.show_seen(shown).await;
                    let done = if shown {
                        "others see what you have read, and you what they have"
                    } else {
                        "what you have read stays your own, and so does theirs"
                    };
                    shared.answer(set, |()| Event::Notice(done.into()));
                });
            }
            Effect::ChangePassword { old, new } => {
                self.tasks.spawn(async move {
                    let changed = shared.session.change_password(&old, &new).await;
                    let done = "the password is changed; other sessions have ended";
                    shared.answer(changed, |()| Event::Notice(done.into()));
                });
            }
            Effect::DeleteAccount { password } => {
                let (outbox, sessions) = (self.outbox.clone(), self.sessions.clone());
                self.tasks.spawn(async move {
                    shared.leaving.store(true, Ordering::Relaxed);
                    let deleted = shared.session.delete_account(&password).await;
                    let done = format!("the account {} is deleted", shared.kept.name);
                    shared.left(deleted, done, &outbox, &sessions);
                });
            }
            Effect::Logout => {
                let (outbox, sessions) = (self.outbox.clone(), self.sessions.clone());
                self.tasks.spawn(async move {
                    shared.leaving.store(true, Ordering::Relaxed);
                    let ended = shared.session.logout().await;
                    let done = format!("{} is logged out", shared.kept.name);
                    shared.left(ended, done, &outbox, &sessions);
                });
            }
            Effect::Bell | Effect::Quit => {}
        }
    }

    /// Durable first, then on its way.
    fn keep_and_send(&self, message: Waiting, instead_of: Option<RequestId>) {
        let request_id = message.request_id;
        if let Err(error) = self.outbox.send(message, instead_of) {
            let why = format!("it could not be kept on this machine ({error}), and was not sent");
            let Some(by) = instead_of else {
                self.shared.emit(Event::NotKept { request_id, why });
                return;
            };
            // What is on the disk is still the one that was refused.
            self.shared.emit(Event::Outbox(Progress::Renewed { request_id, by }));
            self.shared.emit(Event::Outbox(Progress::Refused { request_id: by, why }));
        }
    }
}

impl Shared {
    fn emit(&self, event: Event) {
        // An error means that the screen is closed.
        let _ = self.events.send(event);
    }

    /// What becomes of the messages in the outbox.
    fn report(&self, progress: Progress) {
        match progress {
            Progress::SessionEnded(error) => self.complain(Some(error)),
            progress => self.emit(Event::Outbox(progress)),
        }
    }

    fn answer<T>(&self, answer: Result<T, ClientError>, what: impl FnOnce(T) -> Event) {
        match answer {
            Ok(answer) => self.emit(what(answer)),
            Err(error) => self.complain(Some(error)),
        }
    }

    fn complain(&self, error: Option<ClientError>) {
        let Some(error) = error else { return };
        if error.is_refused_for(&Reason::SessionInvalid) {
            if self.leaving.load(Ordering::Relaxed) {
                return;
            }
            self.emit(Event::Over("the session has ended; sign in again with: trialogue chat".into()));
        } else {
            self.emit(Event::Notice(error.to_string()));
        }
    }

    /// The session was ended by this program, or was to be.
    fn left(
        &self,
        ended: Result<(), ClientError>,
        done: String,
        outbox: &DurableOutbox,
        sessions: &Sessions,
    ) {
        if let Err(error) = ended {
            self.leaving.store(false, Ordering::Relaxed);
            return self.complain(Some(error));
        }
        self.forget(outbox, sessions);
        self.emit(Event::Left(done));
    }

    fn forget(&self, outbox: &DurableOutbox, sessions: &Sessions) {
        if let Err(error) = outbox.clear() {
            self.emit(Event::Notice(format!("the outbox could not be emptied: {error}")));
        }
        if let Err(error) = sessions.forget(&self.kept) {
            self.emit(Event::Notice(format!("the session is still kept here: {}", error.sentence())));
        }
    }

    /// How all conversations stand.
    async fn refresh(&self) {
        let mut before = None;
        loop {
            let page = match self.session.conversations(before, 0).await {
                Ok(page) => page,
                Err(error) => return self.complain(Some(error)),
            };
            let last = page.conversations.last().and_then(|last| last.last.as_ref());
            before = last.map(|last| MessageId(last.id));
            self.emit(Event::Conversations(page.conversations));
            if !page.more || before.is_none() {
                return;
            }
        }
    }
}

async fn listen(shared: Shared, me: u64, arrived: watch::Sender<(u64, Vec<u8>)>) {
    let mut start = Start { own_messages: true, receipts: true, ..Start::default() };
    loop {
        let mut listening = shared.session.listen(start.clone());
        while let Some(heard) = listening.next().await {
            match heard {
                Ok(Heard::Listening { history }) => {
                    start.history = history;
                    shared.refresh().await;
                }
                Ok(Heard::Message(message)) => {
                    start.after = Some(MessageId(message.id));
                    if message.to_id == me {
                        arrived.send_replace((message.id, start.history.clone()));
                    }
                    shared.emit(Event::Message(message));
                }
                Ok(Heard::Receipt(receipt)) => shared.emit(Event::Receipt(receipt)),
                Ok(Heard::ReceiptsMissed) => shared.refresh().await,
                // `watch_service` says so at once, whichever task notices it first.
                Ok(Heard::Reconnecting) => {}
                Err(error) if error.is_refused_for(&Reason::HistoryReplaced) => {
                    start = Start { own_messages: true, receipts: true, ..Start::default() };
                    shared.emit(Event::Notice(ServiceState::HistoryReplaced.to_string()));
                }
                Err(error) if error.is_refused_for(&Reason::SessionInvalid) => {
                    return shared.complain(Some(error));
                }
                Err(ClientError::NobodyServed { .. } | ClientError::Abandoned) => {
                    shared.emit(Event::Connection(Connection::NobodyServes));
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
        shared.emit(Event::Connection(connection));
        if in_use.changed().await.is_err() {
            return;
        }
    }
}

/// Says what has arrived here, so that it does not come again, and its senders know.
async fn acknowledge(shared: Shared, mut arrived: watch::Receiver<(u64, Vec<u8>)>) {
    while arrived.changed().await.is_ok() {
        let (up_to, history) = arrived.borrow_and_update().clone();
        match shared.session.acknowledge(MessageId(up_to), &history).await {
            // Without an answer the next acknowledgement covers this one.
            Ok(_)
            | Err(
                ClientError::NobodyServed { .. } | ClientError::Abandoned | ClientError::KeptOnFewer { .. },
            ) => {}
            // Later it will be taken, perhaps without another message to acknowledge.
            Err(error) if error.is_refused_for(&Reason::DiskFull) || error.is_refused_for(&Reason::Busy) => {
                arrived.mark_changed();
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
            Err(error) => shared.complain(Some(error)),
        }
        tokio::time::sleep(ACKNOWLEDGE_EVERY).await;
    }
}

/// Finds the account of a name, whatever its case.
async fn find(shared: Shared, name: String) {
    let wanted = match UserName::parse(&name, &NameRules::default()) {
        Ok(wanted) => wanted,
        Err(refusal) => return shared.emit(Event::Notice(refusal.to_string())),
    };
    let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
    let pattern = format!("^{}$", wanted.shown().chars().map(escape).collect::<String>());
    let is_wanted = |account: &Account| {
        UserName::parse(&account.name, &NameRules::default()).is_ok_and(|name| name.key() == wanted.key())
    };
    let mut page_token = String::new();
    let event = loop {
        match shared.session.accounts(&pattern, &page_token).await {
            Ok(page) => {
                if let Some(account) = page.accounts.into_iter().find(&is_wanted) {
                    break Event::Found { id: account.id, name: account.name };
                }
                page_token = page.next_page_token;
            }
            Err(error) => return shared.complain(Some(error)),
        }
        if page_token.is_empty() {
            break Event::Notice(format!("there is no account named {name:?}; /list shows who is there"));
        }
    };
    shared.emit(event);
}

async fn list(shared: Shared, pattern: String) {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        match shared.session.accounts(&pattern, &page_token).await {
            Ok(page) => {
                names.extend(page.accounts.into_iter().map(|account| account.name));
                page_token = page.next_page_token;
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
    shared.emit(Event::Lines { heading, lines: names });
}
