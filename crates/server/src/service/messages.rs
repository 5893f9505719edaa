//! Messages: sending one, reading those of a conversation, and saying how far they were received.

use super::{Failure, PAGE_BYTES, Service, page_limit, session};
use chat::{
    AccountId, Answer, ConversationId, Cursor, MessageId, MessageText, Millis, Recipient, Refusal, RequestId,
    SignedAction, TokenHash,
};
use store::{Page, Reader, Stop};

/// The other side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With<'a> {
    Named(&'a str),
    Account(AccountId),
}

impl<'a> With<'a> {
    /// As calls name it: by the account's number, or, where that is 0, by its name.
    pub(crate) const fn of(id: u64, name: &'a str) -> Self {
        if id == 0 { Self::Named(name) } else { Self::Account(AccountId(id)) }
    }
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) with: With<'a>,
    pub(crate) text: &'a str,
    /// On how many replicas it must be.
    pub(crate) min_copies: u32,
}

/// A message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) at: Millis,
    /// How many of the replicas hold it.
    pub(crate) copies: usize,
    pub(crate) replicas: usize,
}

impl Service {
    pub(crate) async fn send(
        &self,
        token: TokenHash,
        id: RequestId,
        message: Outgoing<'_>,
    ) -> Result<Sent, Failure> {
        let action = self.send_action(message)?;
        let (answer, copies) = self.write_signed(id, token, action).await?;
        self.sent(&answer, copies)
    }

    /// What a message to be sent asks for.
    pub(super) fn send_action(&self, message: Outgoing<'_>) -> Result<SignedAction, Refusal> {
        Ok(SignedAction::SendMessage {
            to: self.recipient(message.with)?,
            text: MessageText::parse(message.text)?,
            min_copies: usize::try_from(message.min_copies).unwrap_or(usize::MAX),
        })
    }

    pub(super) fn sent(&self, answer: &Answer, copies: usize) -> Result<Sent, Failure> {
        let Answer::MessageSent { id, sent_at } = answer else { return Err(Failure::mismatch()) };
        Ok(Sent { id: *id, at: *sent_at, copies, replicas: self.replicas() })
    }

    fn recipient(&self, with: With<'_>) -> Result<Recipient, Refusal> {
        Ok(match with {
            With::Named(name) => Recipient::Named(self.name(name)?),
            With::Account(id) => Recipient::Account(id),
        })
    }

    /// A page of a conversation, newest first: the messages before one, or the newest.
    pub(crate) async fn messages(
        &self,
        token: TokenHash,
        with: With<'_>,
        before: Option<MessageId>,
        page_size: u32,
    ) -> Result<Page, Failure> {
        let wanted = u32::try_from(page_limit(page_size)?).unwrap_or(u32::MAX);
        let with = self.recipient(with)?;
        let before = before.unwrap_or(MessageId(u64::MAX));
        let page = self.read(move |reader| {
            let session = session(reader, token)?;
            let (other, named) = match &with {
                Recipient::Named(name) => (reader.living_or_last(name)?, name.shown().to_owned()),
                Recipient::Account(id) => (reader.account(*id)?, format!("#{}", id.0)),
            };
            let other = other.ok_or(Refusal::NoSuchAccount { name: named })?;
            let conversation = ConversationId::direct(session.account.id, other.id);
            Ok(reader.conversation(conversation, before, wanted, PAGE_BYTES)?)
        });
        page.await
    }

    /// Everything up to there was received: it is not sent to this account's listeners again. Gives how far that is now.
    pub(crate) async fn acknowledge(
        &self,
        token: TokenHash,
        id: RequestId,
        up_to: Cursor,
    ) -> Result<MessageId, Failure> {
        if up_to.history.is_some() {
            self.read(move |reader| check_cursor(reader, up_to)).await?;
        }
        let action = SignedAction::Acknowledge { up_to: up_to.after };
        let (answer, _) = self.write_signed(id, token, action).await?;
        let Answer::Acknowledged { up_to } = answer else { return Err(Failure::mismatch()) };
        Ok(up_to)
    }
}

/// Where a cursor points in this history; a place in another one, or beyond the end of this one, is refused.
pub(super) fn check_cursor(reader: &Reader<'_>, cursor: Cursor) -> Result<MessageId, Stop> {
    let same = cursor.history.is_none() || cursor.history == reader.history()?;
    let within = cursor.after.0 <= reader.applied()?.op.0;
    if same && within { Ok(cursor.after) } else { Err(Refusal::HistoryReplaced.into()) }
}
