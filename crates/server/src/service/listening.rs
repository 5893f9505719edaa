//! Listening: the stream of what arrives for a session.

use super::messages::check_cursor;
use super::{Failure, Service, session, unread};
use crate::clock;
use crate::delivery::{Delivered, End, Next, OUTSTANDING_MAX, Receipt, Registered, Subscription};
use crate::gateway::Gateway;
use chat::{Cursor, Fact, HistoryId, MessageId, Record, Refusal, TokenHash};
use std::sync::Arc;
use std::time::Duration;
use store::{Message, Page, Session};
use tokio::sync::watch;

/// How often a listener receives something at least.
pub(crate) const LISTENER_BEAT: Duration = Duration::from_secs(1);
/// Events that wait for a client to read them, and their bytes; then its stream waits, and nothing else does.
pub(super) const UNREAD_MAX: usize = 64;
const UNREAD_BYTES_MAX: usize = 8 * 1024;
/// Messages read from the store at once for a listener that is behind, and where such a page ends in bytes.
const PAGE: u32 = 100;
const PAGE_BYTES: usize = 16 * 1024;

/// What a listener receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first event: from where on.
    Listening {
        cursor: Cursor,
    },
    Message(Message),
    Receipt(Receipt),
    /// The client read too slowly, and receipts were passed over.
    ReceiptsMissed,
    /// Nothing else has happened for [`LISTENER_BEAT`].
    Beat,
}

impl Event {
    /// About how many bytes it holds.
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Message(message) => {
                    message.text.len() + message.sender_name.len() + message.recipient_name.len()
                }
                Self::Listening { .. } | Self::Receipt(_) | Self::ReceiptsMissed | Self::Beat => 0,
            }
    }
}

/// The events of one listener; the stream ends with a failure.
pub(crate) type Events = unread::Stream<Event>;

/// Why a listener's stream is over.
enum Ended {
    /// The client has closed it.
    Disconnected,
    Failed(Failure),
}

