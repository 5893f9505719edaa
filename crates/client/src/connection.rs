//! Finding the primary, noticing its loss, finding the next one.

use crate::clock::{dated, own_clock};
use crate::error::ClientError;
use crate::pause::Pause;
use api::status::{Meaning, meaning};
use api::v1::chat_client::ChatClient;
use api::v1::{HeartbeatRequest, HeartbeatResponse};
use api::{CLIENT_ANSWER_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX, service_state};
use chat::{Address, Reason, RequestId, ServiceState};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::Channel;
use tracing::debug;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a call may take, fail-overs included.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10) }
    }
}

/// How long one replica may take to say who serves.
const HEARTBEAT_LIMIT: Duration = Duration::from_millis(400);
/// For how long a replica that does not serve may keep its answer back, in milliseconds. The rest of the limit is for the way.
const WAIT_MS: u32 = 200;
const _: () =
    assert!((WAIT_MS as u128) < HEARTBEAT_LIMIT.as_millis(), "an answer that was kept back is in time");
const CONNECT_LIMIT: Duration = Duration::from_millis(400);
/// How often the primary in use is asked whether it still leads.
const WATCH_EVERY: Duration = Duration::from_millis(400);

/// The primary in use.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) address: Address,
    view: u64,
    channel: Channel,
    lost: watch::Sender<bool>,
}

impl Primary {
    pub(crate) fn client(&self) -> ChatClient<Channel> {
        client(self.channel.clone())
    }

    /// Waits until this primary is known to be lost.
    pub(crate) async fn lost(&self) {
        // The sender lives in `self`, so the wait ends only with the value.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }
}

/// The replica in use, and how the service is doing by its word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its index.
    pub replica: u32,
    /// Where it is.
    pub address: Address,
    /// How the service is doing.
    pub state: ServiceState,
}

impl InUse {
    fn by(address: &Address, heartbeat: &HeartbeatResponse) -> Self {
        Self { replica: heartbeat.replica, address: address.clone(), state: service_state(heartbeat) }
    }
}

/// What all calls of one client share.
#[derive(Debug)]
pub(crate) struct Connection {
    options: Options,
    known: Mutex<Known>,
    /// `None` while a replica is being looked for.
    in_use: watch::Sender<Option<InUse>>,
    /// Held by the one call that looks for the primary; the others wait for what it finds.
    search: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    servers: Vec<Address>,
    channels: HashMap<Address, Channel>,
    primary: Option<Arc<Primary>>,
    /// The newest view that any replica has told of; 0 if none.
    view: u64,
    /// Which service this client talks to: the first one that answered. A replica of another service counts as one that does not answer, at whatever address.
    cluster: Option<Vec<u8>>,
    /// How far the clock of the last primary was ahead of this machine's, in milliseconds; `None` before one was found.
    service_ahead: Option<i64>,
}

/// A replica that answered, what it said, and the channel to it.
type Asked = (Address, HeartbeatResponse, Channel);

