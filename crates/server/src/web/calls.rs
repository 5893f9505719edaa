//! The door of pages: reads what a frame asks for, calls the service, and makes a frame of its answer. No rule is here.

use super::frames::{
    Account, Answer, Call, ClientFrame, Conversation, Cursor, Message, Receipt, ServerFrame,
};
use crate::caller::Origin;
use crate::delivery::{ReceiptKind, Subscription};
use crate::service::{Event, Events, Failure, NewAccount, Outgoing, Proof, Service, With};
use chat::{AccountId, HistoryId, KeptOnFewer, MessageId, Refusal, RequestId, TokenHash};
use uuid::Uuid;

/// What a call leads to.
pub(super) enum Answered {
    /// One frame.
    Frame(Box<ServerFrame>),
    /// Events come from now on, for the call of that id.
    Listens { id: u64, events: Events },
}

/// Makes one call for the session of that token.
pub(super) async fn make(
    service: Service,
    origin: Origin,
    token: Option<TokenHash>,
    frame: ClientFrame,
) -> Answered {
    let id = frame.id;
    let frame = match answer(&service, origin, token, frame.call).await {
        Ok(Outcome::Listens(events)) => return Answered::Listens { id, events },
        Ok(Outcome::Answer(answer)) => ServerFrame::Answer { id, answer },
        Err(failure) => failed(id, failure),
    };
    Answered::Frame(Box::new(frame))
}

enum Outcome {
    Answer(Answer),
    Listens(Events),
}

/// What a page receives of a call that was not done here.
pub(super) fn failed(id: u64, failure: Failure) -> ServerFrame {
    match failure {
        Failure::Refused(refusal) => {
            ServerFrame::Refused { id, reason: refusal.reason().to_string(), message: refusal.to_string() }
        }
        Failure::KeptOnFewer(kept) => {
            let KeptOnFewer { copies, replicas, .. } = kept;
            let message = kept.to_string();
            ServerFrame::KeptOnFewer {
                id,
                copies: api::count(copies),
                replicas: api::count(replicas),
                message,
            }
        }
        Failure::NotPrimary { address } => ServerFrame::TryAgain { id, primary: address },
        Failure::Busy { .. } | Failure::Fault => ServerFrame::TryAgain { id, primary: None },
    }
}

