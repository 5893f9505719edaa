//! How long it takes from a call of `send` to the text in a listener's hands, and what a crowd of listeners costs.

use super::LIMIT;
use super::load::{Load, TEXT, Times};
use super::machine::Usage;
use super::report::{Crowd, Delivery};
use crate::failure::Failure;
use api::v1::ListenMessagesRequest;
use api::v1::chat_client::ChatClient;
use chat::Address;
use client::{Heard, Session, Start};
use people::Person;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const DELIVERIES: usize = 500;
/// Listeners that share a connection.
const A_CONNECTION: usize = 500;
/// Streams that are being opened at a time.
const OPENING: usize = 64;
/// Memory counts once it was the same at four looks in a row, or at the last of all.
const LOOKS_UNCHANGED: u32 = 4;
const LOOKS_MAX: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Messages to one listener, the next one when the last has arrived.
pub(super) async fn delivery(from: &Session, to: &Person) -> Result<Delivery, Failure> {
    let mut listening = to.session.listen(Start::default());
    let (heard, mut arrived) = mpsc::unbounded_channel();
    let listener = tokio::spawn(async move {
        while let Some(Ok(event)) = listening.next().await {
            if let Heard::Message(message) = event
                && heard.send((message.id, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    let (mut times, mut after) = (Vec::new(), Vec::new());
    for _ in 0..DELIVERIES {
        let began = Instant::now();
        let sent = from.send(&to.name, TEXT, 0).await?;
        let acknowledged = Instant::now();
        let at = loop {
            let next = tokio::time::timeout(LIMIT, arrived.recv()).await;
            match next {
                Ok(Some((id, at))) if id == sent.id.0 => break at,
                // What was sent to this account before.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(Failure::Failed("a message was acknowledged and not heard".into()));
                }
            }
        };
        times.push(at - began);
        after.push(at.saturating_duration_since(acknowledged));
    }
    listener.abort();
    let (times, after) = (Times::of(times), Times::of(after));
    Ok(Delivery {
        p50_ms: times.quantile_ms(0.5),
        p99_ms: times.quantile_ms(0.99),
        after_acknowledgement_p99_ms: after.quantile_ms(0.99),
    })
}

/// Listeners, each of an account of its own, that hear nothing: what they cost, and what they cost others.
pub(super) async fn crowd(
    primary: (&Address, u32),
    tokens: &[String],
    load: &Load,
    (from, to): (&Session, &Person),
    span: Duration,
) -> Result<Crowd, Failure> {
    let (address, process) = primary;
    let alone = load.rate(64, span).await?;
    // What the first listeners make the primary keep, it keeps for the next ones: the second crowd is measured.
    drop(listen(address, tokens).await?);
    let mib_before = settled_mib(process).await?;
    let began = Instant::now();
    let streams = listen(address, tokens).await?;
    let opened_in = began.elapsed();
    let mib_with = settled_mib(process).await?;
    let beside = load.rate(64, span).await?;
    let delivery = delivery(from, to).await?;
    drop(streams);
    let mib_after = settled_mib(process).await?;
    #[expect(clippy::cast_precision_loss, reason = "some thousand listeners")]
    let listeners = tokens.len() as f64;
    Ok(Crowd {
        listeners: tokens.len(),
        opened_per_second: listeners / opened_in.as_secs_f64(),
        kib_a_listener: (mib_with - mib_before).max(0.0) * 1024.0 / listeners,
        mib_before,
        mib_with,
        mib_after,
        sends_kept: beside / alone,
        delivery,
    })
}

/// The memory of a process once it has not changed for some time.
async fn settled_mib(process: u32) -> Result<f64, Failure> {
    let mut last = Usage::of(&[process])?.resident;
    let mut unchanged = 0;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Usage::of(&[process])?.resident;
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        if unchanged == LOOKS_UNCHANGED {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = last as f64;
    Ok(bytes / 1024.0 / 1024.0)
}

/// Streams of listeners; they end when this is dropped.
struct Streams(#[expect(dead_code, reason = "open for as long as it is kept")] JoinSet<()>);

/// Opens a stream of each session, and waits until all of them are open.
async fn listen(address: &Address, tokens: &[String]) -> Result<Streams, Failure> {
    let endpoint = api::endpoint(address).map_err(Failure::of)?;
    let mut streams = JoinSet::new();
    let (opened, mut open) = mpsc::channel(OPENING);
    let mut wait = async |streams: usize| -> Result<(), Failure> {
        for _ in 0..streams {
            let next = tokio::time::timeout(LIMIT, open.recv()).await;
            next.ok()
                .flatten()
                .unwrap_or_else(|| Err("a listener's stream was not opened in time".into()))
                .map_err(Failure::Failed)?;
        }
        Ok(())
    };
    let mut waiting = 0;
    for tokens in tokens.chunks(A_CONNECTION) {
        let channel = endpoint.connect().await.map_err(Failure::of)?;
        for token in tokens {
            streams.spawn(one_listener(channel.clone(), token.clone(), opened.clone()));
            waiting += 1;
            if waiting == OPENING {
                wait(1).await?;
                waiting -= 1;
            }
        }
    }
    wait(waiting).await?;
    Ok(Streams(streams))
}

async fn one_listener(channel: Channel, token: String, opened: mpsc::Sender<Result<(), String>>) {
    let open = async {
        let request =
            api::signed(ListenMessagesRequest::default(), &token).map_err(|error| error.to_string())?;
        let stream = ChatClient::new(channel).listen_messages(request).await;
        let mut stream = stream.map_err(|status| status.to_string())?.into_inner();
        // The first thing that a listener hears is that it listens.
        stream.message().await.map_err(|status| status.to_string())?;
        Ok(stream)
    };
    match open.await {
        Ok(mut stream) => {
            // The measurement was given up if its task waits no longer.
            if opened.send(Ok(())).await.is_ok() {
                while let Ok(Some(_)) = stream.message().await {}
            }
        }
        Err(error) => drop(opened.send(Err(error)).await),
    }
}
