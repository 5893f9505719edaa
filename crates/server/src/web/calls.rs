//! A page's calls, handed to the public service: every rule stands there, and here is only the translation.

use super::frames::{Account, Answer, Ask, Call, Conversation, Cursor, Message, Receipt, Say};
use crate::caller::Caller;
use crate::chat_service::{Answered, ChatService};
use crate::listen::Unread;
use api::status::{Kept, Meaning, meaning, refused};
use api::v1::chat_server::Chat;
use api::v1::listen_messages_response::Event;
use api::{AUTHORIZATION, v1};
use chat::Refusal;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status};
use uuid::Uuid;

/// The messages and receipts of a page that listens.
pub(super) type Events = Unread;

/// Makes one call, other than `listen`, for the session of that token.
pub(super) async fn make(chat: ChatService, caller: Caller, token: Option<String>, ask: Ask) -> Say {
    let id = ask.id;
    match answer(&chat, caller, token, ask.call).await {
        Ok(answer) => Say::Answer { id, answer },
        Err(status) => failed(id, &status),
    }
}

/// What a page hears of a call that came to nothing here.
pub(super) fn failed(id: u64, status: &Status) -> Say {
    match meaning(status) {
        Meaning::Refused { reason, message, .. } => Say::Refused { id, reason, message },
        Meaning::KeptOnFewer(Kept { copies, replicas, message }) => {
            Say::KeptOnFewer { id, copies, replicas, message }
        }
        Meaning::NotPrimary { primary } => Say::TryAgain { id, primary },
        Meaning::Unknown | Meaning::Busy { .. } => Say::TryAgain { id, primary: None },
    }
}

/// Begins to listen.
pub(super) async fn listen(
    chat: ChatService,
    token: Option<String>,
    cursor: Option<Cursor>,
) -> Answered<Events> {
    let cursor =
        cursor.map(|cursor| v1::Cursor { history: bytes_or_nothing(cursor.history), after: cursor.after });
    let request = v1::ListenMessagesRequest { cursor, own_messages: true, receipts: true };
    Ok(chat.listen_messages(signed(request, token.as_deref())?).await?.into_inner())
}

async fn answer(chat: &ChatService, caller: Caller, token: Option<String>, call: Call) -> Answered<Answer> {
    let token = token.as_deref();
    Ok(match call {
        Call::CreateAccount { request_id, name, password } => {
            let request = v1::CreateAccountRequest {
                request_id: bytes(request_id),
                name,
                password,
                ..v1::CreateAccountRequest::default()
            };
            let v1::CreateAccountResponse { account_id } =
                chat.create_account(from(caller, Request::new(request))).await?.into_inner();
            Answer::AccountCreated { account_id }
        }
        Call::Login { request_id, name, password } => {
            let request = v1::LoginRequest { request_id: bytes(request_id), name, password };
            let v1::LoginResponse { token, expires_at, account_id, name } =
                chat.login(from(caller, Request::new(request))).await?.into_inner();
            Answer::LoggedIn { token, expires_at, account_id, name }
        }
        Call::Identify { .. } => {
            let v1::GetAccountResponse { account_id, name, shows_reads, acknowledged } =
                chat.get_account(signed(v1::GetAccountRequest {}, token)?).await?.into_inner();
            Answer::Account { account_id, name, shows_reads, acknowledged }
        }
        Call::Logout { request_id } => {
            chat.logout(signed(v1::LogoutRequest { request_id: bytes(request_id) }, token)?).await?;
            Answer::Done {}
        }
        Call::DeleteAccount { request_id, password } => {
            let request = v1::DeleteAccountRequest { request_id: bytes(request_id), password };
            chat.delete_account(from(caller, signed(request, token)?)).await?;
            Answer::Done {}
        }
        Call::ChangePassword { request_id, password, new_password } => {
            let request = v1::ChangePasswordRequest { request_id: bytes(request_id), password, new_password };
            chat.change_password(from(caller, signed(request, token)?)).await?;
            Answer::Done {}
        }
        Call::ListAccounts { pattern, page_token } => {
            let request = v1::ListAccountsRequest { pattern, page_size: 0, page_token };
            let v1::ListAccountsResponse { accounts, next_page_token } =
                chat.list_accounts(signed(request, token)?).await?.into_inner();
            let accounts = accounts.into_iter().map(|one| Account { id: one.id, name: one.name }).collect();
            Answer::Accounts { accounts, next_page_token }
        }
        Call::SendMessage { request_id, to_id, text } => {
            if to_id == 0 {
                return Err(refused(&Refusal::AccountGone));
            }
            let to = String::new();
            let request =
                v1::SendMessageRequest { request_id: bytes(request_id), to, to_id, text, min_copies: 0 };
            let v1::SendMessageResponse { id, sent_at, copies, replicas } =
                chat.send_message(signed(request, token)?).await?.into_inner();
            Answer::Sent { message_id: id, sent_at, copies, replicas }
        }
        Call::AcknowledgeMessages { request_id, up_to, history } => {
            let history = bytes_or_nothing(history);
            let request = v1::AcknowledgeMessagesRequest { request_id: bytes(request_id), up_to, history };
            let answer = chat.acknowledge_messages(signed(request, token)?).await?.into_inner();
            Answer::UpTo { up_to: answer.up_to }
        }
        Call::ListMessages { with_id, before, page_size } => {
            let request = v1::ListMessagesRequest { with: String::new(), with_id, before, page_size };
            let v1::ListMessagesResponse { messages, more } =
                chat.list_messages(signed(request, token)?).await?.into_inner();
            Answer::Messages { messages: messages.into_iter().map(Message::from).collect(), more }
        }
        Call::ListConversations { before, page_size } => {
            let request = v1::ListConversationsRequest { page_size, before };
            let v1::ListConversationsResponse { conversations, more } =
                chat.list_conversations(signed(request, token)?).await?.into_inner();
            let conversations = conversations.into_iter().map(Conversation::from).collect();
            Answer::Conversations { conversations, more }
        }
        Call::MarkRead { request_id, with_id, up_to } => {
            let request = v1::MarkReadRequest { request_id: bytes(request_id), with_id, up_to };
            let answer = chat.mark_read(signed(request, token)?).await?.into_inner();
            Answer::UpTo { up_to: answer.up_to }
        }
        Call::SetReadMarks { request_id, shown } => {
            let request = v1::SetReadMarksRequest { request_id: bytes(request_id), shown };
            chat.set_read_marks(signed(request, token)?).await?;
            Answer::Done {}
        }
        Call::Listen { .. } => unreachable!("the socket listens by itself"),
    })
}

