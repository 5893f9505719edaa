//! What is behind a replica's address, and what it says of itself.

use crate::config::Shares;
use crate::connections::{Doors, accept};
use crate::crowd::Crowd;
use crate::doorkeeper::Doorkeeper;
use crate::grpc::{self, Grpc};
use crate::grpc_calls::Calls;
use crate::open_files::connections_max;
use crate::published::Published;
use crate::replica_service::ReplicaService;
use crate::service::Service;
use api::v1::PUBLIC_DESCRIPTORS;
use api::v1::chat_server::ChatServer;
use api::v1::replica_server::ReplicaServer;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

/// Serves chats, replicas and pages on one address until it can't.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Router,
    service: Service,
    replica: ReplicaService,
    seen: watch::Receiver<Published>,
    shares: Shares,
    doorkeeper: Doorkeeper,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let sending = service.clone();
    let send_messages =
        move |request| async move { grpc::send_messages(sending, request).await.map(Body::new) };
    let chat = ChatServer::new(Grpc(service))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(api::CLIENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(api::CLIENT_ANSWER_BYTES_MAX);
    let replica = ReplicaServer::new(replica)
        .max_decoding_message_size(api::REPLICA_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(api::REPLICA_MESSAGE_BYTES_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(PUBLIC_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    // Older tools ask for the earlier version.
    let reflection_alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(PUBLIC_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(report_health(health, seen));
    let others = Routes::new(replica)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(health_service);
    let Shares { streams_per_connection, connections_per_address, .. } = shares;
    let others = others.prepare().into_axum_router().route(grpc::SEND_MESSAGES, post(send_messages));
    let doors = Doors { pages, grpc: Some(Calls { chat, others }), streams_per_connection };
    accept(listener, doors, Crowd::new(connections_max(), connections_per_address), Some(doorkeeper)).await;
    Ok(())
}

/// A replica is healthy as a server of chats while it serves; as a process, while it answers at all.
async fn report_health(health: tonic_health::server::HealthReporter, mut seen: watch::Receiver<Published>) {
    loop {
        let serving = seen.borrow_and_update().status.serving;
        if serving {
            health.set_serving::<ChatServer<Grpc>>().await;
        } else {
            health.set_not_serving::<ChatServer<Grpc>>().await;
        }
        if seen.wait_for(|published| published.status.serving != serving).await.is_err() {
            return;
        }
    }
}
