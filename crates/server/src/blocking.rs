//! Work that blocks, on a thread for that.

/// Does the work and gives its result. When the process ends before it has begun, nobody waits for it any more: then this
/// never returns. A panic goes on in whoever waits.
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
    use std::task::Poll;

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
