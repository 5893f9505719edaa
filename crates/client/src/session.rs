//! What an account does in a session that it has opened.

use crate::connection::Connection;
use crate::error::ClientError;
use crate::listening::{Listening, Start};
use crate::outbox::Outbox;
use crate::request::{AccountPage, ConversationPage, MessagePage, Sent, To, check_text};
use api::v1;
use api::v1::chat_client::ChatClient;
use chat::{AccountId, MessageId, RequestId};
use std::fmt;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A session that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What is done in it.
    pub session: Session,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_at: u64,
    /// Whose.
    pub account: AccountId,
    /// The name as it was registered.
    pub name: String,
}

/// A session of an account. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    connection: Arc<Connection>,
    token: Arc<str>,
}

impl fmt::Debug for Session {
    /// Tokens stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn of(connection: Arc<Connection>, token: &str) -> Self {
        Self { connection, token: token.into() }
    }

    /// The token, which opens this session again ([`crate::Client::session`]). It is a secret.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A new request id, dated by the service's clock as far as it is known: its date says until when a retry is accepted.
    pub fn new_request_id(&self) -> RequestId {
        self.connection.request_id_now()
    }

    pub(crate) async fn ready(&self) -> Result<(), ClientError> {
        self.connection.ready().await
    }

    /// Whose session this is.
    pub async fn account(&self) -> Result<v1::GetAccountResponse, ClientError> {
        let message = v1::GetAccountRequest {};
        self.call(message, |mut chat, request| async move { chat.get_account(request).await }).await
    }

    /// Closes the session.
    pub async fn logout(&self) -> Result<(), ClientError> {
        let message = v1::LogoutRequest { request_id: self.request_id().await };
        self.call(message, |mut chat, request| async move { chat.logout(request).await }).await.map(drop)
    }

    /// Deletes the session's account.
    pub async fn delete_account(&self, password: &str) -> Result<(), ClientError> {
        let (request_id, password) = (self.request_id().await, password.to_owned());
        let message = v1::DeleteAccountRequest { request_id, password };
        let call = self.call(message, |mut chat, request| async move { chat.delete_account(request).await });
        call.await.map(drop)
    }

    /// Sets a new password; the account's other sessions end.
    pub async fn change_password(&self, password: &str, new: &str) -> Result<(), ClientError> {
        let (request_id, password) = (self.request_id().await, password.to_owned());
        let message = v1::ChangePasswordRequest { request_id, password, new_password: new.to_owned() };
        let call = self.call(message, |mut chat, request| async move { chat.change_password(request).await });
        call.await.map(drop)
    }

    /// One page of the accounts whose names match; `page_token` is that of the page before, empty for the first. A page may have no
    /// account, and others may follow: it is the last one where its `next_page_token` is empty.
    pub async fn accounts(&self, pattern: &str, page_token: &str) -> Result<AccountPage, ClientError> {
        let (pattern, page_token) = (pattern.to_owned(), page_token.to_owned());
        let message = v1::ListAccountsRequest { pattern, page_size: 0, page_token };
        self.call(message, |mut chat, request| async move { chat.list_accounts(request).await }).await
    }

    /// Sends one message, and waits until it is acknowledged; `min_copies` replicas hold it then, all in sync if 0.
    pub async fn send(
        &self,
        to: impl Into<To<'_>>,
        text: &str,
        min_copies: u32,
    ) -> Result<Sent, ClientError> {
        let (request_id, to) = (self.connection.new_request_id().await, to.into());
        self.connection.until_kept_on_enough(|| self.send_with_id(request_id, to, text, min_copies)).await
    }

    /// Sends one message under a request id of the caller's (see [`Session::new_request_id`]), who may send it again with the
    /// same id for a day, after a restart of its own too: it takes effect once, and the answer is the same.
    ///
    /// Unlike the other calls it does not ask again by itself when the message is kept on fewer replicas than were asked
    /// for ([`ClientError::KeptOnFewer`]): the caller has the id to do so, and may want to report it first.
    pub async fn send_with_id(
        &self,
        request_id: RequestId,
        to: impl Into<To<'_>>,
        text: &str,
        min_copies: u32,
    ) -> Result<Sent, ClientError> {
        check_text(text)?;
        let message = to.into().message(request_id, text, min_copies);
        let call = |mut chat: ChatClient<Channel>, request| async move { chat.send_message(request).await };
        Ok(self.connection.call_once(Some(&self.token), &message, call).await?.into())
    }

    /// An outbox: many messages in flight, in order.
    pub fn outbox(&self) -> Outbox {
        Outbox::start(self.connection.clone(), self.token.clone())
    }

    /// Listens for the session's messages. Ends when the result is dropped.
    pub fn listen(&self, start: Start) -> Listening {
        Listening::start(self.connection.clone(), self.token.clone(), start)
    }

    /// Says that everything up to a message has arrived. `history` is the one that the message was heard in.
    pub async fn acknowledge(&self, up_to: MessageId, history: &[u8]) -> Result<MessageId, ClientError> {
        let (request_id, history) = (self.request_id().await, history.to_vec());
        let message = v1::AcknowledgeMessagesRequest { request_id, up_to: up_to.0, history };
        let call =
            self.call(message, |mut chat, request| async move { chat.acknowledge_messages(request).await });
        Ok(MessageId(call.await?.up_to))
    }

    /// A page of the conversation with an account: what came before a message, or the newest.
    pub async fn conversation(
        &self,
        with: impl Into<To<'_>>,
        before: Option<MessageId>,
        page_size: u32,
    ) -> Result<MessagePage, ClientError> {
        let (with, with_id) = with.into().fields();
        let before = before.map_or(0, |message| message.0);
        let message = v1::ListMessagesRequest { with, with_id, before, page_size };
        self.call(message, |mut chat, request| async move { chat.list_messages(request).await }).await
    }

    /// A page of the session's conversations, the newest first: those whose last message came before this one, or the first.
    pub async fn conversations(
        &self,
        before: Option<MessageId>,
        page_size: u32,
    ) -> Result<ConversationPage, ClientError> {
        let before = before.map_or(0, |message| message.0);
        let message = v1::ListConversationsRequest { page_size, before };
        self.call(message, |mut chat, request| async move { chat.list_conversations(request).await }).await
    }

    /// Says that everything of the conversation with an account was seen, up to a message.
    pub async fn mark_seen(&self, with: AccountId, up_to: MessageId) -> Result<MessageId, ClientError> {
        let request_id = self.request_id().await;
        let message = v1::MarkReadRequest { request_id, with_id: with.0, up_to: up_to.0 };
        let call = self.call(message, |mut chat, request| async move { chat.mark_read(request).await });
        Ok(MessageId(call.await?.up_to))
    }

    /// Whether others learn what the session's account has seen.
    pub async fn show_seen(&self, shown: bool) -> Result<(), ClientError> {
        let message = v1::SetReadMarksRequest { request_id: self.request_id().await, shown };
        let call = self.call(message, |mut chat, request| async move { chat.set_read_marks(request).await });
        call.await.map(drop)
    }

    async fn call<M, R, F>(
        &self,
        message: M,
        call: impl Fn(ChatClient<Channel>, Request<M>) -> F,
    ) -> Result<R, ClientError>
    where
        M: prost::Message + Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.connection.call_until_kept(Some(&self.token), message, call).await
    }

    async fn request_id(&self) -> Vec<u8> {
        self.connection.new_request_id().await.0.into()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Client, Options};
    use chat::{Address, Reason};
    use std::time::Duration;

    #[tokio::test]
    async fn what_is_too_large_is_refused_and_not_taken_for_an_outage() {
        // No replica listens there, and none needs to be asked.
        let servers = vec![Address::parse("127.0.0.1:1").unwrap()];
        let client = Client::new(servers, Options { timeout: Duration::from_millis(1) });
        let large = "x".repeat(70_000);
        let session = client.session("token");
        let outbox = session.outbox();
        let refusals = [
            (session.send("bob", &large, 0).await.map(drop), Reason::InvalidInput),
            (session.send(&large, "hello", 0).await.map(drop), Reason::MessageTooLarge),
            (
                session.send_with_id(session.new_request_id(), "bob", &large, 0).await.map(drop),
                Reason::InvalidInput,
            ),
            (outbox.send("bob", &large, 0).await.unwrap().answered().await.map(drop), Reason::InvalidInput),
            (
                outbox.send(&large, "hello", 0).await.unwrap().answered().await.map(drop),
                Reason::MessageTooLarge,
            ),
            (client.create_account(&large, "password").await.map(drop), Reason::MessageTooLarge),
            (client.login("alice", &large).await.map(drop), Reason::MessageTooLarge),
            (session.accounts(&large, "").await.map(drop), Reason::MessageTooLarge),
            (session.conversation(&large, None, 1).await.map(drop), Reason::MessageTooLarge),
        ];
        for (outcome, reason) in refusals {
            assert!(outcome.as_ref().unwrap_err().is_refused_for(&reason), "{reason}: {outcome:?}");
        }
    }
}