async fn answer(
    service: &Service,
    origin: Origin,
    token: Option<TokenHash>,
    call: Call,
) -> Result<Outcome, Failure> {
    let answer = match call {
        Call::CreateAccount { request_id, name, password } => {
            let new = NewAccount { name: &name, password: &password, proof: Proof::default() };
            let account = service.create_account(origin, id(request_id)?, new).await?;
            Answer::AccountCreated { account_id: account.0 }
        }
        Call::Login { request_id, name, password } => {
            let opened = service.log_in(origin, id(request_id)?, &name, &password).await?;
            Answer::LoggedIn {
                token: opened.token.text(),
                expires_at: opened.expires_at.0,
                account_id: opened.account.0,
                name: opened.name,
            }
        }
        Call::Identify { .. } => {
            let store::Account { id, name, shows_reads, acknowledged, .. } =
                service.account(signed(token)?).await?;
            Answer::Account { account_id: id.0, name, shows_reads, acknowledged: acknowledged.0 }
        }
        Call::Logout { request_id } => {
            service.log_out(signed(token)?, id(request_id)?).await?;
            Answer::Done {}
        }
        Call::DeleteAccount { request_id, password } => {
            service.delete_account(origin, signed(token)?, id(request_id)?, &password).await?;
            Answer::Done {}
        }
        Call::ChangePassword { request_id, password, new_password } => {
            let (token, id) = (signed(token)?, id(request_id)?);
            service.change_password(origin, token, id, (&password, &new_password)).await?;
            Answer::Done {}
        }
        Call::ListAccounts { pattern, page_token } => {
            let (accounts, next) = service.accounts(signed(token)?, pattern, page_token, 0).await?;
            let accounts = accounts.into_iter().map(|(id, name)| Account { id: id.0, name }).collect();
            Answer::Accounts { accounts, next_page_token: next.unwrap_or_default() }
        }
        Call::SendMessage { request_id, to_id, text } => {
            let (token, id) = (signed(token)?, id(request_id)?);
            let message = Outgoing { with: with(to_id), text: &text, min_copies: 0 };
            let sent = service.send(token, id, message).await?;
            Answer::Sent {
                message_id: sent.id.0,
                sent_at: sent.at.0,
                copies: api::count(sent.copies),
                replicas: api::count(sent.replicas),
            }
        }
        Call::AcknowledgeMessages { request_id, up_to, history } => {
            let up_to = place(history, up_to);
            let up_to = service.acknowledge(signed(token)?, id(request_id)?, up_to).await?;
            Answer::UpTo { up_to: up_to.0 }
        }
        Call::ListMessages { with_id, before, page_size } => {
            let page = service.messages(signed(token)?, with(with_id), message(before), page_size).await?;
            let messages = page.messages.into_iter().map(Message::from).collect();
            Answer::Messages { messages, more: page.more }
        }
        Call::ListConversations { before, page_size } => {
            let (conversations, more) =
                service.conversations(signed(token)?, message(before), page_size).await?;
            let conversations = conversations.into_iter().map(Conversation::from).collect();
            Answer::Conversations { conversations, more }
        }
        Call::MarkRead { request_id, with_id, up_to } => {
            let (token, id) = (signed(token)?, id(request_id)?);
            let up_to = service.mark_seen(token, id, AccountId(with_id), MessageId(up_to)).await?;
            Answer::UpTo { up_to: up_to.0 }
        }
        Call::SetReadMarks { request_id, shown } => {
            service.show_seen(signed(token)?, id(request_id)?, shown).await?;
            Answer::Done {}
        }
        Call::Listen { cursor } => {
            let cursor = cursor.map(|Cursor { history, after }| place(history, after));
            let subscription = Subscription { messages: true, own: true, receipts: true };
            return Ok(Outcome::Listens(service.listen(signed(token)?, cursor, subscription).await?));
        }
    };
    Ok(Outcome::Answer(answer))
}

/// An event of a listener, as a page receives it.
pub(super) fn frame_of(event: Event) -> ServerFrame {
    match event {
        Event::Listening { cursor } => ServerFrame::Listening {
            cursor: Cursor { history: cursor.history.map(|history| history.0), after: cursor.after.0 },
        },
        Event::Message(message) => ServerFrame::Message(message.into()),
        Event::Beat => ServerFrame::beat(),
        Event::Receipt(receipt) => ServerFrame::Receipt(Receipt {
            with_id: receipt.with.0,
            delivered_up_to: receipt.up_to_as(ReceiptKind::Delivered),
            seen_up_to: receipt.up_to_as(ReceiptKind::Seen),
            read_up_to: receipt.up_to_as(ReceiptKind::Read),
        }),
        Event::ReceiptsMissed => ServerFrame::ReceiptsMissed {},
    }
}

impl From<store::Message> for Message {
    fn from(message: store::Message) -> Self {
        Self {
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
}

impl From<store::Conversation> for Conversation {
    fn from(conversation: store::Conversation) -> Self {
        Self {
            with_id: conversation.with.0,
            with: conversation.with_name,
            deleted: conversation.with_deleted,
            last: Some(conversation.last.into()),
            unread: conversation.unread,
            read_up_to: conversation.read_up_to.0,
            delivered_up_to: conversation.delivered_up_to.0,
            seen_up_to: conversation.seen_up_to.0,
        }
    }
}

/// The session of a call; pages say with `identify` which.
fn signed(token: Option<TokenHash>) -> Result<TokenHash, Refusal> {
    token.ok_or(Refusal::NotSignedIn)
}

fn id(request_id: Uuid) -> Result<RequestId, Refusal> {
    RequestId::parse(request_id.as_bytes())
}

/// Pages name accounts by their numbers.
const fn with(id: u64) -> With<'static> {
    With::Account(AccountId(id))
}

fn place(history: Option<Uuid>, after: u64) -> chat::Cursor {
    chat::Cursor { history: history.map(HistoryId), after: MessageId(after) }
}

/// Pages begin before a message, or, where that is 0, with the newest.
fn message(before: u64) -> Option<MessageId> {
    (before > 0).then_some(MessageId(before))
}
