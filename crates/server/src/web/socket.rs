//! A page's socket: its calls, what it listens for, and how the service is doing, over one WebSocket (RFC 6455).

use super::calls::{self, Answered, failed, frame_of};
use super::frames::{Call, ClientFrame, ServerFrame, State};
use crate::caller::Origin;
use crate::clock;
use crate::service::{Event, Events, Failure, Service};
use axum::extract::ws::{Message, WebSocket};
use chat::{Refusal, TokenHash};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, SplitSink};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

/// Calls of one socket that are being answered; then the next ones wait.
const CALLS_MAX: usize = 16;
/// How often a socket is asked for a sign of life, and after how long without any it is given up.
const PING_EVERY: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// A page that does not read for longer than this is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// The page is gone, or as good as gone.
pub(super) struct Disconnected;

/// One page.
struct Page {
    service: Service,
    origin: Origin,
    /// Of the session that the calls belong to.
    token: Option<TokenHash>,
    running: FuturesUnordered<BoxFuture<'static, Answered>>,
    listening: Option<(u64, Events)>,
    state: watch::Receiver<State>,
}

/// Serves one socket until its page goes away.
pub(super) async fn serve(
    socket: WebSocket,
    service: Service,
    origin: Origin,
    state: watch::Receiver<State>,
) {
    let page =
        Page { service, origin, token: None, running: FuturesUnordered::new(), listening: None, state };
    // That a page has disconnected is nothing to report.
    let _: Result<(), Disconnected> = page.run(socket).await;
}

impl Page {
    /// How the service is doing, and what time it is here.
    fn state_now(&mut self) -> State {
        let state = self.state.borrow_and_update().clone();
        State { clock: clock::wall().0, ..state }
    }

    async fn run(mut self, socket: WebSocket) -> Result<(), Disconnected> {
        let (mut outbound, mut frames) = socket.split();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = self.service.beats.clone();
        let mut last_frame_at = Instant::now();
        let first = ServerFrame::State(self.state_now());
        send(&mut outbound, &first).await?;
        loop {
            let next = tokio::select! {
                changed = self.state.changed() => {
                    changed.map_err(|_| Disconnected)?;
                    Some(ServerFrame::State(self.state_now()))
                }
                Some(answered) = self.running.next() => self.finish(answered),
                event = next_event(&mut self.listening) => Some(self.on_event(event)),
                frame = frames.next(), if self.running.len() < CALLS_MAX => {
                    last_frame_at = Instant::now();
                    match frame {
                        Some(Ok(Message::Text(text))) => self.take(&text),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
                        Some(Ok(Message::Binary(_))) => Some(malformed(0, "a frame must be text: one JSON object")),
                        Some(Ok(Message::Close(_))) | None => return Ok(()),
                        Some(Err(error)) => {
                            debug!(%error, "the socket of a page broke");
                            return Ok(());
                        }
                    }
                }
                // A listener has beats of its own.
                Ok(()) = beats.changed(), if self.listening.is_none() => Some(ServerFrame::beat()),
                _ = pings.tick() => {
                    if last_frame_at.elapsed() > SILENCE_MAX {
                        return Ok(());
                    }
                    write(&mut outbound, Message::Ping(axum::body::Bytes::new())).await?;
                    // Beats mean that reads are answered; who does not serve says only that it lives.
                    (!self.state.borrow().serving).then(ServerFrame::beat)
                }
            };
            if let Some(next) = next {
                send(&mut outbound, &next).await?;
            }
        }
    }

    /// Begins what a frame asks for.
    fn take(&mut self, text: &str) -> Option<ServerFrame> {
        let frame: ClientFrame = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(error) => {
                let value = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
                return Some(malformed(value["id"].as_u64().unwrap_or(0), &error.to_string()));
            }
        };
        if let Call::Identify { token } = &frame.call {
            self.token = Some(TokenHash::of(token));
        }
        let (service, origin, token) = (self.service.clone(), self.origin, self.token);
        if matches!(frame.call, Call::Listen { .. }) {
            self.listening = None;
        }
        self.running.push(calls::make(service, origin, token, frame).boxed());
        None
    }

    fn finish(&mut self, answered: Answered) -> Option<ServerFrame> {
        match answered {
            Answered::Frame(frame) => Some(*frame),
            Answered::Listens { id, events } => {
                self.listening = Some((id, events));
                None
            }
        }
    }

    fn on_event(&mut self, (id, event): (u64, Option<Result<Event, Failure>>)) -> ServerFrame {
        let failure = match event {
            Some(Ok(event)) => return frame_of(event),
            Some(Err(failure)) => failure,
            // The stream is over.
            None => Failure::Fault,
        };
        self.listening = None;
        failed(id, failure)
    }
}

/// The next event of a page that listens; never ready while it does not.
async fn next_event(listening: &mut Option<(u64, Events)>) -> (u64, Option<Result<Event, Failure>>) {
    match listening {
        Some((id, events)) => (*id, events.next().await),
        None => std::future::pending().await,
    }
}

fn malformed(id: u64, what: &str) -> ServerFrame {
    let refusal = Refusal::Malformed(format!("this is no call of docs/web.md: {what}"));
    failed(id, Failure::Refused(refusal))
}

async fn send(outbound: &mut SplitSink<WebSocket, Message>, what: &ServerFrame) -> Result<(), Disconnected> {
    write(outbound, text(what)).await
}

/// A frame.
pub(super) fn text(what: &impl serde::Serialize) -> Message {
    let json = serde_json::to_string(what).expect("frames have text keys and no other maps");
    Message::Text(json.into())
}

/// Writes a frame, unless the page does not read.
pub(super) async fn write(
    outbound: &mut SplitSink<WebSocket, Message>,
    frame: Message,
) -> Result<(), Disconnected> {
    timeout(WRITE_LIMIT, outbound.send(frame)).await.map_err(|_| Disconnected)?.map_err(|_| Disconnected)
}
