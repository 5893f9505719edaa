//! Work that blocks, on a thread for that; of some kinds only a few pieces at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Work that took long has waited, for a slow disk or a database that is being replaced, and used no core meanwhile.
const REST_MAX: Duration = Duration::from_millis(200);

/// Too many callers wait for work of this kind already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too much of this is under way")]
pub(crate) struct Full;

/// Room for some pieces of work at a time, and for a bounded queue of callers that wait for a place.
///
/// A place belongs to the work and not to its caller: work on a thread goes on when the caller gives up, and must not make
/// room before it is done.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// For how many times as long as the work took its place stays taken afterwards.
    rest: u32,
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    _queued: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(at_once: usize, waiting_max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once)),
            queue: Arc::new(Semaphore::new(at_once + waiting_max)),
            rest: 0,
        }
    }

    /// The same places, each of which rests after its work, for as many times as long as that took, but no longer than
    /// [`REST_MAX`]: what callers ask for without a pause leaves the rest of a core to others.
    pub(crate) fn resting(self, rest: u32) -> Self {
        Self { rest, ..self }
    }

    /// Does the work once there is a place for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let place = self.enter().await?;
        let (rest, runtime) = (self.rest, tokio::runtime::Handle::current());
        Ok(blocking(move || {
            let began = Instant::now();
            let done = work();
            place.free_after(began.elapsed().saturating_mul(rest).min(REST_MAX), &runtime);
            done
        })
        .await)
    }

    /// Waits for a place, which is free again once what is returned is dropped.
    pub(crate) async fn enter(&self) -> Result<Place, Full> {
        let queued = self.queue.clone().try_acquire_owned().map_err(|_| Full)?;
        let place = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        Ok(Place { _place: place, _queued: queued })
    }
}

impl Place {
    fn free_after(self, rest: Duration, runtime: &tokio::runtime::Handle) {
        if rest.is_zero() {
            return;
        }
        let Self { _place: place, _queued: _ } = self;
        runtime.spawn(async move {
            tokio::time::sleep(rest).await;
            drop(place);
        });
    }
}

/// Does the work and gives its result. When the process ends before it has begun, no caller waits for it any more: then this
/// never returns. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::Poll;

    /// Logins whose callers gave up went on without a place: 305 a second took 7 GB.
    #[tokio::test]
    async fn work_whose_caller_has_given_up_keeps_its_place_until_it_is_done() {
        let places = Places::new(1, 1);
        let (finish, finished) = mpsc::channel::<()>();
        let mut given_up = Box::pin(places.run(move || finished.recv()));
        std::future::poll_fn(|context| {
            assert!(given_up.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(given_up);
        let mut next = Box::pin(places.run(|| 7));
        std::future::poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending(), "the work still runs");
            Poll::Ready(())
        })
        .await;
        assert_eq!(places.run(|| 8).await, Err(Full), "one works, one waits");
        finish.send(()).unwrap();
        assert_eq!(next.await, Ok(7));
        assert_eq!(places.run(|| 8).await, Ok(8));
    }

    /// Eight callers that listed accounts in a loop took both cores from those who sent.
    #[tokio::test]
    async fn a_place_rests_after_its_work_and_is_free_again() {
        let places = Places::new(1, 1).resting(1000);
        let a_while = || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(100) {}
        };
        assert_eq!(places.run(a_while).await, Ok(()));
        let mut next = Box::pin(places.run(|| 7));
        std::future::poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending(), "it rests for a tenth of a second");
            Poll::Ready(())
        })
        .await;
        assert_eq!(next.await, Ok(7));
    }

    /// A replica that was ended while it started said that it had panicked.
    #[test]
    fn work_that_the_end_of_the_process_overtakes_is_no_panic() {
        let ending = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let ended = ending.handle().clone();
        ending.shutdown_background();
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(async {
            let mut overtaken = std::pin::pin!(blocking(|| ()));
            for look in 1..=3 {
                let _inside = ended.enter();
                let done = std::future::poll_fn(|context| Poll::Ready(overtaken.as_mut().poll(context)));
                assert!(done.await.is_pending(), "it will never begin, and says nothing (look {look})");
            }
        });
    }
}
