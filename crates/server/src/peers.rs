//! Streams between replicas: one a pair, dialled by the higher index, open once both have proven who they are
//! (`handshake.rs`).
//!
//! A stream is a connection between two incarnations of two processes; it gets a fresh number here, and whatever
//! arrives late from an earlier one has nowhere to arrive.

use crate::clock;
use crate::handshake::{Credentials, Greeted};
use crate::impairments::Envelope;
use crate::incoming::{Incoming, Link};
use crate::peer_clock::PeerClock;
use crate::proof::draw_nonce;
use crate::timeline::SignsOfLife;
use api::replica::from_wire;
use api::v1::ReplicaMessage;
use api::v1::replica_client::ReplicaClient;
use api::v1::replica_message::Message as Wire;
use api::{PROGRAM, PROTOCOL, REPLICA_MESSAGE_BYTES_MAX};
use chat::Address;
use protocol::{Event, ReplicaIndex, StreamId};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, warn};

/// Messages that wait for one peer. A peer that leaves this many unread is as good as gone.
const OUTBOUND_MAX: usize = 1024;
/// How often each replica tells the others what its wall clock shows: secondaries have nothing else to say to each other.
const CLOCK_TOLD_EVERY: Duration = Duration::from_secs(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const REDIAL_FIRST: Duration = Duration::from_millis(20);
const REDIAL_AT_MOST: Duration = Duration::from_millis(250);
/// Different refusals that are logged, until this time has passed since the last of them.
const REFUSALS_MAX: usize = 16;
const REFUSALS_PAUSE: Duration = Duration::from_mins(1);
/// What a program with protocol 1 answers.
const KEY_WANTED_BY_PROTOCOL_1: &str = "the service between replicas needs the cluster's key";

/// Makes links out of streams, whichever side opened them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    credentials: Arc<Credentials>,
    streams: Arc<AtomicU64>,
    driver: mpsc::Sender<Incoming>,
    signs: Arc<SignsOfLife>,
    refusals: Arc<Refusals>,
    envelope: Envelope,
}

impl Peers {
    pub(crate) fn new(
        credentials: Credentials,
        driver: mpsc::Sender<Incoming>,
        signs: Arc<SignsOfLife>,
        envelope: Envelope,
    ) -> Self {
        let credentials = Arc::new(credentials);
        Self { credentials, streams: Arc::default(), driver, signs, refusals: Arc::default(), envelope }
    }

    /// The queue of what is said to a peer.
    pub(crate) fn outbound() -> (mpsc::Sender<ReplicaMessage>, mpsc::Receiver<ReplicaMessage>) {
        mpsc::channel(OUTBOUND_MAX)
    }

    /// Reads who calls; a caller that can't be a replica of this cluster is refused.
    pub(crate) async fn greet(&self, inbound: &mut Streaming<ReplicaMessage>) -> Result<Greeted, Status> {
        self.credentials.greet(inbound).await.inspect_err(|status| self.refusals.log(status))
    }

    /// Serves a caller that was greeted, once it has proven who it is.
    pub(crate) async fn admit(
        &self,
        caller: Greeted,
        outbound: mpsc::Sender<ReplicaMessage>,
        mut inbound: Streaming<ReplicaMessage>,
    ) -> Result<(), Status> {
        let answered = self.credentials.answer(&caller, &outbound, &mut inbound).await;
        answered.inspect_err(|status| self.refusals.log(status))?;
        self.refusals.forget();
        self.serve(caller.peer, outbound, inbound).await;
        Ok(())
    }

