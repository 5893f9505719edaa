//! Conversations: which there are, and what of them was seen.

use super::{Failure, PAGE_BYTES, Service, page_limit, session};
use chat::{AccountId, Answer, MessageId, RequestId, SignedAction, TokenHash};
use store::Conversation;

/// A page of conversations, and whether there are more.
pub(crate) type ConversationsPage = (Vec<Conversation>, bool);

impl Service {
    /// The conversations whose newest message came before this one, or all, the conversation with the newest message first.
    pub(crate) async fn conversations(
        &self,
        token: TokenHash,
        before: Option<MessageId>,
        page_size: u32,
    ) -> Result<ConversationsPage, Failure> {
        let limit = page_limit(page_size)?;
        let before = before.unwrap_or(MessageId(u64::MAX));
        let wanted = u32::try_from(limit + 1).unwrap_or(u32::MAX);
        let page = self.read(move |reader| {
            let account = session(reader, token)?.account.id;
            Ok(reader.conversations(account, before, wanted)?)
        });
        let mut conversations = page.await?;
        let size = |conversation: &Conversation| conversation.last.text.len() + size_of::<Conversation>();
        let sizes = conversations.iter().scan(0, |bytes, conversation| {
            *bytes += size(conversation);
            Some(*bytes)
        });
        let fits = sizes.take_while(|bytes| *bytes <= PAGE_BYTES).count().max(1);
        let more = conversations.len() > limit.min(fits);
        conversations.truncate(limit.min(fits));
        Ok((conversations, more))
    }

    /// Everything of a conversation up to there was seen. Gives how far that is now.
    pub(crate) async fn mark_seen(
        &self,
        token: TokenHash,
        id: RequestId,
        with: AccountId,
        up_to: MessageId,
    ) -> Result<MessageId, Failure> {
        let (answer, _) = self.write_signed(id, token, SignedAction::MarkSeen { with, up_to }).await?;
        let Answer::ConversationSeen { up_to } = answer else { return Err(Failure::mismatch()) };
        Ok(up_to)
    }
}
