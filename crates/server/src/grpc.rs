//! The door of gRPC: reads what a call asks for, calls the service, and writes its answer. No rule is here.

mod sending;
mod unreadable;
mod wire;

pub(crate) use sending::{PATH as SEND_MESSAGES, serve as send_messages};
pub(crate) use unreadable::answered as readable;

use crate::caller::{Caller, Origin};
use crate::delivery::Subscription;
use crate::service::{Event, Events, Failure, NewAccount, Outgoing, Proof, Service, With};
use api::v1::chat_server::Chat;
use api::{AUTHORIZATION, status, v1};
use chat::{AccountId, Cursor, MessageId, Refusal, RequestId, TokenHash};
use futures_util::StreamExt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// The service of `chat.proto`.
#[derive(Clone, Debug)]
pub(crate) struct Grpc(pub(crate) Service);

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => status::refused(&refusal),
            Failure::KeptOnFewer(kept) => status::kept_on_fewer(&kept),
            Failure::NotPrimary { address } => status::not_primary(address.as_deref()),
            Failure::Busy { why, retry_after } => status::busy(&why, retry_after),
            Failure::Fault => status::fault(),
        }
    }
}

#[tonic::async_trait]
impl Chat for Grpc {
    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Answer<v1::HeartbeatResponse> {
        let v1::HeartbeatRequest { wait_ms, known_view } = request.into_inner();
        self.0.until_there_is_news(Duration::from_millis(u64::from(wait_ms)), known_view).await;
        Ok(Response::new(wire::heartbeat(self.0.state())))
    }

