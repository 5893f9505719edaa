//! Listening: one stream at a time, from the last message heard, for as long as someone wants to hear.

use crate::connection::{Connection, Primary};
use crate::ended::Ended;
use crate::error::ClientError;
use crate::pause::Pause;
use crate::request::signed;
use api::v1;
use api::v1::listen_messages_response::Event;
use chat::{MessageId, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Messages that wait for the application; then the stream waits too.
const UNREAD_MAX: usize = 256;
/// A stream that stays silent for this many of its beats counts as broken.
const BEATS_MISSED: u32 = 2;
/// Until the server has said how often it beats.
const FIRST_SILENCE: Duration = Duration::from_secs(3);

/// Where to begin.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// After this message; without it, after the last one acknowledged.
    pub after: Option<MessageId>,
    /// The history that `after` belongs to, if it is known.
    pub history: Vec<u8>,
    /// Also what the account itself sends.
    pub own_messages: bool,
    /// Also receipts. They are not repeated after a break: ask for the conversations whenever a stream opens.
    pub receipts: bool,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The stream is open, in this history.
    Listening {
        /// The history's identity.
        history: Vec<u8>,
    },
    /// A message: each once, in growing order of id.
    Message(v1::Message),
    /// What one side of a conversation has received, or has seen.
    Receipt(v1::Receipt),
    /// Receipts were passed over, because this listener was too slow: ask for the conversations.
    ReceiptsMissed,
    /// The stream is lost; another is being opened. Nothing will be missed.
    Reconnecting,
}

/// A listener.
#[derive(Debug)]
pub struct Listening {
    heard: mpsc::Receiver<Result<Heard, ClientError>>,
}

impl Listening {
    pub(crate) fn start(connection: Arc<Connection>, token: Arc<str>, start: Start) -> Self {
        let (tell, heard) = mpsc::channel(UNREAD_MAX);
        let listener = Listener { connection, token, start, tell };
        tokio::spawn(listener.run());
        Self { heard }
    }

    /// The next thing heard; an error ends the listening, `None` comes after it.
    pub async fn next(&mut self) -> Option<Result<Heard, ClientError>> {
        self.heard.recv().await
    }

    /// The next message, skipping everything else.
    pub async fn message(&mut self) -> Option<Result<v1::Message, ClientError>> {
        loop {
            match self.next().await? {
                Ok(Heard::Message(message)) => return Some(Ok(message)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

struct Listener {
    connection: Arc<Connection>,
    token: Arc<str>,
    start: Start,
    tell: mpsc::Sender<Result<Heard, ClientError>>,
}

impl Listener {
    async fn run(mut self) {
        let mut until = Instant::now() + self.connection.timeout();
        let mut pause = Pause::default();
        let mut last = "no replica answered".to_owned();
        loop {
            let found = tokio::select! {
                found = self.connection.primary(until, &last) => found,
                () = self.tell.closed() => return,
            };
            let primary = match found {
                Ok(primary) => primary,
                Err(error) => {
                    // The application receives the error, or has stopped listening.
                    let _ = self.tell.send(Err(error)).await;
                    return;
                }
            };
            let mut heard_something = false;
            let ended = self.listen(&primary, &mut heard_something).await;
            if heard_something {
                until = Instant::now() + self.connection.timeout();
                pause = Pause::default();
                if self.tell.send(Ok(Heard::Reconnecting)).await.is_err() {
                    return;
                }
            }
            match ended {
                // A stream that only listens has nothing that could be refused.
                Ended::Done | Ended::Refused => return,
                Ended::Final(error) => {
                    let _ = self.tell.send(Err(error)).await;
                    return;
                }
                Ended::Broken(why) => {
                    last = why;
                    self.connection.lose(&primary);
                }
                Ended::Busy(retry_after) => {
                    last = Reason::Busy.to_string();
                    tokio::time::sleep(retry_after).await;
                }
            }
            if !heard_something {
                if Instant::now() >= until {
                    let _ = self.tell.send(Err(self.connection.none_served(&last))).await;
                    return;
                }
                pause.wait().await;
            }
        }
    }

    async fn listen(&mut self, primary: &Primary, heard_something: &mut bool) -> Ended {
        let cursor =
            self.start.after.map(|after| v1::Cursor { history: self.start.history.clone(), after: after.0 });
        let message = v1::ListenMessagesRequest {
            cursor,
            own_messages: self.start.own_messages,
            receipts: self.start.receipts,
        };
        let opened = async {
            let mut client = primary.client();
            client.listen_messages(signed(message, &self.token)?).await
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(FIRST_SILENCE, opened) => opened,
            () = primary.lost() => return Ended::Broken("the primary was lost".into()),
        };
        let mut events = match opened {
            Ok(Ok(opened)) => opened.into_inner(),
            Ok(Err(status)) => return status.into(),
            Err(_) => return Ended::Broken("no answer in time".into()),
        };
        let mut silence = FIRST_SILENCE;
        loop {
            let event = tokio::select! {
                event = tokio::time::timeout(silence, events.message()) => event,
                () = primary.lost() => return Ended::Broken("the primary was lost".into()),
                () = self.tell.closed() => return Ended::Done,
            };
            let event = match event {
                Ok(Ok(Some(event))) => event.event,
                Ok(Ok(None)) => return Ended::Broken("the stream ended".into()),
                Ok(Err(status)) => return status.into(),
                Err(_) => return Ended::Broken("the stream fell silent".into()),
            };
            let heard = match event {
                Some(Event::Listening(listening)) => {
                    *heard_something = true;
                    silence = Duration::from_millis(u64::from(listening.beat_every)) * BEATS_MISSED
                        + FIRST_SILENCE / 4;
                    let cursor = listening.cursor.unwrap_or_default();
                    // From here on this is the place to resume from, and the history it belongs to.
                    self.start.after = Some(MessageId(cursor.after));
                    self.start.history.clone_from(&cursor.history);
                    Heard::Listening { history: cursor.history }
                }
                Some(Event::Message(message))
                    if self.start.after.is_none_or(|after| message.id > after.0) =>
                {
                    self.start.after = Some(MessageId(message.id));
                    Heard::Message(message)
                }
                Some(Event::Receipt(receipt)) => Heard::Receipt(receipt),
                Some(Event::ReceiptsMissed(_)) => Heard::ReceiptsMissed,
                Some(Event::Message(_) | Event::Beat(_)) | None => continue,
            };
            if self.tell.send(Ok(heard)).await.is_err() {
                return Ended::Done;
            }
        }
    }
}
