//! What a client has not read yet, bounded in number and in bytes.
//!
//! A sender waits while the client's stream is full. One event is always let in, however large it is.

use crate::chat_service::Answered;
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    events: mpsc::Sender<(Answered<T>, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    events: mpsc::Receiver<(Answered<T>, Option<OwnedSemaphorePermit>)>,
}

/// The client has closed its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

pub(crate) fn channel<T>(events_max: usize, bytes_max: usize) -> (Sender<T>, Stream<T>) {
    let (sender, events) = mpsc::channel(events_max);
    (Sender { events: sender, room: Arc::new(Semaphore::new(bytes_max)), bytes_max }, Stream { events })
}

impl<T: Message> Sender<T> {
    pub(crate) async fn send(&self, event: T) -> Result<(), Gone> {
        let bytes = u32::try_from(event.encoded_len().min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(bytes) => room.map_err(|_| Gone)?,
            () = self.events.closed() => return Err(Gone),
        };
        self.events.send((Ok(event), Some(room))).await.map_err(|_| Gone)
    }

    /// Ends the stream with a reason.
    pub(crate) async fn end(&self, why: Status) {
        // A client that has closed its stream needs no reason.
        let _ = self.events.send((Err(why), None)).await;
    }

    pub(crate) async fn closed(&self) {
        self.events.closed().await;
    }
}

impl<T> tokio_stream::Stream for Stream<T> {
    type Item = Answered<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context).map(|next| next.map(|(event, _room_again)| event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1;
    use futures_util::{FutureExt, StreamExt};

    fn text(bytes: usize) -> v1::Message {
        v1::Message { text: "x".repeat(bytes), ..v1::Message::default() }
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_one_event_is_always_let_in() {
        let (sender, mut stream) = channel(64, 1000);
        sender.send(text(5000)).await.unwrap();
        assert!(sender.send(text(10)).now_or_never().is_none(), "all the room is taken");
        assert_eq!(stream.next().await.unwrap().unwrap().text.len(), 5000);
        for _ in 0..3 {
            sender.send(text(300)).await.unwrap();
        }
        assert!(sender.send(text(300)).now_or_never().is_none());
        drop(stream);
        assert_eq!(sender.send(text(300)).await, Err(Gone));
    }
}