    async fn digest(&self, request: Request<v1::DigestRequest>) -> Answer<v1::DigestResponse> {
        Ok(Response::new(self.0.digest(request.into_inner()).await?))
    }

    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Answer<v1::CreateAccountResponse> {
        let (origin, asked) = (origin_of(&request), request.into_inner());
        let proof = Proof { challenge: &asked.challenge, proof: &asked.proof };
        let new = NewAccount { name: &asked.name, password: &asked.password, proof };
        let account = self.0.create_account(origin, request_id(&asked.request_id)?, new).await?;
        Ok(Response::new(v1::CreateAccountResponse { account_id: account.0 }))
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Answer<v1::LoginResponse> {
        let (origin, asked) = (origin_of(&request), request.into_inner());
        let id = request_id(&asked.request_id)?;
        Ok(Response::new(wire::login(self.0.log_in(origin, id, &asked.name, &asked.password).await?)))
    }

    async fn logout(&self, request: Request<v1::LogoutRequest>) -> Answer<v1::LogoutResponse> {
        let (token, asked) = signed(request)?;
        self.0.log_out(token, request_id(&asked.request_id)?).await?;
        Ok(Response::new(v1::LogoutResponse {}))
    }

    async fn delete_account(
        &self,
        request: Request<v1::DeleteAccountRequest>,
    ) -> Answer<v1::DeleteAccountResponse> {
        let origin = origin_of(&request);
        let (token, asked) = signed(request)?;
        self.0.delete_account(origin, token, request_id(&asked.request_id)?, &asked.password).await?;
        Ok(Response::new(v1::DeleteAccountResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Answer<v1::ChangePasswordResponse> {
        let origin = origin_of(&request);
        let (token, asked) = signed(request)?;
        let (id, passwords) = (request_id(&asked.request_id)?, (&*asked.password, &*asked.new_password));
        self.0.change_password(origin, token, id, passwords).await?;
        Ok(Response::new(v1::ChangePasswordResponse {}))
    }

    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Answer<v1::ListAccountsResponse> {
        let (token, asked) = signed(request)?;
        let page = self.0.accounts(token, asked.pattern, asked.page_token, asked.page_size).await?;
        Ok(Response::new(wire::accounts(page)))
    }

    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Answer<v1::SendMessageResponse> {
        let (token, asked) = signed(request)?;
        let with = With::of(asked.to_id, &asked.to);
        let message = Outgoing { with, text: &asked.text, min_copies: asked.min_copies };
        Ok(Response::new(wire::sent(self.0.send(token, request_id(&asked.request_id)?, message).await?)))
    }

    type SendMessagesStream = ReceiverStream<Result<v1::SendMessagesResponse, Status>>;

    async fn send_messages(
        &self,
        _: Request<Streaming<v1::SendMessageRequest>>,
    ) -> Answer<Self::SendMessagesStream> {
        // `sending::serve` has the path of this call.
        Err(Status::unimplemented("it is answered elsewhere"))
    }

    type ListenMessagesStream = futures_util::stream::Map<
        Events,
        fn(Result<Event, Failure>) -> Result<v1::ListenMessagesResponse, Status>,
    >;

    async fn listen_messages(
        &self,
        request: Request<v1::ListenMessagesRequest>,
    ) -> Answer<Self::ListenMessagesStream> {
        let (token, asked) = signed(request)?;
        let cursor = asked.cursor.map(|cursor| place(&cursor.history, cursor.after)).transpose()?;
        let subscription = Subscription { messages: true, own: asked.own_messages, receipts: asked.receipts };
        Ok(Response::new(self.0.listen(token, cursor, subscription).await?.map(wire::event)))
    }

    async fn acknowledge_messages(
        &self,
        request: Request<v1::AcknowledgeMessagesRequest>,
    ) -> Answer<v1::AcknowledgeMessagesResponse> {
        let (token, asked) = signed(request)?;
        let up_to = place(&asked.history, asked.up_to)?;
        let up_to = self.0.acknowledge(token, request_id(&asked.request_id)?, up_to).await?;
        Ok(Response::new(v1::AcknowledgeMessagesResponse { up_to: up_to.0 }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Answer<v1::ListMessagesResponse> {
        let (token, asked) = signed(request)?;
        let with = With::of(asked.with_id, &asked.with);
        Ok(Response::new(wire::messages(
            self.0.messages(token, with, before(asked.before), asked.page_size).await?,
        )))
    }

    async fn list_conversations(
        &self,
        request: Request<v1::ListConversationsRequest>,
    ) -> Answer<v1::ListConversationsResponse> {
        let (token, asked) = signed(request)?;
        Ok(Response::new(wire::conversations(
            self.0.conversations(token, before(asked.before), asked.page_size).await?,
        )))
    }

    async fn mark_read(&self, request: Request<v1::MarkReadRequest>) -> Answer<v1::MarkReadResponse> {
        let (token, asked) = signed(request)?;
        let (id, with) = (request_id(&asked.request_id)?, AccountId(asked.with_id));
        let up_to = self.0.mark_seen(token, id, with, MessageId(asked.up_to)).await?;
        Ok(Response::new(v1::MarkReadResponse { up_to: up_to.0 }))
    }

    async fn set_read_marks(
        &self,
        request: Request<v1::SetReadMarksRequest>,
    ) -> Answer<v1::SetReadMarksResponse> {
        let (token, asked) = signed(request)?;
        self.0.show_seen(token, request_id(&asked.request_id)?, asked.shown).await?;
        Ok(Response::new(v1::SetReadMarksResponse {}))
    }

    async fn get_account(&self, request: Request<v1::GetAccountRequest>) -> Answer<v1::GetAccountResponse> {
        let (token, v1::GetAccountRequest {}) = signed(request)?;
        Ok(Response::new(wire::account(self.0.account(token).await?)))
    }
}

/// Where a call comes from.
fn origin_of<T>(request: &Request<T>) -> Origin {
    let caller = request.extensions().get::<Caller>();
    Origin::of(caller.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |caller| caller.0))
}

/// A call and the token of the session that it belongs to.
fn signed<T>(request: Request<T>) -> Result<(TokenHash, T), Failure> {
    let token = token(&request)?;
    Ok((token, request.into_inner()))
}

/// The session token of a call, hashed.
fn token<T>(request: &Request<T>) -> Result<TokenHash, Refusal> {
    let value = request.metadata().get(AUTHORIZATION).ok_or(Refusal::NotSignedIn)?;
    let text = value.to_str().map_err(|_| Refusal::SessionInvalid)?;
    // The scheme's name is compared without regard to case (RFC 9110, section 11.1).
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(Refusal::SessionInvalid)?;
    Ok(TokenHash::of(token.trim_start_matches(' ')))
}

fn request_id(bytes: &[u8]) -> Result<RequestId, Failure> {
    Ok(RequestId::parse(bytes)?)
}

/// A place in a history; no bytes stand for a history that the caller does not know.
fn place(history: &[u8], after: u64) -> Result<Cursor, Failure> {
    Ok(Cursor::parse(history, after)?)
}

/// Pages begin before a message, or, where that is 0, with the newest.
fn before(message: u64) -> Option<MessageId> {
    (message > 0).then_some(MessageId(message))
}
