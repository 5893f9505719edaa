//! A terminal that goes away: with its window, its connection, or the program that made it. Not every one of them sends a
//! signal; and reading from it is then an error, or its end, for ever.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use tokio::sync::oneshot;

/// Ready once this stream is a terminal that is gone; never, if it is none.
pub(crate) async fn gone(stream: impl AsFd + IsTerminal + Send + 'static) {
    if stream.is_terminal() {
        let (say, said) = oneshot::channel();
        // It ends with the terminal or with the process.
        std::thread::spawn(move || {
            wait(&stream);
            // If this fails, the task that waited for it has ended.
            let _ = say.send(());
        });
        if said.await.is_ok() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

fn wait(stream: &impl AsFd) {
    // Of no event in particular: this wakes up for the end alone, and leaves the input to others.
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    while poll(&mut watched, None) == Err(Errno::INTR) {}
}
