//! Listening: the stream of what arrives for a session.

use crate::chat_service::{Answered, ChatService, message};
use crate::clock;
use crate::delivery::{Delivered, End, NextUp, OUTSTANDING_MAX, Receipt, ReceiptKind, Registered, Wants};
use crate::serve::LISTENER_BEAT;
use crate::unread;
use api::status::{over_a_limit, refused};
use api::v1;
use api::v1::listen_messages_response::Event;
use chat::{Fact, HistoryId, MessageId, Record, Refusal, TokenHash};
use std::time::Duration;
use store::{Page, Session};
use tonic::Status;

/// Events that wait for a client to read them, and their bytes; then its stream waits, and nothing else does.
pub(crate) const UNREAD_MAX: usize = 64;
const UNREAD_BYTES_MAX: usize = 8 * 1024;
/// Messages read from the store at once for a listener that is behind, and where such a page ends in bytes.
const PAGE: u32 = 100;
const PAGE_BYTES: usize = 16 * 1024;

type Events = unread::Sender<v1::ListenMessagesResponse>;
/// What a listener's client reads.
pub(crate) type Unread = unread::Stream<v1::ListenMessagesResponse>;

/// Why a listener's stream is over.
enum Over {
    /// The client has gone away.
    Gone,
    Ended(Status),
}

/// Someone who is about to listen.
pub(crate) struct Listener {
    pub(crate) service: ChatService,
    pub(crate) session: Session,
    pub(crate) token: TokenHash,
    pub(crate) after: MessageId,
    pub(crate) history: Option<HistoryId>,
    pub(crate) wants: Wants,
}

impl Listener {
    pub(crate) fn start(self) -> Answered<Unread> {
        let (events, stream) = unread::channel(UNREAD_MAX, UNREAD_BYTES_MAX);
        let account = self.session.account.id;
        let registered = self.service.delivery.register(account, self.session.id, self.wants);
        let registered = registered.map_err(|why| over_a_limit(&why.to_string()))?;
        // Registered first, then checked: a primacy that ended before the registration is seen here, one that ends
        // after it ends the stream.
        self.service.gateway.term().map_err(|why| self.service.declined(why))?;
        tokio::spawn(async move {
            if let Err(Over::Ended(status)) = self.run(registered, &events).await {
                events.end(status).await;
            }
        });
        Ok(stream)
    }

    async fn run(self, mut registered: Registered, events: &Events) -> Result<(), Over> {
        let mut after = self.after;
        let history = self.history.map(|history| history.0.as_bytes().to_vec()).unwrap_or_default();
        let cursor = v1::Cursor { history, after: after.0 };
        let beat_every = u32::try_from(LISTENER_BEAT.as_millis()).unwrap_or(u32::MAX);
        let (account, token, receipts) = (self.session.account.id, self.token, self.wants.receipts);
        let look = self.service.read(move |reader| {
            // A session that ended before its stream was registered has not ended the stream.
            if let Err(refusal) = reader.session(token, clock::wall())? {
                return Ok(Err(refusal));
            }
            if receipts {
                reader.unacknowledged(account, OUTSTANDING_MAX).map(Ok)
            } else {
                Ok(Ok(Vec::new()))
            }
        });
        registered.expect_receipts(look.await.map_err(Over::Ended)?);
        let listening = Event::Listening(v1::Listening { cursor: Some(cursor), beat_every });
        say(events, &mut registered, listening).await?;
        let mut beats = self.service.beats.clone();
        let expired = tokio::time::sleep(until(&self.session));
        tokio::pin!(expired);
        loop {
            let queue = registered.queue.clone();
            let next = tokio::select! {
                biased;
                end = ended(&mut registered) => return Err(self.over(end)),
                () = &mut expired => return Err(self.over(End::SessionOver)),
                () = events.closed() => return Err(Over::Gone),
                next = queue.next() => Some(next),
                _ = beats.changed() => None,
            };
            match next {
                None => say(events, &mut registered, Event::Beat(v1::Beat {})).await?,
                Some(NextUp::Deliver(Delivered::Message { id, record })) => {
                    if id > after
                        && let Some(event) = live(id, &record)
                    {
                        after = id;
                        say(events, &mut registered, event).await?;
                    }
                }
                Some(NextUp::Deliver(Delivered::Receipt(receipt))) => {
                    say(events, &mut registered, told(receipt)).await?;
                }
                Some(NextUp::SayThatReceiptsWereMissed) => {
                    say(events, &mut registered, Event::ReceiptsMissed(v1::ReceiptsMissed {})).await?;
                }
                Some(NextUp::ReadFromStore) => self.catch_up(&mut registered, events, &mut after).await?,
            }
        }
    }

    /// Sends what the store has after the last message that was sent.
    async fn catch_up(
        &self,
        registered: &mut Registered,
        events: &Events,
        after: &mut MessageId,
    ) -> Result<(), Over> {
        let (account, own) = (self.session.account.id, self.wants.own);
        loop {
            let from = *after;
            let page = self
                .service
                .read(move |reader| reader.messages_after(account, from, own, PAGE, PAGE_BYTES).map(Ok));
            let Page { messages, more } = page.await.map_err(Over::Ended)?;
            for stored in messages {
                *after = stored.id;
                say(events, registered, Event::Message(message(stored))).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn over(&self, end: End) -> Over {
        Over::Ended(status_of(&self.service, end))
    }
}

async fn say(events: &Events, registered: &mut Registered, event: Event) -> Result<(), Over> {
    let event = v1::ListenMessagesResponse { event: Some(event) };
    // A client that does not read keeps its stream waiting, but not past the end of its session.
    tokio::select! {
        sent = events.send(event) => sent.map_err(|_| Over::Gone),
        end = ended(registered) => {
            let status = if end == End::SessionOver { refused(&Refusal::SessionInvalid) } else { api::status::not_primary(None) };
            Err(Over::Ended(status))
        }
    }
}

/// Waits until the stream must end.
pub(crate) async fn ended(registered: &mut Registered) -> End {
    match registered.end.wait_for(Option::is_some).await {
        Ok(end) => (*end).unwrap_or(End::NotPrimary),
        // The books are gone with the process.
        Err(_) => End::NotPrimary,
    }
}

pub(crate) fn status_of(service: &ChatService, end: End) -> Status {
    match end {
        End::SessionOver => refused(&Refusal::SessionInvalid),
        End::NotPrimary => api::status::not_primary(service.gateway.primary_address().as_deref()),
    }
}

pub(crate) fn until(session: &Session) -> Duration {
    Duration::from_millis(session.expires_at.0.saturating_sub(clock::wall().0))
}

fn live(id: MessageId, record: &Record) -> Option<Event> {
    let Fact::MessageSent { from, from_name, to, to_name, text } = record.fact() else {
        return None;
    };
    Some(Event::Message(v1::Message {
        id: id.0,
        from_id: from.0,
        from: from_name.clone(),
        to_id: to.0,
        to: to_name.clone(),
        text: text.clone(),
        sent_at: record.at().0,
        delivered: false,
        undeliverable: false,
    }))
}

fn told(receipt: Receipt) -> Event {
    let up_to = |kind| if receipt.kind == kind { receipt.up_to.0 } else { 0 };
    Event::Receipt(v1::Receipt {
        with_id: receipt.with.0,
        delivered_up_to: up_to(ReceiptKind::Delivered),
        seen_up_to: up_to(ReceiptKind::Seen),
        read_up_to: up_to(ReceiptKind::Read),
    })
}
