//! What a client has not read yet, bounded in number and in bytes.
//!
//! A sender waits while the client's stream is full. One event is always let in, however large it is.

use super::Failure;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The server's end.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    events: mpsc::Sender<(Result<T, Failure>, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    events: mpsc::Receiver<(Result<T, Failure>, Option<OwnedSemaphorePermit>)>,
}

/// The client has closed its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disconnected;

pub(crate) fn channel<T>(events_max: usize, bytes_max: usize) -> (Sender<T>, Stream<T>) {
    let (sender, events) = mpsc::channel(events_max);
    (Sender { events: sender, room: Arc::new(Semaphore::new(bytes_max)), bytes_max }, Stream { events })
}

impl<T> Sender<T> {
    /// Waits until there is room for an event of that size.
    pub(crate) async fn send(&self, event: T, bytes: usize) -> Result<(), Disconnected> {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(bytes) => room.map_err(|_| Disconnected)?,
            () = self.events.closed() => return Err(Disconnected),
        };
        self.events.send((Ok(event), Some(room))).await.map_err(|_| Disconnected)
    }

    /// Ends the stream with a reason.
    pub(crate) async fn end(&self, why: Failure) {
        // A client that has closed its stream needs no reason.
        let _ = self.events.send((Err(why), None)).await;
    }

    pub(crate) async fn closed(&self) {
        self.events.closed().await;
    }
}

impl<T> tokio_stream::Stream for Stream<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context).map(|next| next.map(|(event, _room_again)| event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};

    #[tokio::test]
    async fn bytes_are_bounded_and_one_event_is_always_let_in() {
        let (sender, mut stream) = channel(64, 1000);
        sender.send("a large one", 5000).await.unwrap();
        assert!(sender.send("one more", 10).now_or_never().is_none(), "all the room is taken");
        assert_eq!(stream.next().await, Some(Ok("a large one")));
        for _ in 0..3 {
            sender.send("a small one", 300).await.unwrap();
        }
        assert!(sender.send("one more", 300).now_or_never().is_none());
        drop(stream);
        assert_eq!(sender.send("one more", 300).await, Err(Disconnected));
    }
}
