//! What is behind a replica's address, and what it says of itself.

use crate::chat_service::ChatService;
use crate::config::Shares;
use crate::connections::{Doors, accept};
use crate::crowd::Crowd;
use crate::doorkeeper::Doorkeeper;
use crate::gateway::{Gateway, Published};
use crate::open_files::connections_max;
use crate::replica_service::ReplicaService;
use crate::sending;
use api::v1::PUBLIC_DESCRIPTORS;
use api::v1::chat_server::ChatServer;
use api::v1::replica_server::ReplicaServer;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

/// How often a listener hears something at least.
pub(crate) const LISTENER_BEAT: Duration = Duration::from_secs(1);

/// Serves chats, replicas and pages on one address until it can't.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Router,
    chat: ChatService,
    replica: ReplicaService,
    seen: watch::Receiver<Published>,
    shares: Shares,
    doorkeeper: Doorkeeper,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let sending = chat.clone();
    let send_messages = move |request| async move { sending::serve(sending, request).await.map(Body::new) };
    let chat = ChatServer::new(chat)
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
    let grpc = Routes::new(chat)
        .add_service(replica)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(health_service);
    let Shares { streams_per_connection, connections_per_address, .. } = shares;
    let grpc = grpc.prepare().into_axum_router().route(sending::PATH, post(send_messages));
    let doors = Doors { pages, grpc: Some(grpc), streams_per_connection };
    accept(listener, doors, Crowd::new(connections_max(), connections_per_address), Some(doorkeeper)).await;
    Ok(())
}

/// A replica is healthy as a server of chats while it serves; as a process, while it answers at all.
async fn report_health(health: tonic_health::server::HealthReporter, mut seen: watch::Receiver<Published>) {
    loop {
        let serving = seen.borrow_and_update().status.serving;
        if serving {
            health.set_serving::<ChatServer<ChatService>>().await;
        } else {
            health.set_not_serving::<ChatServer<ChatService>>().await;
        }
        if seen.wait_for(|published| published.status.serving != serving).await.is_err() {
            return;
        }
    }
}

/// Listeners hear a beat only while this replica may answer reads: a primary that was cut off falls silent, and its
/// listeners go elsewhere.
pub(crate) fn beats_while_leased(gateway: Arc<Gateway>) -> watch::Receiver<u64> {
    let (beat, beats) = watch::channel(0);
    tokio::spawn(async move {
        let mut every = tokio::time::interval(LISTENER_BEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if gateway.may_read().await.is_ok() {
                beat.send_modify(|beats| *beats += 1);
            }
        }
    });
    beats
}
