//! `up --playground`: replicas that can be killed, paused and started again on the cluster page, beside a conversation
//! that counts what is lost.
//!
//! Orders are taken on the loopback interface only, and only from the pages of this very cluster (`server::playground`
//! holds to that): a site that is visited with the same browser can't give any.

use crate::failure::Failure;
use axum::extract::ws::{Message, WebSocket};
use chat::Address;
use client::Client;
use conversation::{Conversation, Summary};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use server::{ClusterKey, playground_pages, serve_pages};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

mod conversation;

/// How often a page hears how the conversation goes.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Orders that wait for the supervisor.
const ORDERS_MAX: usize = 16;

/// What can be done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Kill,
    Pause,
    Resume,
    Restart,
}

/// An order of a page, and who waits for word of it.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) replica: usize,
    pub(crate) what: What,
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// How a replica's process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Process {
    Runs,
    Paused,
    Down,
}

/// What a page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ClientFrame {
    Order { replica: usize, what: What },
}

/// What a page hears.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ServerFrame<'a> {
    Processes(&'a [Process]),
    Ledger(&'a Summary),
    Refused { message: String },
}

/// The supervisor's end of the playground.
#[derive(Debug)]
pub(crate) struct Playground {
    /// Where it is.
    pub(crate) address: Address,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) processes: watch::Sender<Vec<Process>>,
    /// To be told of each order that may open a gap.
    pub(crate) conversation: Conversation,
}

/// What each socket has.
#[derive(Clone, Debug)]
struct Shared {
    replicas: usize,
    orders: mpsc::Sender<Order>,
    processes: watch::Receiver<Vec<Process>>,
    conversation: Conversation,
}

impl Playground {
    /// Opens the playground at its address, for these replicas.
    pub(crate) async fn open(
        address: Address,
        addresses: &[Address],
        client: Client,
        key: &ClusterKey,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address.to_string()).await.map_err(|error| {
            Failure::Failed(format!(
                "can't listen on {address} for the playground: {error}; stop what uses that port, or choose others with --port"
            ))
        })?;
        let (given, orders) = mpsc::channel(ORDERS_MAX);
        let (processes, seen) = watch::channel(vec![Process::Down; addresses.len()]);
        let conversation = Conversation::begin(client, key);
        let shared = Shared {
            replicas: addresses.len(),
            orders: given,
            processes: seen,
            conversation: conversation.clone(),
        };
        let pages = playground_pages(addresses, &address, move |socket| serve(socket, shared.clone()));
        tokio::spawn(serve_pages(listener, pages));
        Ok(Self { address, orders, processes, conversation })
    }
}

/// Serves one page until it goes away.
async fn serve(socket: WebSocket, shared: Shared) {
    let Shared { replicas, orders, mut processes, conversation } = shared;
    let (mut page, mut frames) = socket.split();
    let mut every = interval(TELL_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    processes.mark_changed();
    loop {
        let next = tokio::select! {
            biased;
            changed = processes.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = processes.borrow_and_update().clone();
                text(&ServerFrame::Processes(&now))
            }
            frame = frames.next() => match frame {
                Some(Ok(Message::Text(asked))) => match obey(&asked, replicas, &orders).await {
                    Ok(()) => continue,
                    Err(message) => text(&ServerFrame::Refused { message }),
                },
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            _ = every.tick() => text(&ServerFrame::Ledger(&conversation.summary())),
        };
        if page.send(next).await.is_err() {
            return;
        }
    }
}

fn text(say: &ServerFrame<'_>) -> Message {
    let json = serde_json::to_string(say).expect("frames have text keys and no other maps");
    Message::Text(json.into())
}

/// Has an order carried out.
async fn obey(asked: &str, replicas: usize, orders: &mpsc::Sender<Order>) -> Result<(), String> {
    let ClientFrame::Order { replica, what } =
        serde_json::from_str(asked).map_err(|error| format!("this is no order: {error}"))?;
    if replica >= replicas {
        return Err(format!("there is no replica {replica}"));
    }
    let (done, outcome) = oneshot::channel();
    let ended = |()| "the service is ending".to_owned();
    orders.send(Order { replica, what, done }).await.map_err(|_| ended(()))?;
    outcome.await.map_err(|_| ended(()))?
}
