//! Streams between replicas: one a pair, dialled by the higher index, authenticated by the cluster's key.
//!
//! A stream is a connection between two incarnations of two processes; it gets a fresh number here, and whatever
//! arrives late from an earlier one has nowhere to arrive.

use crate::clock;
use crate::driver::Incoming;
use crate::key::ClusterKey;
use crate::peer_clock::PeerClock;
use crate::timeline::SignsOfLife;
use api::replica::from_wire;
use api::v1::replica_client::ReplicaClient;
use api::v1::replica_message::Message as Wire;
use api::v1::{Hello, ReplicaMessage};
use api::{CLUSTER_KEY, REPLICA_MESSAGE_BYTES_MAX};
use chat::Address;
use protocol::{Event, ReplicaIndex, StreamId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tracing::{debug, warn};

/// Messages that wait for one peer. A peer that leaves so many unread is as good as gone.
const OUTBOUND_MAX: usize = 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const REDIAL_FIRST: Duration = Duration::from_millis(20);
const REDIAL_AT_MOST: Duration = Duration::from_millis(250);

/// An open stream to a peer. Dropping it closes the stream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: StreamId,
    pub(crate) outbound: mpsc::Sender<ReplicaMessage>,
    /// Dropped with the link, which ends the task that reads from the stream.
    _open: watch::Sender<()>,
}

/// Makes links out of streams, whoever opened them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    me: ReplicaIndex,
    replicas: usize,
    key: ClusterKey,
    streams: Arc<AtomicU64>,
    driver: mpsc::Sender<Incoming>,
    signs: Arc<SignsOfLife>,
}

impl Peers {
    pub(crate) fn new(
        me: ReplicaIndex,
        replicas: usize,
        key: ClusterKey,
        driver: mpsc::Sender<Incoming>,
        signs: Arc<SignsOfLife>,
    ) -> Self {
        Self { me, replicas, key, streams: Arc::default(), driver, signs }
    }

    /// The queue of what is said to a peer, which begins with who says it.
    pub(crate) fn outbound(&self) -> (mpsc::Sender<ReplicaMessage>, ReceiverStream<ReplicaMessage>) {
        let (sender, receiver) = mpsc::channel(OUTBOUND_MAX);
        let hello = Hello {
            replica: u32::from(self.me.0),
            replicas: u32::try_from(self.replicas).unwrap_or(u32::MAX),
        };
        let hello = ReplicaMessage { message: Some(Wire::Hello(hello)), wall_clock: 0 };
        sender.try_send(hello).expect("a new queue has room for its first message");
        (sender, ReceiverStream::new(receiver))
    }

    /// Reads who the peer is from its first message. `dialled` is whom this replica meant to reach.
    pub(crate) async fn meet(
        &self,
        inbound: &mut Streaming<ReplicaMessage>,
        dialled: Option<ReplicaIndex>,
    ) -> Result<ReplicaIndex, Status> {
        let first = tokio::time::timeout(CONNECT_LIMIT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the peer did not say who it is"))??;
        let Some(ReplicaMessage { message: Some(Wire::Hello(hello)), .. }) = first else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if usize::try_from(hello.replicas) != Ok(self.replicas) {
            return Err(Status::failed_precondition(format!(
                "replica {} is configured with {} replicas, replica {} with {}",
                hello.replica, hello.replicas, self.me, self.replicas
            )));
        }
        let peer = u8::try_from(hello.replica).ok().map(ReplicaIndex);
        let peer = peer.filter(|peer| usize::from(peer.0) < self.replicas && *peer != self.me);
        match (peer, dialled) {
            (Some(peer), None) if peer > self.me => Ok(peer),
            (Some(peer), Some(dialled)) if peer == dialled => Ok(peer),
            _ => Err(Status::invalid_argument(format!("replica {} is not expected here", hello.replica))),
        }
    }

    /// Hands an open stream to the driver and reads from it until it ends.
    pub(crate) async fn serve(
        &self,
        peer: ReplicaIndex,
        outbound: mpsc::Sender<ReplicaMessage>,
        mut inbound: Streaming<ReplicaMessage>,
    ) {
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed) + 1);
        let (open, mut closed) = watch::channel(());
        let link = Link { stream, outbound, _open: open };
        if self.driver.send(Incoming::Linked { peer, link }).await.is_err() {
            return;
        }
        let mut peer_clock = PeerClock::default();
        loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                _ = closed.changed() => return,
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
        // The driver has ended: nobody is left to be told.
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
        let (outbound, said) = self.outbound();
        let request = authenticated(said, &self.key)?;
        let opened = tokio::time::timeout(CONNECT_LIMIT, client.exchange(request))
            .await
            .map_err(|_| Status::unavailable("no answer in time"))??;
        let mut inbound = opened.into_inner();
        let peer = self.meet(&mut inbound, Some(peer)).await?;
        self.serve(peer, outbound, inbound).await;
        Ok(())
    }
}

/// Connects to another replica.
pub(crate) async fn connect(address: &Address) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
}

/// A request that carries the cluster's key.
pub(crate) fn authenticated<T>(message: T, key: &ClusterKey) -> Result<Request<T>, Status> {
    let mut value = AsciiMetadataValue::try_from(key.as_metadata())
        .map_err(|_| Status::internal("the cluster's key is not ASCII"))?;
    value.set_sensitive(true);
    let mut request = Request::new(message);
    request.metadata_mut().insert(CLUSTER_KEY, value);
    Ok(request)
}
