//! The public service: checks what clients send, asks the gateway, and turns what comes back into answers.

use crate::attempts::Attempts;
use crate::blocking::{Full, Places};
use crate::caller::origin_of;
use crate::delivery::{Delivery, Wants};
use crate::digest::Digests;
use crate::gateway::{Declined, Gateway, NotDone};
use crate::key::ClusterKey;
use crate::listen::{Listener, Unread};
use crate::passwords::Passwords;
use crate::timeline::ViewChange;
use crate::{Settings, clock, tokens};
use api::status::{kept_on_fewer, not_primary, refused};
use api::v1::chat_server::Chat;
use api::{AUTHORIZATION, v1};
use chat::{
    AccountId, Action, Answer, Cursor, HistoryId, MessageId, MessageText, NamePattern, PAGE_MAX, Recipient,
    Refusal, Request as ChatRequest, RequestId, TokenHash, UserName,
};
use protocol::RoleName;
use std::sync::Arc;
use store::{Message, Page, Reader, Readers, Session, StoreError};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;
use uuid::Uuid;

const PAGE_DEFAULT: usize = 100;
/// Where a page of messages ends in bytes: clients of gRPC take 4 MiB where they are not told otherwise.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// Looks at the database, each on a thread for that: a few at a time, so that neither threads nor connections to the
/// database grow with the callers.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    /// Those that an index answers.
    short: Places,
    /// Those that go through all names.
    scans: Places,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self { short: Places::new(16, 16_384), scans: Places::new(2, 64) }
    }
}

/// The public service of one replica.
#[derive(Clone, Debug)]
pub(crate) struct ChatService {
    pub(crate) index: u8,
    pub(crate) settings: Arc<Settings>,
    pub(crate) key: ClusterKey,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
    pub(crate) looks: Looks,
    pub(crate) digests: Digests,
    /// The views that this replica has seen come.
    pub(crate) views: tokio::sync::watch::Receiver<Vec<ViewChange>>,
    /// Grows with each beat that listeners are due.
    pub(crate) beats: tokio::sync::watch::Receiver<u64>,
}

/// What a handler works with: a refusal and a fault become statuses in one place each.
pub(crate) type Answered<T> = Result<T, Status>;

impl ChatService {
    pub(crate) fn declined(&self, why: Declined) -> Status {
        match why {
            Declined::NotServing => not_primary(self.gateway.primary_address().as_deref()),
            Declined::Busy => refused(&Refusal::Busy),
        }
    }