impl From<unread::Disconnected> for Ended {
    fn from(_: unread::Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Service {
    /// Begins to listen after the cursor, or else after what the account has acknowledged.
    pub(crate) async fn listen(
        &self,
        token: TokenHash,
        cursor: Option<Cursor>,
        subscription: Subscription,
    ) -> Result<Events, Failure> {
        let start = self.read(move |reader| {
            let session = session(reader, token)?;
            let after = match cursor {
                None => session.account.acknowledged,
                Some(cursor) => check_cursor(reader, cursor)?,
            };
            Ok((session, after, reader.history()?))
        });
        let (session, after, history) = start.await?;
        let listener = Listener { service: self.clone(), session, token, after, history, subscription };
        listener.start()
    }

    pub(super) fn failure_of(&self, end: End) -> Failure {
        match end {
            End::SessionOver => Refusal::SessionInvalid.into(),
            End::NotPrimary => Failure::NotPrimary { address: self.gateway.primary_address() },
        }
    }
}

/// A client that is about to listen.
struct Listener {
    service: Service,
    session: Session,
    token: TokenHash,
    after: MessageId,
    history: Option<HistoryId>,
    subscription: Subscription,
}

impl Listener {
    fn start(self) -> Result<Events, Failure> {
        let (events, stream) = unread::channel(UNREAD_MAX, UNREAD_BYTES_MAX);
        let account = self.session.account.id;
        let registered = self.service.delivery.register(account, self.session.id, self.subscription)?;
        // Registered first, then checked: a primacy that ended before the registration is seen here, one that ends
        // after it ends the stream.
        self.service.gateway.primacy().map_err(|why| self.service.declined(why))?;
        tokio::spawn(async move {
            if let Err(Ended::Failed(failure)) = self.run(registered, &events).await {
                events.end(failure).await;
            }
        });
        Ok(stream)
    }

    async fn run(self, mut registered: Registered, events: &unread::Sender<Event>) -> Result<(), Ended> {
        let mut after = self.after;
        let (account, token, receipts) = (self.session.account.id, self.token, self.subscription.receipts);
        let look = self.service.read(move |reader| {
            // A session that ended before its stream was registered has not ended the stream.
            session(reader, token)?;
            if receipts { Ok(reader.unacknowledged(account, OUTSTANDING_MAX)?) } else { Ok(Vec::new()) }
        });
        registered.expect_receipts(look.await?);
        let cursor = Cursor { history: self.history, after };
        self.send(events, &mut registered, Event::Listening { cursor }).await?;
        let mut beats = self.service.beats.clone();
        let expired = tokio::time::sleep(until(&self.session));
        tokio::pin!(expired);
        loop {
            let queue = registered.queue.clone();
            let next = tokio::select! {
                biased;
                end = ended(&mut registered) => return Err(self.service.failure_of(end).into()),
                () = &mut expired => return Err(self.service.failure_of(End::SessionOver).into()),
                () = events.closed() => return Err(Ended::Disconnected),
                next = queue.next() => Some(next),
                _ = beats.changed() => None,
            };
            let event = match next {
                None => Event::Beat,
                Some(Next::Deliver(Delivered::Message { id, record })) => match live(id, &record) {
                    Some(message) if id > after => {
                        after = id;
                        Event::Message(message)
                    }
                    _ => continue,
                },
                Some(Next::Deliver(Delivered::Receipt(receipt))) => Event::Receipt(receipt),
                Some(Next::ReceiptsMissed) => Event::ReceiptsMissed,
                Some(Next::ReadFromStore) => {
                    self.catch_up(&mut registered, events, &mut after).await?;
                    continue;
                }
            };
            self.send(events, &mut registered, event).await?;
        }
    }

    /// Sends what the store has after the last message that was sent.
    async fn catch_up(
        &self,
        registered: &mut Registered,
        events: &unread::Sender<Event>,
        after: &mut MessageId,
    ) -> Result<(), Ended> {
        let (account, own) = (self.session.account.id, self.subscription.own);
        loop {
            let from = *after;
            let page = self
                .service
                .read(move |reader| Ok(reader.messages_after(account, from, own, PAGE, PAGE_BYTES)?));
            let Page { messages, more } = page.await?;
            for stored in messages {
                *after = stored.id;
                self.send(events, registered, Event::Message(stored)).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn send(
        &self,
        events: &unread::Sender<Event>,
        registered: &mut Registered,
        event: Event,
    ) -> Result<(), Ended> {
        let bytes = event.bytes();
        // A client that does not read keeps its stream waiting, but not past the end of its session.
        tokio::select! {
            sent = events.send(event, bytes) => Ok(sent?),
            end = ended(registered) => Err(self.service.failure_of(end).into()),
        }
    }
}

/// Waits until the stream must end.
pub(super) async fn ended(registered: &mut Registered) -> End {
    match registered.end.wait_for(Option::is_some).await {
        Ok(end) => (*end).unwrap_or(End::NotPrimary),
        // The list of streams ends with the process.
        Err(_) => End::NotPrimary,
    }
}

pub(super) fn until(session: &Session) -> Duration {
    Duration::from_millis(session.expires_at.0.saturating_sub(clock::wall().0))
}

/// A message that was just committed.
fn live(id: MessageId, record: &Record) -> Option<Message> {
    let Fact::MessageSent { conversation, from, from_name, to_name, text } = record.fact() else {
        return None;
    };
    Some(Message {
        id,
        conversation: *conversation,
        sender: *from,
        sender_name: from_name.clone(),
        recipient: conversation.other_than(*from)?,
        recipient_name: to_name.clone(),
        text: text.clone(),
        sent_at: record.at(),
        delivered: false,
        undeliverable: false,
    })
}

/// Listeners receive a beat only while this replica may answer reads: a primary that was cut off falls silent, and its
/// listeners go elsewhere.
pub(crate) fn beats_while_leased(gateway: Arc<Gateway>) -> watch::Receiver<u64> {
    let (beat, beats) = watch::channel(0);
    tokio::spawn(async move {
        let mut every = tokio::time::interval(LISTENER_BEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if gateway.may_read().await.is_ok() {
                beat.send_modify(|beats| *beats += 1);
            }
        }
    });
    beats
}
