//! One address for two kinds of caller: gRPC speaks HTTP/2, pages and their sockets speak HTTP/1.1, and the first bytes of
//! a connection tell which it is (RFC 9113, section 3.4: an HTTP/2 client begins with `PRI * HTTP/2.0`).

use crate::caller::Caller;
use crate::config::Shares;
use crate::crowd::{Crowd, Entered};
use crate::doorkeeper::Doorkeeper;
use crate::grpc_calls::Calls;
use crate::service::Failure;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tower_service::Service;
use tracing::{debug, warn};

/// How every HTTP/2 connection begins (RFC 9113, section 3.4); no method of HTTP/1.1 does.
const HTTP2_BEGINS: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A caller that does not say how its connection begins within that time is let go, and a page that does not end the head
/// of a request.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(10);
/// After a connection could not be accepted because something ran out, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Where no connection comes in this time, the doorkeeper looks how much time has passed.
const QUIET: Duration = Duration::from_secs(1);
/// How often an HTTP/2 connection is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(10);
/// What waits to be sent on one stream to a client that does not read, in bytes.
const SEND_BUFFER: usize = 32 * 1024;
/// Calls of replicas, which are let in when no client is.
const REPLICA_CALLS: &str = "/trialogue.v1.Replica/";

/// What is behind the address.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// For HTTP/1.1.
    pub(crate) pages: Router,
    /// For HTTP/2, where there is something for it.
    pub(crate) grpc: Option<Calls>,
    pub(crate) streams_per_connection: u32,
}

/// What an upgraded connection of a page holds on to, so that it is counted for as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "held, not looked at")] Arc<Entered>);

/// Accepts connections for ever, and tells the doorkeeper whether it can.
pub(crate) async fn accept(
    listener: TcpListener,
    doors: Doors,
    crowd: Crowd,
    mut doorkeeper: Option<Doorkeeper>,
) {
    let doors = Arc::new(doors);
    loop {
        let accepted = match timeout(QUIET, listener.accept()).await {
            Ok(Ok((stream, peer))) => match crowd.enter(peer.ip()) {
                Ok(entered) => {
                    tokio::spawn(serve(stream, peer, doors.clone(), Arc::new(entered)));
                    Some(true)
                }
                // A crowd that is too large here would be so elsewhere: giving way would only pass it on.
                Err(too_many) => {
                    debug!(%peer, ?too_many, "too many connections: one more is closed");
                    None
                }
            },
            Ok(Err(error)) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                Some(false)
            }
            Err(_) => None,
        };
        if let Some(doorkeeper) = &mut doorkeeper {
            doorkeeper.saw(accepted).await;
        }
    }
}

/// Serves pages alone on an address, for ever.
pub async fn serve_pages(listener: TcpListener, pages: Router) {
    let Shares { streams_per_connection, connections_per_address, .. } = Shares::default();
    let crowd = Crowd::new(connections_per_address, connections_per_address);
    accept(listener, Doors { pages, grpc: None, streams_per_connection }, crowd, None).await;
}