    /// Reads from the committed state, once no acknowledged write can be missing from it.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader<'_>) -> Result<Result<T, Refusal>, StoreError> + Send + 'static,
    ) -> Answered<T> {
        self.gateway.read(self.read_now(ask)).await.map_err(|why| self.declined(why))?
    }

    pub(crate) async fn read_now<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader<'_>) -> Result<Result<T, Refusal>, StoreError> + Send + 'static,
    ) -> Answered<T> {
        self.look_among(&self.looks.short, ask).await
    }

    async fn look_among<T: Send + 'static>(
        &self,
        places: &Places,
        ask: impl FnOnce(&Reader<'_>) -> Result<Result<T, Refusal>, StoreError> + Send + 'static,
    ) -> Answered<T> {
        let readers = self.readers.clone();
        match places.run(move || readers.read(ask)).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => Err(refused(&refusal)),
            Ok(Err(error)) => {
                warn!(%error, "a read failed");
                Err(api::status::fault())
            }
            Err(Full) => Err(refused(&Refusal::Busy)),
        }
    }

    /// Has a request executed and says what came of it.
    pub(crate) async fn write(
        &self,
        id: &[u8],
        session: Option<TokenHash>,
        action: Action,
    ) -> Answered<(Answer, usize)> {
        let id = request_id(id).map_err(|refusal| refused(&refusal))?;
        let request = ChatRequest { id, session, sequence: None, action };
        let settled = self.gateway.settle(request).await.map_err(|why| self.declined(why))?;
        settled.done(self.settings.addresses.len()).map_err(|not_done| match not_done {
            NotDone::Refused(refusal) => refused(&refusal),
            NotDone::KeptOnFewer(kept) => kept_on_fewer(&kept),
        })
    }

    /// How this replica stands, as it says to whoever asks.
    pub(crate) fn stands(&self) -> v1::HeartbeatResponse {
        let published = self.gateway.published().borrow().clone();
        let status = &published.status;
        let role = match status.role {
            RoleName::Starting => "starting",
            RoleName::Secondary => "secondary",
            RoleName::Candidate => "candidate",
            RoleName::Primary => "primary",
            RoleName::Halted(_) => "halted",
        };
        let view = status.view.as_ref();
        v1::HeartbeatResponse {
            replica: u32::from(self.index),
            view: view.map_or(0, |view| view.number.0),
            primary: view.map(|view| u32::from(view.primary().0)),
            in_sync: view
                .map(|view| view.in_sync.iter().map(|index| u32::from(index.0)).collect())
                .unwrap_or_default(),
            addresses: self.gateway.addresses().iter().map(ToString::to_string).collect(),
            serving: status.serving,
            role: role.to_owned(),
            op: status.position.op.0,
            chain: status.position.chain.0.to_vec(),
            pid: std::process::id(),
            fault: published.trouble().unwrap_or_default(),
            min_in_sync: small(self.settings.limits.min_in_sync),
            messages: self.delivery.messages(),
            cluster_id: self.key.cluster_id().0.to_vec(),
            unserved_ms: view.and_then(|view| self.unserved_before(view.number.0)),
            wall_clock: clock::wall().0,
            unreachable: status.unreachable.iter().map(|index| u32::from(index.0)).collect(),
            disk_full: published.disk_full,
        }
    }

    /// How long nobody served before a view, if this replica can tell, in milliseconds.
    fn unserved_before(&self, view: u64) -> Option<u64> {
        self.views.borrow().iter().rfind(|known| known.view == view)?.unserved_ms
    }

    pub(crate) fn name(&self, name: &str) -> Result<UserName, Refusal> {
        UserName::parse(name, &self.settings.names)
    }

    /// The valid session that a token belongs to.
    pub(crate) async fn session(&self, token: TokenHash) -> Answered<Session> {
        self.read(move |reader| reader.session(token, clock::wall())).await
    }

    /// The session that a call comes with, and its token.
    pub(crate) async fn session_of<T>(&self, request: &Request<T>) -> Answered<(Session, TokenHash)> {
        let token = token(request)?;
        Ok((self.session(token).await?, token))
    }

    /// What a message to be sent asks for.
    pub(crate) fn send_action(&self, message: &v1::SendMessageRequest) -> Result<Action, Refusal> {
        Ok(Action::SendMessage {
            to: match message.to_id {
                0 => Recipient::Named(self.name(&message.to)?),
                id => Recipient::Account(AccountId(id)),
            },
            text: MessageText::parse(&message.text)?,
            min_copies: usize::try_from(message.min_copies).unwrap_or(usize::MAX),
        })
    }

    pub(crate) fn sent(&self, answer: &Answer, copies: usize) -> Answered<v1::SendMessageResponse> {
        let Answer::MessageSent { id, sent_at } = answer else { return Err(mismatch()) };
        Ok(v1::SendMessageResponse {
            id: id.0,
            sent_at: sent_at.0,
            copies: small(copies),
            replicas: small(self.settings.addresses.len()),
        })
    }
}

#[tonic::async_trait]
impl Chat for ChatService {
    async fn heartbeat(&self, _: Request<v1::HeartbeatRequest>) -> Answered<Response<v1::HeartbeatResponse>> {
        Ok(Response::new(self.stands()))
    }

