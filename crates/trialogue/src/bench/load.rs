//! The load: calls straight over gRPC, the same to the service and to the do-nothing server.

use crate::failure::Failure;
use api::v1::SendMessageRequest;
use api::v1::chat_client::ChatClient;
use chat::Address;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

/// Connections that the load is spread over.
const CONNECTIONS: usize = 4;
/// A message of ordinary length: 100 bytes.
pub(crate) const TEXT: &str =
    "A message of ordinary length, as people write them all day: a hundred bytes, of which none are rare.";
/// A server that was just started answers within this time.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Times of calls, shortest first.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "some thousand times")]
        let count = self.0.len() as f64;
        count
    }

    /// The time that this share of them does not exceed, in milliseconds; 0 if there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place among some thousand times"
        )]
        let place = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// A sender: the token of a session, and the name of the recipient.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) token: String,
    pub(crate) to: String,
}

/// Senders, and the connections that they share.
pub(crate) struct Load {
    channels: Vec<Channel>,
    senders: Vec<Sender>,
    /// Where the next rate begins: with those whose turn it is.
    next: AtomicUsize,
}

impl Load {
    pub(crate) async fn connect(address: &Address, senders: Vec<Sender>) -> Result<Self, Failure> {
        let endpoint = api::endpoint(address).map_err(Failure::of)?;
        let until = Instant::now() + CONNECTED_WITHIN;
        let mut channels = Vec::new();
        while channels.len() < CONNECTIONS {
            match endpoint.connect().await {
                Ok(channel) => channels.push(channel),
                Err(error) if Instant::now() > until => return Err(Failure::of(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Ok(Self { channels, senders, next: AtomicUsize::new(0) })
    }

    /// Sends one message; `place` says who over which connection.
    async fn send(&self, place: usize) -> Result<Duration, Status> {
        let sender = &self.senders[place % self.senders.len()];
        let message = SendMessageRequest {
            request_id: Uuid::now_v7().into(),
            to: sender.to.clone(),
            to_id: 0,
            text: TEXT.into(),
            min_copies: 0,
        };
        let request = api::signed(message, &sender.token)
            .map_err(|_| Status::unauthenticated("the token can't be written in a header"))?;
        let mut chat = ChatClient::new(self.channels[place % self.channels.len()].clone());
        let began = Instant::now();
        chat.send_message(request).await?;
        Ok(began.elapsed())
    }

    /// Sends at this rate, whether or not those before were answered. The times count from when each message was to be sent; also
    /// given is how long it took until all were answered.
    pub(crate) async fn at_rate(
        &self,
        per_second: f64,
        span: Duration,
    ) -> Result<(Times, Duration), Failure> {
        let began = Instant::now();
        let (mut calls, mut times) = (FuturesUnordered::new(), Vec::new());
        for place in 0_u32.. {
            let intended = Duration::from_secs_f64(f64::from(place) / per_second);
            if intended > span {
                break;
            }
            let until = tokio::time::sleep_until((began + intended).into());
            let mut until = std::pin::pin!(until);
            loop {
                tokio::select! {
                    biased;
                    () = &mut until => break,
                    Some(time) = calls.next() => times.push(time?),
                }
            }
            calls.push(async move {
                self.send(place as usize).await.map_err(Failure::of)?;
                Ok::<_, Failure>(began.elapsed().saturating_sub(intended))
            });
        }
        while let Some(time) = calls.next().await {
            times.push(time?);
        }
        Ok((Times::of(times), began.elapsed()))
    }

    /// One call after the other.
    pub(crate) async fn one_by_one(&self, calls: usize) -> Result<Times, Failure> {
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            times.push(self.send(0).await.map_err(Failure::of)?);
        }
        Ok(Times::of(times))
    }

    /// Calls a second, with this many in flight for this long.
    pub(crate) async fn rate(&self, in_flight: usize, span: Duration) -> Result<f64, Failure> {
        let began = Instant::now();
        let next = || self.next.fetch_add(1, Ordering::Relaxed);
        let mut calls: FuturesUnordered<_> = (0..in_flight).map(|_| self.send(next())).collect();
        let mut done = 0_u32;
        while let Some(outcome) = calls.next().await {
            outcome.map_err(Failure::of)?;
            done += 1;
            if began.elapsed() < span {
                calls.push(self.send(next()));
            }
        }
        Ok(f64::from(done) / began.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times = Times::of((1..=1000).rev().map(Duration::from_millis).collect());
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0), (0.0, 1.0)] {
            assert!((times.quantile_ms(share) - ms).abs() < 1e-9, "{share}: {}", times.quantile_ms(share));
        }
        assert!(Times::of(Vec::new()).quantile_ms(0.5).abs() < 1e-9);
        assert_eq!(TEXT.len(), 100);
    }
}
