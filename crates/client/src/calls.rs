//! The calls of a client, one method each.

use crate::connection::{Connection, InUse, Options};
use crate::error::ClientError;
use crate::listening::{Listening, Start};
use crate::outbox::Outbox;
use crate::request::{
    ASK_AGAIN_AFTER, HistoryPage, Opened, ReplicaView, Sent, To, check_size, check_text, signed,
};
use api::v1;
use api::v1::chat_client::ChatClient;
use chat::Address;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A client. Cheap to clone; all clones share one connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) connection: Arc<Connection>,
}

impl Client {
    /// A client of the service at these addresses; one of them must answer before long, the others are learned.
    pub fn new(servers: Vec<Address>, options: Options) -> Self {
        Self { connection: Connection::new(servers, options) }
    }

    /// Waits until a replica serves.
    pub async fn ready(&self) -> Result<(), ClientError> {
        let until = tokio::time::Instant::now() + self.connection.timeout();
        self.connection.primary(until, "no replica serves").await.map(drop)
    }

    /// Which service this is, by the word of any replica, whether it serves or not: the same for as long as it keeps its
    /// cluster's key. From the first answer on this client talks to that service alone. Empty, if the replica is of a version
    /// that does not tell.
    pub async fn cluster_id(&self) -> Result<Vec<u8>, ClientError> {
        self.connection.cluster(tokio::time::Instant::now() + self.connection.timeout()).await
    }

    /// The replica in use and how the service is doing, as it changes; `None` while a replica is being looked for. It is
    /// looked at a few times a second, for as long as the client has used it for anything.
    pub fn in_use(&self) -> watch::Receiver<Option<InUse>> {
        self.connection.in_use()
    }

    /// Asks every replica what it knows, by index.
    pub async fn replicas(&self) -> Vec<ReplicaView> {
        let ask = |servers: Vec<Address>| async {
            futures_util::future::join_all(servers.into_iter().map(|server| async {
                let heartbeat =
                    self.connection.ask(server.clone()).await.ok().map(|(_, heartbeat, _)| heartbeat);
                ReplicaView { address: server, heartbeat }
            }))
            .await
        };
        let first = ask(self.connection.servers()).await;
        // A replica that answered knows where all of them are, and in which order.
        let known = first.iter().find_map(|one| one.heartbeat.as_ref()).map(|heartbeat| &heartbeat.addresses);
        let Some(known) = known else { return first };
        let known: Vec<Address> = known.iter().filter_map(|address| Address::parse(address).ok()).collect();
        let missing =
            known.iter().filter(|address| !first.iter().any(|one| one.address == **address)).cloned();
        let second = ask(missing.collect()).await;
        let found = known
            .iter()
            .filter_map(|address| first.iter().chain(&second).find(|one| one.address == *address));
        found.cloned().collect()
    }

    /// Makes an account.
    pub async fn create_account(&self, name: &str, password: &str) -> Result<u64, ClientError> {
        let message = v1::CreateAccountRequest {
            request_id: self.connection.new_request_id().await,
            name: name.to_owned(),
            password: password.to_owned(),
            ..v1::CreateAccountRequest::default()
        };
        let answer = self
            .call(None, message, |mut client, request| async move { client.create_account(request).await });
        Ok(answer.await?.account_id)
    }

    /// Opens a session.
    pub async fn login(&self, name: &str, password: &str) -> Result<Opened, ClientError> {
        let message = v1::LoginRequest {
            request_id: self.connection.new_request_id().await,
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let answer =
            self.call(None, message, |mut client, request| async move { client.login(request).await });
        let v1::LoginResponse { token, expires_at, account_id, name } = answer.await?;
        Ok(Opened { token, expires_at, account_id, name })
    }

    /// Closes the session.
    pub async fn logout(&self, token: &str) -> Result<(), ClientError> {
        let message = v1::LogoutRequest { request_id: self.connection.new_request_id().await };
        let answer = self
            .call(Some(token), message, |mut client, request| async move { client.logout(request).await });
        answer.await.map(drop)
    }

    /// Deletes the session's account.
    pub async fn delete_account(&self, token: &str, password: &str) -> Result<(), ClientError> {
        let message = v1::DeleteAccountRequest {
            request_id: self.connection.new_request_id().await,
            password: password.to_owned(),
        };
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.delete_account(request).await };
        self.call(Some(token), message, call).await.map(drop)
    }

