//! The service between replicas. A caller that does not prove that it has the cluster's key reaches nothing of it.

use crate::challenges::Challenges;
use crate::key::ClusterKey;
use crate::peers::Peers;
use crate::proof::{Call, Purpose, Side};
use crate::snapshot_transfer::{Chunks, SnapshotSource};
use api::v1::replica_server::Replica;
use api::v1::{ChallengeRequest, ChallengeResponse, FetchSnapshotRequest, ReplicaMessage};
use protocol::ReplicaIndex;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

#[derive(Debug)]
pub(crate) struct ReplicaService {
    pub(crate) me: ReplicaIndex,
    pub(crate) key: ClusterKey,
    pub(crate) peers: Peers,
    pub(crate) snapshots: SnapshotSource,
    pub(crate) challenges: Challenges,
}

#[tonic::async_trait]
impl Replica for ReplicaService {
    type ExchangeStream = Said;
    type FetchSnapshotStream = Chunks;

    async fn exchange(
        &self,
        request: Request<Streaming<ReplicaMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut inbound = request.into_inner();
        let caller = self.peers.greet(&mut inbound).await?;
        let (outbound, messages) = Peers::outbound();
        let (refuse, refusal) = oneshot::channel();
        let peers = self.peers.clone();
        tokio::spawn(async move {
            if let Err(status) = peers.admit(caller, outbound, inbound).await {
                // The caller may have disconnected.
                let _ = refuse.send(status);
            }
        });
        Ok(Response::new(Said { messages, refusal: Some(refusal) }))
    }

    async fn challenge(&self, _: Request<ChallengeRequest>) -> Result<Response<ChallengeResponse>, Status> {
        Ok(Response::new(ChallengeResponse {
            challenge: self.challenges.give().to_vec(),
            replica: u32::from(self.me.0),
            cluster_id: self.key.cluster_id().0.to_vec(),
        }))
    }

    async fn fetch_snapshot(
        &self,
        request: Request<FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let FetchSnapshotRequest { replica, nonce, challenge, proof } = request.into_inner();
        let proofs = self.key.proofs(Call {
            purpose: Purpose::Snapshot,
            caller: replica,
            called: u32::from(self.me.0),
            caller_nonce: &nonce,
            called_nonce: &challenge,
        });
        if !self.challenges.take(&challenge, || proofs.verify(Side::Caller, &[], &proof)) {
            return Err(Status::permission_denied(
                "a snapshot is for those who prove that they have the cluster's key",
            ));
        }
        info!("sends a snapshot to replica {replica}");
        Ok(Response::new(self.snapshots.send(proofs).await?))
    }
}

/// What is said to a caller; if it is refused after all, that comes last.
#[derive(Debug)]
pub(crate) struct Said {
    messages: mpsc::Receiver<ReplicaMessage>,
    refusal: Option<oneshot::Receiver<Status>>,
}

impl futures_util::Stream for Said {
    type Item = Result<ReplicaMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(context)) {
            return Poll::Ready(Some(Ok(message)));
        }
        let Some(refusal) = &mut self.refusal else { return Poll::Ready(None) };
        let refusal = ready!(Pin::new(refusal).poll(context));
        self.refusal = None;
        Poll::Ready(refusal.ok().map(Err))
    }
}
