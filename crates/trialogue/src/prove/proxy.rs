//! A proxy of the proof's own: what passes between two addresses, and how badly.

use chat::Address;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It passes.
    Open,
    /// It passes after a while.
    Slow(Duration),
    /// It waits until the mode changes; connections are taken, and hear nothing.
    Stalled,
    /// What goes there passes, what comes back waits: half open.
    OneWay,
    /// Every connection is broken, and every new one.
    Broken,
    /// Half of the next piece passes, then its connection breaks.
    Truncating,
}

/// A port that leads to another, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: Address,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Opens a port that leads to `target`.
    pub(crate) async fn to(target: Address) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = Address::loopback(listener.local_addr()?.port());
        let (mode, modes) = watch::channel(Mode::Open);
        tokio::spawn(accept(listener, target, modes));
        Ok(Self { address, mode })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, target: Address, mut modes: watch::Receiver<Mode>) {
    loop {
        let near = tokio::select! {
            accepted = listener.accept() => accepted,
            // The proxy is gone.
            closed = modes.wait_for(|_| false) => { drop(closed); return }
        };
        let Ok((near, _)) = near else { continue };
        if *modes.borrow() != Mode::Broken {
            tokio::spawn(join(near, target.clone(), modes.clone()));
        }
    }
}

/// Joins two connections until either ends or breaks.
async fn join(near: TcpStream, target: Address, modes: watch::Receiver<Mode>) {
    let Ok(far) = TcpStream::connect(target.to_string()).await else { return };
    // Delays are the mode's business alone.
    let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_read, far_write, modes.clone(), false) => {}
        () = pass(far_read, near_write, modes, true) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    coming_back: bool,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            broken = modes.wait_for(|mode| *mode == Mode::Broken) => { drop(broken); return }
        };
        let Ok(length @ 1..) = read else { return };
        let held = |mode: &Mode| match mode {
            Mode::Stalled => true,
            Mode::OneWay => coming_back,
            _ => false,
        };
        let Ok(mode) = modes.wait_for(|mode| !held(mode)).await.map(|mode| *mode) else { return };
        let passes = match mode {
            Mode::Broken => return,
            Mode::Truncating => length / 2,
            Mode::Slow(delay) => {
                tokio::time::sleep(delay).await;
                length
            }
            _ => length,
        };
        if to.write_all(&piece[..passes]).await.is_err() || passes < length {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::loopback(listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn each_mode_does_to_a_connection_what_it_says() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let connect = || TcpStream::connect(proxy.address.to_string());
        let mut stream = connect().await.unwrap();
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");

        for mode in [Mode::Stalled, Mode::OneWay] {
            proxy.set(mode);
            stream.write_all(b"held").await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut answer)).await;
            assert!(early.is_err(), "{mode:?}");
            proxy.set(Mode::Slow(Duration::from_millis(1)));
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"held");
        }
        proxy.set(Mode::Truncating);
        stream.write_all(b"half").await.unwrap();
        let mut rest = Vec::new();
        // It ends by a close or by a reset.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() < 4, "{rest:?}");

        proxy.set(Mode::Broken);
        let mut stream = connect().await.unwrap();
        assert!(matches!(stream.read(&mut answer).await, Ok(0) | Err(_)));
    }
}
