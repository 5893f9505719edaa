//! Which service a call of gRPC is for.

use crate::grpc::{self, Grpc};
use api::v1::chat_server::ChatServer;
use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// What answers calls.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// All of its own calls but `SendMessages`, which needs a reader of its own. Most calls are these, so they are not looked for
    /// among the routes, which would allocate several times for each.
    pub(crate) chat: ChatServer<Grpc>,
    /// All others, by their paths.
    pub(crate) others: Router,
}

impl Calls {
    /// Answers a call.
    pub(crate) async fn answer(mut self, call: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = call.uri().path();
        let service =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        let answer = if service == Some(ChatServer::<Grpc>::NAME) && path != grpc::SEND_MESSAGES {
            self.chat.call(call).await?
        } else {
            self.others.call(call.map(axum::body::Body::new)).await?.map(Body::new)
        };
        Ok(grpc::readable(answer))
    }
}