    /// Sets a new password; the account's other sessions end.
    pub async fn change_password(&self, token: &str, password: &str, new: &str) -> Result<(), ClientError> {
        let message = v1::ChangePasswordRequest {
            request_id: self.connection.new_request_id().await,
            password: password.to_owned(),
            new_password: new.to_owned(),
        };
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.change_password(request).await };
        self.call(Some(token), message, call).await.map(drop)
    }

    /// One page of the accounts whose names match, and the token of the next page (empty on the last).
    pub async fn accounts(
        &self,
        token: &str,
        pattern: &str,
        page_token: &str,
    ) -> Result<(Vec<v1::Account>, String), ClientError> {
        let message = v1::ListAccountsRequest {
            pattern: pattern.to_owned(),
            page_size: 0,
            page_token: page_token.to_owned(),
        };
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.list_accounts(request).await };
        let answer = self.call(Some(token), message, call).await?;
        Ok((answer.accounts, answer.next_page_token))
    }

    /// Sends one message.
    pub async fn send(
        &self,
        token: &str,
        to: &str,
        text: &str,
        min_copies: u32,
    ) -> Result<Sent, ClientError> {
        let request_id = self.connection.new_request_id().await;
        self.until_kept_on_enough(|| self.send_with_id(token, &request_id, to, text, min_copies)).await
    }

    /// Sends one message under a request id of the caller's (see [`Client::new_request_id`]), who may send it again with the same
    /// id for a day, after a restart of its own too: it takes effect once, and the answer is the same.
    ///
    /// Unlike the other calls it does not ask again by itself when the message is kept on fewer replicas than were asked
    /// for ([`ClientError::KeptOnFewer`]): the caller has the id to do so, and may want to report it first.
    pub async fn send_with_id(
        &self,
        token: &str,
        request_id: &[u8],
        to: impl Into<To<'_>>,
        text: &str,
        min_copies: u32,
    ) -> Result<Sent, ClientError> {
        let (to, to_id) = match to.into() {
            To::Name(name) => (name.to_owned(), 0),
            To::Account(id) => (String::new(), id),
        };
        let message = v1::SendMessageRequest {
            request_id: request_id.to_vec(),
            to,
            to_id,
            text: text.to_owned(),
            min_copies,
        };
        check_text(text)?;
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.send_message(request).await };
        Ok(self.call_once(Some(token), &message, call).await?.into())
    }

    /// A new request id, dated by the service's clock as far as it is known: its date says until when a retry is accepted.
    pub fn new_request_id(&self) -> Vec<u8> {
        self.connection.request_id_now()
    }

    /// An outbox: many messages in flight, in order.
    pub fn outbox(&self, token: &str) -> Outbox {
        Outbox::start(self.connection.clone(), token.to_owned())
    }

    /// Listens for the session's messages. Ends when the result is dropped.
    pub fn listen(&self, token: &str, start: Start) -> Listening {
        Listening::start(self.connection.clone(), token.to_owned(), start)
    }

    /// Says that everything up to a message has arrived. `history` is the one that the message was heard in.
    pub async fn acknowledge(&self, token: &str, up_to: u64, history: &[u8]) -> Result<u64, ClientError> {
        let message = v1::AcknowledgeMessagesRequest {
            request_id: self.connection.new_request_id().await,
            up_to,
            history: history.to_vec(),
        };
        let call = |mut client: ChatClient<Channel>, request| async move {
            client.acknowledge_messages(request).await
        };
        Ok(self.call(Some(token), message, call).await?.up_to)
    }

    /// A page of the conversation with an account: by name, or by number if `with` is `#` and digits.
    pub async fn history(
        &self,
        token: &str,
        with: &str,
        before: u64,
        page_size: u32,
    ) -> Result<HistoryPage, ClientError> {
        let number = with.strip_prefix('#').and_then(|digits| digits.parse().ok());
        let message = v1::ListMessagesRequest {
            with: with.to_owned(),
            with_id: number.unwrap_or(0),
            before,
            page_size,
        };
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.list_messages(request).await };
        let answer = self.call(Some(token), message, call).await?;
        Ok(HistoryPage { messages: answer.messages, more: answer.more })
    }

    /// A page of the session's conversations, the newest first, and whether there may be older ones.
    pub async fn conversations(
        &self,
        token: &str,
        before: u64,
        page_size: u32,
    ) -> Result<(Vec<v1::Conversation>, bool), ClientError> {
        let message = v1::ListConversationsRequest { page_size, before };
        let call = |mut client: ChatClient<Channel>, request| async move {
            client.list_conversations(request).await
        };
        let answer = self.call(Some(token), message, call).await?;
        Ok((answer.conversations, answer.more))
    }

    /// Says that everything of the conversation with an account was seen, up to a message.
    pub async fn mark_read(&self, token: &str, with: u64, up_to: u64) -> Result<u64, ClientError> {
        let message =
            v1::MarkReadRequest { request_id: self.connection.new_request_id().await, with_id: with, up_to };
        let call = |mut client: ChatClient<Channel>, request| async move { client.mark_read(request).await };
        Ok(self.call(Some(token), message, call).await?.up_to)
    }

    /// Whether others learn what the session's account has seen.
    pub async fn set_read_marks(&self, token: &str, shown: bool) -> Result<(), ClientError> {
        let message = v1::SetReadMarksRequest { request_id: self.connection.new_request_id().await, shown };
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.set_read_marks(request).await };
        self.call(Some(token), message, call).await.map(drop)
    }

    /// Whose session this is.
    pub async fn account(&self, token: &str) -> Result<v1::GetAccountResponse, ClientError> {
        let call =
            |mut client: ChatClient<Channel>, request| async move { client.get_account(request).await };
        self.call(Some(token), v1::GetAccountRequest {}, call).await
    }

    /// One call, with the same message (and so the same request id) however often it must be tried, until enough replicas
    /// hold what it changes.
    async fn call<M, R, F>(
        &self,
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
        let until = tokio::time::Instant::now() + self.connection.timeout();
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

    async fn call_once<M, R, F>(
        &self,
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
        self.connection.call(attempt).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use api::status::MESSAGE_TOO_LARGE;
    use std::time::Duration;

    #[tokio::test]
    async fn a_client_that_finds_no_replica_says_what_it_met_at_each() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = vec![Address::parse(&closed.to_string()).unwrap()];
        let client = Client::new(servers, Options { timeout: Duration::from_millis(500) });
        for error in [client.ready().await.unwrap_err(), client.cluster_id().await.unwrap_err()] {
            let said = error.to_string();
            assert!(said.contains(&format!("{closed}: Connection refused")), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_and_not_taken_for_an_outage() {
        // No replica listens there, and none needs to be asked.
        let servers = vec![Address::parse("127.0.0.1:1").unwrap()];
        let client = Client::new(servers, Options { timeout: Duration::from_millis(1) });
        let large = "x".repeat(70_000);
        let outbox = client.outbox("token");
        let refusals = [
            (client.send("token", "bob", &large, 0).await.map(drop), "INVALID_INPUT"),
            (client.send("token", &large, "hello", 0).await.map(drop), MESSAGE_TOO_LARGE),
            (client.send_with_id("token", &[1; 16], "bob", &large, 0).await.map(drop), "INVALID_INPUT"),
            (outbox.send("bob", &large, 0).await.unwrap().answered().await.map(drop), "INVALID_INPUT"),
            (outbox.send(&large, "hello", 0).await.unwrap().answered().await.map(drop), MESSAGE_TOO_LARGE),
            (client.create_account(&large, "password").await.map(drop), MESSAGE_TOO_LARGE),
            (client.login("alice", &large).await.map(drop), MESSAGE_TOO_LARGE),
            (client.accounts("token", &large, "").await.map(drop), MESSAGE_TOO_LARGE),
            (client.history("token", &large, 0, 1).await.map(drop), MESSAGE_TOO_LARGE),
        ];
        for (outcome, reason) in refusals {
            assert!(outcome.as_ref().unwrap_err().is_refused_for(reason), "{reason}: {outcome:?}");
        }
    }
}