/// An event of a listener, as a page hears it.
pub(super) fn told(event: v1::ListenMessagesResponse) -> Option<Say> {
    Some(match event.event? {
        Event::Listening(v1::Listening { cursor, .. }) => {
            let cursor = cursor.unwrap_or_default();
            let history = Uuid::from_slice(&cursor.history).ok();
            Say::Listening { cursor: Cursor { history, after: cursor.after } }
        }
        Event::Message(message) => Say::Message(message.into()),
        Event::Beat(v1::Beat {}) => Say::beat(),
        Event::Receipt(v1::Receipt { with_id, delivered_up_to, seen_up_to, read_up_to }) => {
            Say::Receipt(Receipt { with_id, delivered_up_to, seen_up_to, read_up_to })
        }
        Event::ReceiptsMissed(v1::ReceiptsMissed {}) => Say::ReceiptsMissed {},
    })
}

impl From<v1::Message> for Message {
    fn from(message: v1::Message) -> Self {
        let v1::Message { id, from_id, from, to_id, to, text, sent_at, delivered, undeliverable } = message;
        Self { id, from_id, from, to_id, to, text, sent_at, delivered, undeliverable }
    }
}

impl From<v1::Conversation> for Conversation {
    fn from(conversation: v1::Conversation) -> Self {
        let v1::Conversation {
            with_id,
            with,
            deleted,
            last,
            unread,
            read_up_to,
            delivered_up_to,
            seen_up_to,
        } = conversation;
        let last = last.map(Message::from);
        Self { with_id, with, deleted, last, unread, read_up_to, delivered_up_to, seen_up_to }
    }
}

fn bytes(request_id: Uuid) -> Vec<u8> {
    request_id.as_bytes().to_vec()
}

fn bytes_or_nothing(id: Option<Uuid>) -> Vec<u8> {
    id.map(bytes).unwrap_or_default()
}

/// A call that carries the socket's session, as a gRPC client's would.
/// A call of the page at that address.
fn from<T>(caller: Caller, mut request: Request<T>) -> Request<T> {
    request.extensions_mut().insert(caller);
    request
}

fn signed<T>(message: T, token: Option<&str>) -> Answered<Request<T>> {
    let token = token.ok_or_else(|| refused(&Refusal::NotSignedIn))?;
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| refused(&Refusal::SessionInvalid))?;
    value.set_sensitive(true);
    let mut request = Request::new(message);
    request.metadata_mut().insert(AUTHORIZATION, value);
    Ok(request)
}