    async fn digest(&self, request: Request<v1::DigestRequest>) -> Answered<Response<v1::DigestResponse>> {
        self.digest_of(request.into_inner()).await.map(Response::new)
    }

    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Answered<Response<v1::CreateAccountResponse>> {
        self.account_created(origin_of(&request), request.into_inner()).await.map(Response::new)
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Answered<Response<v1::LoginResponse>> {
        self.session_opened(origin_of(&request), request.into_inner()).await.map(Response::new)
    }

    async fn logout(&self, request: Request<v1::LogoutRequest>) -> Answered<Response<v1::LogoutResponse>> {
        let token = token(&request)?;
        let request = request.into_inner();
        self.write(&request.request_id, Some(token), Action::CloseSession).await?;
        Ok(Response::new(v1::LogoutResponse {}))
    }

    async fn delete_account(
        &self,
        request: Request<v1::DeleteAccountRequest>,
    ) -> Answered<Response<v1::DeleteAccountResponse>> {
        let token = token(&request)?;
        self.account_deleted(origin_of(&request), token, request.into_inner()).await.map(Response::new)
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Answered<Response<v1::ChangePasswordResponse>> {
        let token = token(&request)?;
        self.password_changed(origin_of(&request), token, request.into_inner()).await.map(Response::new)
    }

    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Answered<Response<v1::ListAccountsResponse>> {
        let token = token(&request)?;
        let request = request.into_inner();
        let limit = page(request.page_size)?;
        self.session(token).await?;
        // A pattern may be dear to compile, and all names are compared with it.
        let page = self.gateway.read(self.look_among(&self.looks.scans, move |reader| {
            if let Err(refusal) = reader.session(token, clock::wall())? {
                return Ok(Err(refusal));
            }
            match NamePattern::parse(&request.pattern) {
                Ok(pattern) => reader.accounts(&pattern, &request.page_token, limit).map(Ok),
                Err(refusal) => Ok(Err(refusal)),
            }
        }));
        let page = async { page.await.map_err(|why| self.declined(why))? };
        let (accounts, next) = page.await?;
        Ok(Response::new(v1::ListAccountsResponse {
            accounts: accounts.into_iter().map(|(id, name)| v1::Account { id: id.0, name }).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Answered<Response<v1::SendMessageResponse>> {
        let token = token(&request)?;
        let request = request.into_inner();
        let action = self.send_action(&request).map_err(|refusal| refused(&refusal))?;
        let (answer, copies) = self.write(&request.request_id, Some(token), action).await?;
        Ok(Response::new(self.sent(&answer, copies)?))
    }

    type SendMessagesStream = ReceiverStream<Answered<v1::SendMessagesResponse>>;

    async fn send_messages(
        &self,
        _: Request<Streaming<v1::SendMessageRequest>>,
    ) -> Answered<Response<Self::SendMessagesStream>> {
        // `sending::serve` has the path of this call.
        Err(Status::unimplemented("it is answered elsewhere"))
    }

    type ListenMessagesStream = Unread;

    async fn listen_messages(
        &self,
        request: Request<v1::ListenMessagesRequest>,
    ) -> Answered<Response<Self::ListenMessagesStream>> {
        let token = token(&request)?;
        let request = request.into_inner();
        let cursor = request.cursor.map(cursor).transpose().map_err(|refusal| refused(&refusal))?;
        let start = self.read(move |reader| {
            let session = match reader.session(token, clock::wall())? {
                Ok(session) => session,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let after = match cursor {
                None => session.account.acknowledged,
                Some(cursor) => match check_cursor(reader, cursor)? {
                    Ok(after) => after,
                    Err(refusal) => return Ok(Err(refusal)),
                },
            };
            Ok(Ok((session, after, reader.history()?)))
        });
        let (session, after, history) = start.await?;
        let wants = Wants { messages: true, own: request.own_messages, receipts: request.receipts };
        let listener = Listener { service: self.clone(), session, token, after, history, wants };
        Ok(Response::new(listener.start()?))
    }

    async fn acknowledge_messages(
        &self,
        request: Request<v1::AcknowledgeMessagesRequest>,
    ) -> Answered<Response<v1::AcknowledgeMessagesResponse>> {
        let token = token(&request)?;
        let request = request.into_inner();
        let cursor = cursor(v1::Cursor { history: request.history, after: request.up_to });
        let cursor = cursor.map_err(|refusal| refused(&refusal))?;
        if cursor.history.is_some() {
            self.read(move |reader| check_cursor(reader, cursor)).await?;
        }
        let action = Action::Acknowledge { up_to: MessageId(request.up_to) };
        let (answer, _) = self.write(&request.request_id, Some(token), action).await?;
        let Answer::Acknowledged { up_to } = answer else { return Err(mismatch()) };
        Ok(Response::new(v1::AcknowledgeMessagesResponse { up_to: up_to.0 }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Answered<Response<v1::ListMessagesResponse>> {
        let token = token(&request)?;
        let request = request.into_inner();
        let limit = page(request.page_size)?;
        let with = match request.with_id {
            0 => Ok(self.name(&request.with).map_err(|refusal| refused(&refusal))?),
            id => Err(AccountId(id)),
        };
        let before = MessageId(if request.before == 0 { u64::MAX } else { request.before });
        let page = self.read(move |reader| {
            let session = match reader.session(token, clock::wall())? {
                Ok(session) => session,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let (other, named) = match &with {
                Ok(name) => (reader.living_or_last(name)?, name.shown().to_owned()),
                Err(id) => (reader.account(*id)?, format!("#{id}")),
            };
            let Some(other) = other else { return Ok(Err(Refusal::NoSuchAccount { name: named })) };
            let wanted = u32::try_from(limit).unwrap_or(u32::MAX);
            reader.conversation(session.account.id, other.id, before, wanted, PAGE_BYTES).map(Ok)
        });
        let Page { messages, more } = page.await?;
        Ok(Response::new(v1::ListMessagesResponse {
            messages: messages.into_iter().map(message).collect(),
            more,
        }))
    }

    async fn list_conversations(
        &self,
        request: Request<v1::ListConversationsRequest>,
    ) -> Answered<Response<v1::ListConversationsResponse>> {
        let token = token(&request)?;
        self.conversations(token, request.into_inner()).await.map(Response::new)
    }

    async fn mark_read(
        &self,
        request: Request<v1::MarkReadRequest>,
    ) -> Answered<Response<v1::MarkReadResponse>> {
        let token = token(&request)?;
        self.read_up_to(token, request.into_inner()).await.map(Response::new)
    }

    async fn set_read_marks(
        &self,
        request: Request<v1::SetReadMarksRequest>,
    ) -> Answered<Response<v1::SetReadMarksResponse>> {
        let token = token(&request)?;
        self.show_reads(token, request.into_inner()).await.map(Response::new)
    }

    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Answered<Response<v1::GetAccountResponse>> {
        self.account_of(token(&request)?).await.map(Response::new)
    }
}

/// A message as clients see it.
pub(crate) fn message(message: Message) -> v1::Message {
    v1::Message {
        id: message.id.0,
        from_id: message.sender.0,
        from: message.sender_name,
        to_id: message.recipient.0,
        to: message.recipient_name,
        text: message.text,
        sent_at: message.sent_at.0,
        delivered: message.delivered,
        undeliverable: message.undeliverable,
    }
}

/// The session token of a call, hashed.
fn token<T>(request: &Request<T>) -> Answered<TokenHash> {
    let refuse = |refusal| refused(&refusal);
    let value = request.metadata().get(AUTHORIZATION).ok_or_else(|| refuse(Refusal::NotSignedIn))?;
    let text = value.to_str().map_err(|_| refuse(Refusal::SessionInvalid))?;
    // The scheme's name is compared without regard to case (RFC 9110, section 11.1).
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(|| refuse(Refusal::SessionInvalid))?;
    Ok(tokens::hash_of(token.trim_start_matches(' ')))
}

pub(crate) fn request_id(bytes: &[u8]) -> Result<RequestId, Refusal> {
    let id = Uuid::from_slice(bytes).map(RequestId).map_err(|_| Refusal::RequestIdInvalid)?;
    id.dated().map(|_| id).ok_or(Refusal::RequestIdInvalid)
}

fn cursor(cursor: v1::Cursor) -> Result<Cursor, Refusal> {
    let history = match &*cursor.history {
        [] => None,
        bytes => Some(HistoryId(
            Uuid::from_slice(bytes)
                .map_err(|_| Refusal::Malformed("a cursor's history has 16 bytes".into()))?,
        )),
    };
    Ok(Cursor { history, after: MessageId(cursor.after) })
}

/// Where a cursor points in this history; a place in another one, or beyond the end of this one, is refused.
fn check_cursor(reader: &Reader<'_>, cursor: Cursor) -> Result<Result<MessageId, Refusal>, StoreError> {
    let same = cursor.history.is_none() || cursor.history == reader.history()?;
    let within = cursor.after.0 <= reader.head()?.0;
    Ok(if same && within { Ok(cursor.after) } else { Err(Refusal::HistoryReplaced) })
}

pub(crate) fn page(size: u32) -> Answered<usize> {
    match usize::try_from(size).unwrap_or(usize::MAX) {
        0 => Ok(PAGE_DEFAULT),
        size if size <= PAGE_MAX => Ok(size),
        _ => Err(refused(&Refusal::PageTooLarge { size: u64::from(size) })),
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The digest of a request covers its kind, so its answer has that kind too.
pub(crate) fn mismatch() -> Status {
    warn!("a request was answered with another kind of answer");
    api::status::fault()
}
