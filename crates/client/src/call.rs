//! One call that may change something: tried with the same request id until it is answered, and until enough replicas hold
//! what it changed.

use crate::connection::Connection;
use crate::error::ClientError;
use crate::request::{ASK_AGAIN_AFTER, check_size, signed};
use api::v1::chat_client::ChatClient;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

impl Connection {
    /// One call, with the same message (and so the same request id) however often it must be tried, until enough replicas
    /// hold what it changes.
    pub(crate) async fn call_until_kept<M, R, F>(
        self: &Arc<Self>,
        token: Option<&str>,
        message: M,
        call: impl Fn(ChatClient<Channel>, Request<M>) -> F,
    ) -> Result<R, ClientError>
    where
        M: prost::Message + Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.until_kept_on_enough(|| self.call_once(token, &message, &call)).await
    }

    /// Asks again, with the same request id, while what took effect is kept on too few replicas and there is time.
    pub(crate) async fn until_kept_on_enough<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let until = tokio::time::Instant::now() + self.timeout();
        let mut kept = None;
        loop {
            match ask().await {
                Err(error @ ClientError::KeptOnFewer { .. }) => {
                    if tokio::time::Instant::now() >= until {
                        return Err(error);
                    }
                    kept = Some(error);
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                // That it has taken effect is known; that asking again failed does not change it.
                Err(error) => return Err(kept.unwrap_or(error)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    pub(crate) async fn call_once<M, R, F>(
        self: &Arc<Self>,
        token: Option<&str>,
        message: &M,
        call: impl Fn(ChatClient<Channel>, Request<M>) -> F,
    ) -> Result<R, ClientError>
    where
        M: prost::Message + Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        check_size(message)?;
        let attempt = |client| {
            let request = match token {
                Some(token) => signed(message.clone(), token),
                None => Ok(Request::new(message.clone())),
            };
            let outcome = request.map(|request| call(client, request));
            async move { outcome?.await.map(Response::into_inner) }
        };
        self.call(attempt).await
    }
}