impl Connection {
    pub(crate) fn new(servers: Vec<Address>, options: Options) -> Arc<Self> {
        let known = Known {
            servers,
            channels: HashMap::new(),
            primary: None,
            view: 0,
            cluster: None,
            service_ahead: None,
        };
        let (in_use, _) = watch::channel(None);
        Arc::new(Self { options, known: Mutex::new(known), in_use, search: tokio::sync::Mutex::default() })
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// Waits until a replica serves.
    pub(crate) async fn ready(self: &Arc<Self>) -> Result<(), ClientError> {
        self.primary(Instant::now() + self.options.timeout, "no replica serves").await.map(drop)
    }

    /// Calls the primary, again and again, until it answers, refuses, or the time is up. Whatever the call changes must
    /// carry its request id, so that repeating it is harmless.
    pub(crate) async fn call<T, F>(
        self: &Arc<Self>,
        attempt: impl Fn(ChatClient<Channel>) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.call_over(|channel| attempt(client(channel))).await
    }

    /// The same for what takes more than one call to the same replica.
    pub(crate) async fn call_over<T, F>(
        self: &Arc<Self>,
        attempt: impl Fn(Channel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = Instant::now() + self.options.timeout;
        let mut pause = None;
        let mut last = "no replica answered".to_owned();
        let mut always_busy = true;
        loop {
            let primary = self.primary(until, &last).await?;
            let outcome = tokio::select! {
                outcome = attempt(primary.channel.clone()) => outcome,
                () = primary.lost() => Err(Status::unavailable("the primary was lost")),
                () = tokio::time::sleep_until(until) => Err(Status::unavailable("no answer in time")),
            };
            let status = match outcome {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match meaning(&status) {
                Meaning::Refused { reason, message, .. } => {
                    return Err(ClientError::Refused { reason, message });
                }
                Meaning::KeptOnFewer(kept) => return Err(kept.into()),
                Meaning::NotPrimary { .. } | Meaning::Unknown => {
                    always_busy = false;
                    status.message().clone_into(&mut last);
                    self.lose(&primary);
                }
                Meaning::Busy { retry_after } => {
                    // It serves, and no other replica does: the same one is asked again.
                    status.message().clone_into(&mut last);
                    tokio::time::sleep_until(until.min(Instant::now() + retry_after)).await;
                    if Instant::now() >= until && always_busy {
                        return Err(ClientError::Refused { reason: Reason::Busy, message: last });
                    }
                }
            }
            if Instant::now() >= until {
                return Err(self.none_served(&last));
            }
            // The first time the replicas are asked at once: they keep their answers back until one serves.
            match &mut pause {
                Some(pause) => Pause::wait(pause).await,
                None => pause = Some(Pause::default()),
            }
        }
    }

    /// Which service this is, by the word of any replica, whether it serves or not. Empty, if it is of a version that does
    /// not tell.
    pub(crate) async fn cluster(self: &Arc<Self>, until: Instant) -> Result<Vec<u8>, ClientError> {
        let mut pause = Pause::default();
        let mut last = "no replica answered".to_owned();
        loop {
            let servers = self.servers();
            let mut answers: FuturesUnordered<_> =
                servers.into_iter().map(|server| self.ask(server)).collect();
            while let Ok(Some(answer)) = tokio::time::timeout_at(until, answers.next()).await {
                match answer {
                    Ok(_) => return Ok(self.known().cluster.clone().unwrap_or_default()),
                    Err(cause) => last = cause,
                }
            }
            if Instant::now() >= until {
                return Err(self.none_served(&last));
            }
            pause.wait().await;
        }
    }

    /// Whether a replica belongs to the service that this client talks to; the first to answer says which that is. No
    /// session's token goes to another service, wherever that may have come up.
    fn is_ours(&self, heartbeat: &HeartbeatResponse) -> bool {
        if heartbeat.cluster_id.is_empty() {
            return true;
        }
        let mut known = self.known();
        *known.cluster.get_or_insert_with(|| heartbeat.cluster_id.clone()) == heartbeat.cluster_id
    }

    pub(crate) fn none_served(&self, last: &str) -> ClientError {
        let servers = self.known().servers.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        ClientError::NobodyServed { within: self.options.timeout, last: last.to_owned(), servers }
    }

    /// Notes that this primary can't be used any more.
    pub(crate) fn lose(&self, primary: &Arc<Primary>) {
        primary.lost.send_replace(true);
        let mut known = self.known();
        if known.primary.as_ref().is_some_and(|current| Arc::ptr_eq(current, primary)) {
            known.primary = None;
            // A connection that may be half dead is not used again.
            known.channels.remove(&primary.address);
            self.in_use.send_replace(None);
        }
    }

    /// The primary: the one in use, or the one that a search finds in time.
    pub(crate) async fn primary(
        self: &Arc<Self>,
        until: Instant,
        last: &str,
    ) -> Result<Arc<Primary>, ClientError> {
        if let Some(primary) = self.current() {
            return Ok(primary);
        }
        let search = self.search.lock();
        let Ok(_searching) = tokio::time::timeout_at(until, search).await else {
            return Err(self.none_served(last));
        };
        if let Some(primary) = self.current() {
            return Ok(primary);
        }
        let mut pause = Pause::default();
        let mut last = last.to_owned();
        loop {
            match tokio::time::timeout_at(until, self.ask_around()).await {
                Ok(Ok((address, heartbeat, channel))) => {
                    self.note(&heartbeat);
                    let (lost, _) = watch::channel(false);
                    self.in_use.send_replace(Some(InUse::by(&address, &heartbeat)));
                    let primary = Arc::new(Primary { address, view: heartbeat.view, channel, lost });
                    self.known().primary = Some(primary.clone());
                    tokio::spawn(watch_over(Arc::downgrade(self), Arc::downgrade(&primary)));
                    return Ok(primary);
                }
                Ok(Err(causes)) if !causes.is_empty() => last = causes.join("; "),
                Ok(Err(_)) | Err(_) => {}
            }
            if Instant::now() >= until {
                return Err(self.none_served(&last));
            }
            pause.wait().await;
        }
    }

    /// Notes the primary's view, and how far its clock is from this machine's. A heartbeat that was long on its way is off by as
    /// much, which is nothing beside the day that a date may be wrong by. (0: the replica is of a version that does not tell.)
    fn note(&self, heartbeat: &HeartbeatResponse) {
        let mut known = self.known();
        known.view = known.view.max(heartbeat.view);
        if let (Ok(service), true) = (i64::try_from(heartbeat.wall_clock), heartbeat.wall_clock > 0) {
            known.service_ahead = Some(service.saturating_sub(own_clock()));
        }
    }

    /// A new request id, dated by the service's clock once that is known: asked for at first, and by this machine's clock
    /// if no replica serves.
    pub(crate) async fn new_request_id(self: &Arc<Self>) -> RequestId {
        if self.known().service_ahead.is_none() {
            // If no primary is found, the call that the id is for says so.
            let _ = self.primary(Instant::now() + self.options.timeout, "no replica answered").await;
        }
        self.request_id_now()
    }

    /// A new request id, dated as well as can be told now.
    pub(crate) fn request_id_now(&self) -> RequestId {
        let ahead = self.known().service_ahead.unwrap_or(0);
        RequestId(dated(own_clock().saturating_add(ahead)))
    }

    pub(crate) fn in_use(&self) -> watch::Receiver<Option<InUse>> {
        self.in_use.subscribe()
    }

    fn current(&self) -> Option<Arc<Primary>> {
        self.known().primary.clone().filter(|primary| !primary.is_lost())
    }

    /// Asks every replica at once, and waits a while for one to serve. If none does: why not, of each that gave no answer.
    async fn ask_around(self: &Arc<Self>) -> Result<Asked, Vec<String>> {
        let servers = self.known().servers.clone();
        let mut answers: FuturesUnordered<_> =
            servers.into_iter().map(|server| self.ask_and_wait(server, WAIT_MS)).collect();
        let mut causes = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(asked) if asked.1.serving => return Ok(asked),
                Ok(_) => {}
                Err(cause) => causes.push(cause),
            }
        }
        causes.sort();
        Err(causes)
    }

    /// Asks one replica, and learns of the others from its answer; or says why there is none.
    pub(crate) async fn ask(self: &Arc<Self>, server: Address) -> Result<Asked, String> {
        self.ask_and_wait(server, 0).await
    }

    /// The same of one that may keep the answer back for that time, in milliseconds, until it knows more than this client does.
    async fn ask_and_wait(self: &Arc<Self>, server: Address, wait_ms: u32) -> Result<Asked, String> {
        let channel = self.channel(&server).ok_or_else(|| format!("{server} is no address"))?;
        let mut client = client(channel.clone());
        let question = HeartbeatRequest { wait_ms, known_view: self.known().view };
        let heartbeat = timeout(HEARTBEAT_LIMIT, client.heartbeat(question)).await;
        let heartbeat = match heartbeat {
            Ok(Ok(heartbeat)) => heartbeat.into_inner(),
            Ok(Err(status)) => {
                self.known().channels.remove(&server);
                return Err(format!("{server}: {}", first_cause(&status)));
            }
            Err(_) => {
                self.known().channels.remove(&server);
                return Err(format!("{server}: no answer within {HEARTBEAT_LIMIT:?}"));
            }
        };
        if !self.is_ours(&heartbeat) {
            debug!(%server, "another service answers there");
            return Err(format!("{server}: another service answers there"));
        }
        let mut known = self.known();
        known.view = known.view.max(heartbeat.view);
        for announced in &heartbeat.addresses {
            match Address::parse(announced) {
                Ok(address) if !known.servers.contains(&address) => known.servers.push(address),
                Ok(_) => {}
                Err(error) => debug!(%server, %error, "a replica announces what is no address"),
            }
        }
        drop(known);
        Ok((server, heartbeat, channel))
    }

    pub(crate) fn channel(&self, server: &Address) -> Option<Channel> {
        let mut known = self.known();
        if let Some(channel) = known.channels.get(server) {
            return Some(channel.clone());
        }
        let endpoint = api::endpoint(server).ok()?;
        let channel = endpoint.connect_timeout(CONNECT_LIMIT).connect_lazy();
        known.channels.insert(server.clone(), channel.clone());
        Some(channel)
    }

    pub(crate) fn servers(&self) -> Vec<Address> {
        self.known().servers.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the transport says of itself is general; what was at the bottom of it is not.
fn first_cause(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(earlier) = cause.and_then(Error::source) {
        cause = Some(earlier);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

pub(crate) fn client(channel: Channel) -> ChatClient<Channel> {
    ChatClient::new(channel)
        .max_decoding_message_size(CLIENT_ANSWER_BYTES_MAX)
        .max_encoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
}

/// Asks the primary in use whether it still leads, for as long as anyone uses it. A broken connection is noticed by the
/// calls themselves; this notices the primary that is silent, and the one that was deposed and does not know it yet.
async fn watch_over(connection: Weak<Connection>, primary: Weak<Primary>) {
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let (Some(connection), Some(primary)) = (connection.upgrade(), primary.upgrade()) else { return };
        if primary.is_lost() {
            return;
        }
        let answer = timeout(HEARTBEAT_LIMIT, primary.client().heartbeat(HeartbeatRequest::default())).await;
        if let Ok(Ok(heartbeat)) = answer
            && heartbeat.get_ref().serving
            && connection.is_ours(heartbeat.get_ref())
        {
            connection.note(heartbeat.get_ref());
            let now = InUse::by(&primary.address, heartbeat.get_ref());
            connection.in_use.send_if_modified(|before| {
                let changed = before.as_ref().is_some_and(|before| *before != now);
                if changed {
                    *before = Some(now);
                }
                changed
            });
            continue;
        }
        // It may only be slow. It is given up once someone else serves a newer view.
        if let Ok((address, heartbeat, _)) = connection.ask_around().await
            && (address != primary.address || heartbeat.view > primary.view)
        {
            debug!(from = %primary.address, to = %address, "the primary has changed");
            connection.lose(&primary);
            return;
        }
    }
}
