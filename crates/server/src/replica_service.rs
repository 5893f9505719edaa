//! The service between replicas. Whoever lacks the cluster's key reaches nothing of it.

use crate::key::ClusterKey;
use crate::peers::Peers;
use crate::snapshot_transfer::{Chunks, SnapshotSource};
use api::CLUSTER_KEY;
use api::v1::replica_server::Replica;
use api::v1::{FetchSnapshotRequest, ReplicaMessage};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

#[derive(Debug)]
pub(crate) struct ReplicaService {
    pub(crate) key: ClusterKey,
    pub(crate) peers: Peers,
    pub(crate) snapshots: SnapshotSource,
}

#[tonic::async_trait]
impl Replica for ReplicaService {
    type ExchangeStream = ReceiverOf<ReplicaMessage>;
    type FetchSnapshotStream = Chunks;

    async fn exchange(
        &self,
        request: Request<Streaming<ReplicaMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        self.authenticate(&request)?;
        let mut inbound = request.into_inner();
        let (outbound, said) = self.peers.outbound();
        let peers = self.peers.clone();
        tokio::spawn(async move {
            match peers.meet(&mut inbound, None).await {
                Ok(peer) => peers.serve(peer, outbound, inbound).await,
                Err(status) => warn!("a stream between replicas was refused: {}", status.message()),
            }
        });
        Ok(Response::new(ReceiverOf(said)))
    }

    async fn fetch_snapshot(
        &self,
        request: Request<FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        self.authenticate(&request)?;
        info!("sends a snapshot to replica {}", request.get_ref().replica);
        Ok(Response::new(self.snapshots.send().await?))
    }
}

impl ReplicaService {
    fn authenticate<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let given = request.metadata().get(CLUSTER_KEY).map(tonic::metadata::MetadataValue::as_bytes);
        if given.is_some_and(|given| self.key.matches(given)) {
            Ok(())
        } else {
            Err(Status::permission_denied("the service between replicas needs the cluster's key"))
        }
    }
}

/// A queue as a response stream.
#[derive(Debug)]
pub(crate) struct ReceiverOf<T>(ReceiverStream<T>);

impl<T> futures_util::Stream for ReceiverOf<T> {
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.0).poll_next(context).map(|item| item.map(Ok))
    }
}