    /// Hands an open stream to the driver and reads from it until it ends.
    pub(crate) async fn serve(
        &self,
        peer: ReplicaIndex,
        outbound: mpsc::Sender<ReplicaMessage>,
        mut inbound: Streaming<ReplicaMessage>,
    ) {
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed) + 1);
        // Not held by this task: a link that is dropped closes the stream.
        let tell = outbound.downgrade();
        let (link, mut closed) = Link::new(stream, outbound);
        if self.driver.send(Incoming::Linked { peer, link }).await.is_err() {
            return;
        }
        let mut peer_clock = PeerClock::default();
        let mut peer_impaired = None;
        let mut tell_clock = tokio::time::interval(CLOCK_TOLD_EVERY);
        tell_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                _ = closed.changed() => return,
                _ = tell_clock.tick() => {
                    if let Some(outbound) = tell.upgrade() {
                        // A full queue says with its own messages what the clock shows.
                        let _ = outbound.try_send(self.envelope.alone());
                    }
                    continue;
                }
            };
            self.signs.note(peer);
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(status) => {
                    debug!(%status, "the stream of replica {peer} broke");
                    break;
                }
            };
            if let (Ok(theirs), Ok(mine)) =
                (i64::try_from(message.wall_clock), i64::try_from(clock::wall().0))
                && theirs > 0
                && let Some(ahead) = peer_clock.arrived(clock::now(), theirs - mine)
            {
                let compared = Event::ClockCompared { peer, ahead };
                if self.driver.send(Incoming::Core(compared)).await.is_err() {
                    return;
                }
            }
            if peer_impaired.replace(message.impaired) != Some(message.impaired) {
                let impaired = message.impaired;
                if self.driver.send(Incoming::OfAPeer { peer, impaired }).await.is_err() {
                    return;
                }
            }
            if message.message.is_none() && message.wall_clock > 0 {
                continue;
            }
            match from_wire(message) {
                Ok(message) => {
                    let event = Event::Received { peer, stream, message };
                    if self.driver.send(Incoming::Core(event)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, "a message of replica {peer} makes no sense; its stream is closed");
                    break;
                }
            }
        }
        // An error means that the driver has ended: it needs no event.
        let _ = self.driver.send(Incoming::Core(Event::StreamClosed { peer, stream })).await;
    }

    /// Keeps a stream open to one peer with a lower index, for ever.
    pub(crate) async fn dial(self, peer: ReplicaIndex, address: Address) {
        let mut wait = REDIAL_FIRST;
        let mut last_problem = String::new();
        loop {
            match self.dial_once(peer, &address).await {
                Ok(()) => {
                    wait = REDIAL_FIRST;
                    last_problem.clear();
                }
                Err(problem) => {
                    // A peer that is down is no news; one that refuses is.
                    if problem.code() != tonic::Code::Unavailable && problem.message() != last_problem {
                        warn!("replica {peer} at {address}: {}", problem.message());
                        problem.message().clone_into(&mut last_problem);
                    }
                    wait = (wait * 2).min(REDIAL_AT_MOST);
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn dial_once(&self, peer: ReplicaIndex, address: &Address) -> Result<(), Status> {
        let channel = connect(address).await?;
        let mut client = ReplicaClient::new(channel)
            .max_decoding_message_size(REPLICA_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(REPLICA_MESSAGE_BYTES_MAX);
        let (outbound, said) = Self::outbound();
        let nonce = draw_nonce();
        let hello = Wire::Hello(self.credentials.hello(&nonce));
        let hello = ReplicaMessage { message: Some(hello), ..ReplicaMessage::default() };
        outbound.try_send(hello).expect("a new queue has room for its first message");
        let opened = tokio::time::timeout(CONNECT_LIMIT, client.exchange(ReceiverStream::new(said)))
            .await
            .map_err(|_| Status::unavailable("no answer in time"))?;
        let mut inbound = opened.map_err(of_an_older_program)?.into_inner();
        self.credentials.call(peer, &outbound, &mut inbound, nonce).await?;
        self.serve(peer, outbound, inbound).await;
        Ok(())
    }
}

/// A program with protocol 1 refuses a caller that does not send it the cluster's key, which is never sent any more.
fn of_an_older_program(status: Status) -> Status {
    if status.code() == Code::PermissionDenied && status.message() == KEY_WANTED_BY_PROTOCOL_1 {
        return Status::failed_precondition(format!(
            "it runs an older trialogue, which speaks protocol 1 between replicas, and this is {PROGRAM}, which speaks \
             protocol {PROTOCOL}: run the same program for all of them"
        ));
    }
    status
}

/// Who was refused and why: each is logged once, and strangers can't flood the log.
#[derive(Debug, Default)]
struct Refusals(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    sentences: BTreeSet<String>,
    last: Option<Instant>,
}

impl Refusals {
    fn log(&self, status: &Status) {
        if self.is_news(status.message(), Instant::now()) {
            warn!("a stream between replicas was refused: {}", status.message());
        }
    }

    fn is_news(&self, sentence: &str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.sentences.contains(sentence) {
            return false;
        }
        if logged.sentences.len() >= REFUSALS_MAX {
            if logged.last.is_some_and(|last| now.duration_since(last) < REFUSALS_PAUSE) {
                return false;
            }
            logged.sentences.clear();
        }
        logged.last = Some(now);
        logged.sentences.insert(sentence.to_owned())
    }

    /// A peer was admitted: what it is refused for the next time is news.
    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sentences.clear();
    }
}

/// Connects to another replica.
pub(crate) async fn connect(address: &Address) -> Result<Channel, Status> {
    let endpoint = api::endpoint(address).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let endpoint = endpoint.connect_timeout(CONNECT_LIMIT);
    endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_logged_once_and_strangers_do_not_flood_the_log() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        assert!(refusals.is_news("another cluster", began));
        assert!(!refusals.is_news("another cluster", began + REFUSALS_PAUSE * 9));
        let many = |now| (0..1000).filter(|i| refusals.is_news(&format!("program {i}"), now)).count();
        assert_eq!(many(began), REFUSALS_MAX - 1);
        assert_eq!(many(began + REFUSALS_PAUSE), REFUSALS_MAX);
        refusals.forget();
        assert!(refusals.is_news("another cluster", began));
    }
}
