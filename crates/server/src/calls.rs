//! The calls of gRPC, and which service each of them is for.

use crate::grpc::{self, Grpc};
use api::v1::chat_server::ChatServer;
use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use tonic::body::Body;
use tower_service::Service;

/// The calls of clients.
const CHAT: &str = "/trialogue.v1.Chat/";

/// What answers calls.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// Those of clients but `SendMessages`: most calls are theirs, and what chooses among routes by their paths would cost each
    /// of them several allocations.
    pub(crate) chat: ChatServer<Grpc>,
    /// All others, by their paths.
    pub(crate) others: Router,
}

impl Calls {
    /// Answers a call.
    pub(crate) async fn answer(mut self, call: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = call.uri().path();
        let answer = if path.starts_with(CHAT) && path != grpc::SEND_MESSAGES {
            self.chat.call(call).await?
        } else {
            self.others.call(call.map(axum::body::Body::new)).await?.map(Body::new)
        };
        Ok(grpc::readable(answer))
    }
}
