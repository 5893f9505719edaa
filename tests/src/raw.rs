//! Calls straight over gRPC, for what the client library would never send.

use crate::cluster::Cluster;
use api::v1::chat_client::ChatClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// A connection to one replica.
pub async fn channel(cluster: &Cluster, i: usize) -> Channel {
    Endpoint::from_shared(format!("http://{}", cluster.address(i))).unwrap().connect().await.unwrap()
}

/// The chat service of one replica.
pub async fn chat(cluster: &Cluster, i: usize) -> ChatClient<Channel> {
    ChatClient::new(channel(cluster, i).await)
}

/// A request with this authorization, as it stands.
pub fn with_authorization<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(api::AUTHORIZATION, authorization.parse().unwrap());
    request
}

/// A request of that session.
pub fn signed<T>(message: T, token: &str) -> Request<T> {
    with_authorization(message, &format!("Bearer {token}"))
}

/// A new request id.
pub fn id() -> Vec<u8> {
    uuid::Uuid::now_v7().as_bytes().to_vec()
}

/// The reason that a status carries.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