async fn serve(stream: TcpStream, peer: SocketAddr, doors: Arc<Doors>, entered: Arc<Entered>) {
    let served = serve_until_closed(stream, peer, doors, entered.clone());
    tokio::select! {
        outcome = served => {
            if let Err(error) = outcome {
                debug!(%peer, %error, "a connection broke");
            }
        }
        () = entered.must_make_room() => debug!(%peer, "a connection that asked for nothing makes room for others"),
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn serve_until_closed(
    stream: TcpStream,
    peer: SocketAddr,
    doors: Arc<Doors>,
    entered: Arc<Entered>,
) -> Result<(), Broken> {
    stream.set_nodelay(true)?;
    let (mut read, write) = stream.into_split();
    let (first, is_http2) = timeout(FIRST_BYTES_LIMIT, begins_as_http2(&mut read)).await??;
    // The bytes that were looked at belong to the connection.
    let stream = TokioIo::new(tokio::io::join(Cursor::new(first).chain(read), write));
    match &doors.grpc {
        Some(calls) if is_http2 => {
            serve_http2(stream, peer, calls, doors.streams_per_connection, entered).await
        }
        _ => serve_http1(stream, peer, &doors.pages, entered).await,
    }
}

/// Reads until it is certain whether this is HTTP/2. Returns what was read.
async fn begins_as_http2(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Vec<u8>, bool)> {
    let mut first = Vec::with_capacity(HTTP2_BEGINS.len());
    while first.len() < HTTP2_BEGINS.len() {
        let missing = HTTP2_BEGINS.len() - first.len();
        let got = (&mut *stream).take(missing as u64).read_buf(&mut first).await?;
        if got == 0 || first[..] != HTTP2_BEGINS[..first.len()] {
            return Ok((first, false));
        }
    }
    Ok((first, true))
}

async fn serve_http2(
    stream: TokioIo<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    peer: SocketAddr,
    calls: &Calls,
    streams: u32,
    entered: Arc<Entered>,
) -> Result<(), Broken> {
    let refused = Arc::new(tokio::sync::Notify::new());
    let (refusing, calls) = (refused.clone(), calls.clone());
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let over = entered.is_reserved() && !request.uri().path().starts_with(REPLICA_CALLS);
        if over {
            refusing.notify_one();
        } else {
            entered.has_asked();
        }
        request.extensions_mut().insert(Caller(peer.ip()));
        let calls = calls.clone();
        async move {
            if over {
                let why = "this replica has as many connections as it can hold; try again later";
                return Ok(Status::from(Failure::over_a_limit(why.to_owned())).into_http());
            }
            if !is_grpc(&request) {
                return Ok(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response().map(tonic::body::Body::new));
            }
            calls.answer(request).await
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_concurrent_streams(streams)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return Ok(served?),
        () = refused.notified() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// Whether a request is one of gRPC (its protocol over HTTP/2, "Requests").
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content
        .and_then(|content| content.strip_prefix("application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

async fn serve_http1(
    stream: TokioIo<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    peer: SocketAddr,
    pages: &Router,
    entered: Arc<Entered>,
) -> Result<(), Broken> {
    let pages = pages.clone();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let over = entered.is_reserved();
        if !over {
            entered.has_asked();
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Held(entered.clone()));
        let mut pages = pages.clone();
        async move {
            if over {
                let why = "This replica has as many connections as it can hold. Try again later.\n";
                return Ok((StatusCode::SERVICE_UNAVAILABLE, [("connection", "close")], why).into_response());
            }
            let answer: Result<Response<Body>, std::convert::Infallible> =
                pages.call(request.map(Body::new)).await;
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_BYTES_LIMIT)
        .serve_connection(stream, service)
        .with_upgrades();
    Ok(served.await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn the_first_bytes_tell_which_it_is_however_they_come() {
        for (text, http2) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n more", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("PRINT / HTTP/1.1\r\n\r\n", false),
            ("P", false),
            ("", false),
        ] {
            for piece in [1, 3, 100] {
                let (mut client, mut server) = tokio::io::duplex(1024);
                let writing = async move {
                    for bytes in text.as_bytes().chunks(piece) {
                        client.write_all(bytes).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let ((), began) = tokio::join!(writing, begins_as_http2(&mut server));
                let (first, is_http2) = began.unwrap();
                assert_eq!(is_http2, http2, "{text:?} in pieces of {piece}");
                let mut rest = first;
                server.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, text.as_bytes(), "nothing is lost");
            }
        }
    }

    #[test]
    fn only_grpc_is_taken_for_grpc() {
        for (content, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let request = Request::builder().header(CONTENT_TYPE, content).body(()).unwrap();
            assert_eq!(is_grpc(&request), grpc, "{content}");
        }
        assert!(!is_grpc(&Request::new(())));
    }
}
