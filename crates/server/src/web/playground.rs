//! The pages of `up --playground`: the cluster page, and the socket on which it gives its orders.

use super::cluster::{self, ClusterFrame};
use super::origin::Origins;
use super::socket::text;
use super::{assets, foreign, nothing_here, opened, with_files};
use crate::connections::Held;
use axum::Extension;
use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use chat::Address;
use futures_util::SinkExt;
use std::future::Future;
use std::sync::Arc;

/// The playground at the address `own` of the replicas at `addresses`. `serve` gets each socket that a page of theirs has
/// opened; no other request comes that far, whatever site it comes from and by whatever name it found this address.
pub fn playground_pages<F>(
    addresses: &[Address],
    own: &Address,
    serve: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
) -> Router
where
    F: Future<Output = ()> + Send + 'static,
{
    let origins = Arc::new(Origins::of(addresses.iter().chain([own])));
    let cluster = cluster::Cluster {
        addresses: addresses.iter().map(ToString::to_string).collect(),
        playground: Some(own.to_string()),
    };
    let page = |headers: HeaderMap| async move {
        assets::file("cluster.html", &headers).map_or_else(nothing_here, IntoResponse::into_response)
    };
    let (reads, orders) = (origins.clone(), origins.clone());
    let where_they_are =
        move |Extension(held): Extension<Held>, headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
            if !reads.allow(&headers) {
                return foreign();
            }
            opened(upgrade, held, |socket| tell(socket, cluster))
        };
    let take_orders =
        move |Extension(held): Extension<Held>, headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
            if orders.demand(&headers) { opened(upgrade, held, serve) } else { foreign() }
        };
    let routes = Router::new()
        .route("/", get(page))
        .route("/cluster", get(page))
        .route("/cluster/socket", get(where_they_are))
        .route("/playground/socket", get(take_orders));
    with_files(routes, &origins)
}

/// Says where the replicas are; they say the rest.
async fn tell(mut socket: WebSocket, cluster: cluster::Cluster) {
    // A page that has disconnected needs no answer.
    let _ = socket.send(text(&ClusterFrame::Cluster(cluster))).await;
    let _ = socket.close().await;
}
