//! Conversations: which there are, what each side has and has seen, and who lets others know.

use crate::chat_service::{Answered, ChatService, PAGE_BYTES, message, mismatch, page};
use crate::clock;
use api::v1;
use chat::{AccountId, Action, Answer, MessageId, TokenHash};
use store::Conversation;

impl ChatService {
    pub(crate) async fn conversations(
        &self,
        token: TokenHash,
        request: v1::ListConversationsRequest,
    ) -> Answered<v1::ListConversationsResponse> {
        let limit = page(request.page_size)?;
        let before = MessageId(if request.before == 0 { u64::MAX } else { request.before });
        let wanted = u32::try_from(limit + 1).unwrap_or(u32::MAX);
        let page = self.read(move |reader| match reader.session(token, clock::wall())? {
            Ok(session) => reader.conversations(session.account.id, before, wanted).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        });
        let mut conversations = page.await?;
        let size = |one: &Conversation| one.last.text.len() + size_of::<Conversation>();
        let sizes = conversations.iter().scan(0, |bytes, one| {
            *bytes += size(one);
            Some(*bytes)
        });
        let fits = sizes.take_while(|bytes| *bytes <= PAGE_BYTES).count().max(1);
        let more = conversations.len() > limit.min(fits);
        conversations.truncate(limit.min(fits));
        Ok(v1::ListConversationsResponse {
            conversations: conversations.into_iter().map(conversation).collect(),
            more,
        })
    }

    pub(crate) async fn read_up_to(
        &self,
        token: TokenHash,
        request: v1::MarkReadRequest,
    ) -> Answered<v1::MarkReadResponse> {
        let action = Action::MarkRead { with: AccountId(request.with_id), up_to: MessageId(request.up_to) };
        let (answer, _) = self.write(&request.request_id, Some(token), action).await?;
        let Answer::ConversationRead { up_to } = answer else { return Err(mismatch()) };
        Ok(v1::MarkReadResponse { up_to: up_to.0 })
    }

    pub(crate) async fn show_reads(
        &self,
        token: TokenHash,
        request: v1::SetReadMarksRequest,
    ) -> Answered<v1::SetReadMarksResponse> {
        let action = Action::SetReadMarks { shown: request.shown };
        self.write(&request.request_id, Some(token), action).await?;
        Ok(v1::SetReadMarksResponse {})
    }

    pub(crate) async fn account_of(&self, token: TokenHash) -> Answered<v1::GetAccountResponse> {
        let account = self.session(token).await?.account;
        Ok(v1::GetAccountResponse {
            account_id: account.id.0,
            name: account.name,
            shows_reads: account.shows_reads,
            acknowledged: account.acknowledged.0,
        })
    }
}

fn conversation(one: Conversation) -> v1::Conversation {
    v1::Conversation {
        with_id: one.peer.0,
        with: one.peer_name,
        deleted: one.peer_deleted,
        last: Some(message(one.last)),
        unread: one.unread,
        read_up_to: one.read_up_to.0,
        delivered_up_to: one.delivered_up_to.0,
        seen_up_to: one.seen_up_to.0,
    }
}
