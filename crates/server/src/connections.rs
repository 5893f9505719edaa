//! One address for two kinds of caller: gRPC speaks HTTP/2, pages and their sockets speak HTTP/1.1, and the first bytes of
//! a connection tell which it is (RFC 9113, section 3.4: an HTTP/2 client begins with `PRI * HTTP/2.0`).

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How every HTTP/2 connection begins; no method of HTTP/1.1 does.
const HTTP2_BEGINS: &[u8; 3] = b"PRI";
/// A caller that says nothing for so long is let go.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at a connection of which one or two bytes have come.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// After a connection could not be accepted because something ran out, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever. Those of HTTP/2 go to `grpc`; the others are served the pages.
pub(crate) async fn accept(listener: TcpListener, pages: Router, grpc: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(sort(stream, peer, pages.clone(), Some(grpc.clone())));
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

/// Serves pages alone on an address, for ever.
pub async fn serve_pages(listener: TcpListener, pages: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(sort(stream, peer, pages.clone(), None));
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

async fn not_accepted(error: &std::io::Error) {
    warn!(%error, "a connection could not be accepted");
    sleep(ACCEPT_PAUSE).await;
}

async fn sort(stream: TcpStream, peer: SocketAddr, pages: Router, grpc: Option<mpsc::Sender<TcpStream>>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection broke at once");
        return;
    }
    let Ok(Ok(is_http2)) = timeout(FIRST_BYTES_LIMIT, begins_as_http2(&stream)).await else { return };
    match grpc {
        Some(grpc) if is_http2 => {
            // The service has ended, and with it this process.
            let _ = grpc.send(stream).await;
        }
        _ => serve_http1(stream, peer, pages).await,
    }
}

async fn begins_as_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; HTTP2_BEGINS.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == first.len() || seen == 0 || first[..seen] != HTTP2_BEGINS[..seen] {
            return Ok(&first == HTTP2_BEGINS);
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn serve_http1(stream: TcpStream, peer: SocketAddr, pages: Router) {
    let pages = TowerToHyperService::new(pages.layer(axum::Extension(ConnectInfo(peer))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_BYTES_LIMIT)
        .serve_connection(TokioIo::new(stream), pages)
        .with_upgrades();
    if let Err(error) = served.await {
        debug!(%error, "a connection of a page broke");
    }
}
