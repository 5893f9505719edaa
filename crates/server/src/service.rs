//! What the chat does for people, whichever door their calls come through: gRPC (`grpc.rs`) or a browser's socket (`web.rs`).
//!
//! Each file of the folder is a subject. A method takes the token of a session and types of crate `chat`, and returns what
//! came of the call or a [`Failure`]; how either is written on the wire is the door's.

mod accounts;
mod attempts;
mod conversations;
mod credentials;
mod digests;
mod failure;
mod listening;
mod messages;
mod passwords;
mod registration;
mod sending;
mod sessions;
mod state;
mod tokens;
mod unread;

pub(crate) use attempts::Attempts;
pub(crate) use conversations::ConversationsPage;
pub(crate) use digests::Digests;
pub use digests::{digest_answer_is_proven, prove_digest_request};
pub(crate) use failure::Failure;
pub(crate) use listening::{Event, Events, LISTENER_BEAT, beats_while_leased};
pub(crate) use messages::{Outgoing, Sent, With};
pub(crate) use passwords::Passwords;
pub use registration::prove_registration;
pub(crate) use registration::{NewAccount, Proof};
pub(crate) use sending::{Ended, Given, MessageAnswer};
pub(crate) use sessions::Opened;
pub(crate) use state::{State, WAITING_MAX};

use crate::blocking::Places;
use crate::delivery::Delivery;
use crate::gateway::{Declined, Gateway, NotDone};
use crate::key::ClusterKey;
use crate::storage::{Meeting, SharedLog};
use crate::timeline::ViewChange;
use crate::{Settings, clock};
use chat::{Action, Answer, PAGE_MAX, Refusal, Request, RequestId, SignedAction, TokenHash, UserName};
use std::sync::Arc;
use store::{Reader, Readers, Session, Stop};
use tokio::sync::{Semaphore, watch};

/// Entries of a page where the caller names no number.
const PAGE_DEFAULT: usize = 100;
/// Where a page of messages ends in bytes: clients of gRPC take 4 MiB where they are not told otherwise.
const PAGE_BYTES: usize = 1024 * 1024;

/// Looks at the database, each on a thread for that: a few at a time, so that neither threads nor connections to the
/// database grow with the callers.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    /// Those that an index answers.
    short: Places,
    /// Those that go through many names: one at a time, with a rest after each.
    scans: Places,
}

/// What goes through all names rests for as many times as long as it took: callers that ask without a pause have a fifth of a core.
const SCANS_REST: u32 = 4;

impl Looks {
    pub(crate) fn new() -> Self {
        Self { short: Places::new(16, 16_384), scans: Places::new(1, 64).resting(SCANS_REST) }
    }
}

/// The chat of one replica.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) index: u8,
    pub(crate) settings: Arc<Settings>,
    pub(crate) key: ClusterKey,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) log: Arc<SharedLog>,
    pub(crate) meeting: Meeting,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
    pub(crate) looks: Looks,
    /// Callers that wait to hear who serves.
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) digests: Digests,
    /// The views that this replica has seen come.
    pub(crate) views: watch::Receiver<Vec<ViewChange>>,
    /// Grows with each beat that listeners are due.
    pub(crate) beats: watch::Receiver<u64>,
}

impl Service {
    fn declined(&self, why: Declined) -> Failure {
        match why {
            Declined::NotServing => Failure::NotPrimary { address: self.gateway.primary_address() },
            Declined::Busy => Refusal::Busy.into(),
        }
    }

    /// Reads from the committed state, once no acknowledged write can be missing from it.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        self.read_among(&self.looks.short, ask).await
    }

    /// The same for what goes through many names.
    async fn scan<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        self.read_among(&self.looks.scans, ask).await
    }

    async fn read_among<T: Send + 'static>(
        &self,
        places: &Places,
        ask: impl FnOnce(&Reader<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        self.gateway.read(self.look(places, ask)).await.map_err(|why| self.declined(why))?
    }

    /// Reads from the committed state as it is here, whichever replica leads.
    async fn read_here<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        self.look(&self.looks.short, ask).await
    }

    async fn look<T: Send + 'static>(
        &self,
        places: &Places,
        ask: impl FnOnce(&Reader<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        let readers = self.readers.clone();
        let look = move || {
            // A refusal is an answer of the database: its connection is as good as before.
            readers.read(|reader| match ask(reader) {
                Ok(answer) => Ok(Ok(answer)),
                Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
                Err(Stop::Failed(error)) => Err(error),
            })
        };
        let answer = places.run(look).await?;
        Ok(answer.map_err(Failure::of_a_read)??)
    }

    /// Has a request executed. Gives its answer, and how many replicas hold what it changed.
    async fn write(&self, id: RequestId, action: Action) -> Result<(Answer, usize), Failure> {
        let request = Request { id, sequence: None, action };
        let settled = self.gateway.settle(request).await.map_err(|why| self.declined(why))?;
        settled.done(self.replicas()).map_err(|not_done| match not_done {
            NotDone::Refused(refusal) => refusal.into(),
            NotDone::KeptOnFewer(kept) => Failure::KeptOnFewer(kept),
        })
    }

    /// The same for what the account of a session does.
    async fn write_signed(
        &self,
        id: RequestId,
        session: TokenHash,
        action: SignedAction,
    ) -> Result<(Answer, usize), Failure> {
        self.write(id, Action::Signed { session, action }).await
    }

    /// How many replicas are configured.
    fn replicas(&self) -> usize {
        self.settings.addresses.len()
    }

    fn name(&self, name: &str) -> Result<UserName, Refusal> {
        UserName::parse(name, &self.settings.names)
    }
}

/// The session of that token, if it is valid now.
fn session(reader: &Reader<'_>, token: TokenHash) -> Result<Session, Stop> {
    reader.session(token, clock::wall())
}

/// How many entries a page has at most; 0 leaves it to the service.
fn page_limit(size: u32) -> Result<usize, Refusal> {
    match usize::try_from(size).unwrap_or(usize::MAX) {
        0 => Ok(PAGE_DEFAULT),
        size if size <= PAGE_MAX => Ok(size),
        _ => Err(Refusal::PageTooLarge { size: u64::from(size) }),
    }
}
