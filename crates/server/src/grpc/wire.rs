//! What the service answers, as messages of `chat.proto`.

use crate::delivery::{Receipt, ReceiptKind};
use crate::service::{ConversationsPage, Event, Failure, LISTENER_BEAT, Opened, Sent, State};
use api::v1;
use api::v1::listen_messages_response::Event as Wire;
use store::{Account, AccountsPage, Conversation, Message, Page};
use tonic::Status;

pub(super) fn heartbeat(state: State) -> v1::HeartbeatResponse {
    v1::HeartbeatResponse {
        replica: u32::from(state.replica),
        view: state.view_number(),
        primary: state.primary().map(|primary| u32::from(primary.0)),
        in_sync: state.in_sync().iter().map(|index| u32::from(index.0)).collect(),
        serving: state.serving,
        role: state.role.as_str().to_owned(),
        op: state.position.op.0,
        chain: state.position.chain.0.to_vec(),
        pid: std::process::id(),
        min_in_sync: api::count(state.min_in_sync),
        messages: state.messages,
        cluster_id: state.cluster_id.0.to_vec(),
        unserved_ms: state.unserved_ms,
        wall_clock: state.wall_clock.0,
        unreachable: state.unreachable.iter().map(|index| u32::from(index.0)).collect(),
        disk_full: state.disk_full,
        fault: state.trouble.unwrap_or_default(),
        addresses: state.addresses,
    }
}

pub(super) fn login(opened: Opened) -> v1::LoginResponse {
    let Opened { token, expires_at, account, name } = opened;
    v1::LoginResponse { token: token.text(), expires_at: expires_at.0, account_id: account.0, name }
}

pub(super) fn account(account: Account) -> v1::GetAccountResponse {
    v1::GetAccountResponse {
        account_id: account.id.0,
        name: account.name,
        shows_reads: account.shows_reads,
        acknowledged: account.acknowledged.0,
    }
}

pub(super) fn accounts((accounts, next): AccountsPage) -> v1::ListAccountsResponse {
    v1::ListAccountsResponse {
        accounts: accounts.into_iter().map(|(id, name)| v1::Account { id: id.0, name }).collect(),
        next_page_token: next.unwrap_or_default(),
    }
}

pub(super) fn sent(sent: Sent) -> v1::SendMessageResponse {
    v1::SendMessageResponse {
        id: sent.id.0,
        sent_at: sent.at.0,
        copies: api::count(sent.copies),
        replicas: api::count(sent.replicas),
    }
}

pub(super) fn messages(Page { messages, more }: Page) -> v1::ListMessagesResponse {
    v1::ListMessagesResponse { messages: messages.into_iter().map(message).collect(), more }
}

pub(super) fn conversations((conversations, more): ConversationsPage) -> v1::ListConversationsResponse {
    let conversations = conversations.into_iter().map(conversation).collect();
    v1::ListConversationsResponse { conversations, more }
}

pub(super) fn event(event: Result<Event, Failure>) -> Result<v1::ListenMessagesResponse, Status> {
    let event = match event? {
        Event::Listening { cursor } => Wire::Listening(v1::Listening {
            cursor: Some(v1::Cursor {
                history: cursor.history.map(|history| history.0.as_bytes().to_vec()).unwrap_or_default(),
                after: cursor.after.0,
            }),
            beat_every: u32::try_from(LISTENER_BEAT.as_millis()).unwrap_or(u32::MAX),
        }),
        Event::Message(sent) => Wire::Message(message(sent)),
        Event::Receipt(receipt) => Wire::Receipt(self::receipt(receipt)),
        Event::ReceiptsMissed => Wire::ReceiptsMissed(v1::ReceiptsMissed {}),
        Event::Beat => Wire::Beat(v1::Beat {}),
    };
    Ok(v1::ListenMessagesResponse { event: Some(event) })
}

fn message(message: Message) -> v1::Message {
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
        conversation_id: message.conversation.as_bytes().to_vec(),
    }
}

fn conversation(listed: Conversation) -> v1::Conversation {
    v1::Conversation {
        with_id: listed.with.0,
        with: listed.with_name,
        deleted: listed.with_deleted,
        last: Some(message(listed.last)),
        unread: listed.unread,
        read_up_to: listed.read_up_to.0,
        delivered_up_to: listed.delivered_up_to.0,
        seen_up_to: listed.seen_up_to.0,
        conversation_id: listed.id.as_bytes().to_vec(),
    }
}

fn receipt(receipt: Receipt) -> v1::Receipt {
    v1::Receipt {
        with_id: receipt.with.0,
        delivered_up_to: receipt.up_to_as(ReceiptKind::Delivered),
        seen_up_to: receipt.up_to_as(ReceiptKind::Seen),
        read_up_to: receipt.up_to_as(ReceiptKind::Read),
        conversation_id: receipt.conversation.as_bytes().to_vec(),
    }
}
