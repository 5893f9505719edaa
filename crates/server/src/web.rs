//! What a browser gets of a replica: the chat page, the cluster page, and the sockets behind them.
//!
//! ```text
//!   page ──▶ socket ──▶ calls ──▶ service           (the rules are there)
//!   page ──▶ cluster                                 (pictures, and how each view came about)
//!   browser ──▶ assets                               (the files of web/)
//! ```

use crate::caller::Origin;
use crate::connections::Held;
use crate::service::{LISTENER_BEAT, Service};
use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

mod assets;
mod calls;
mod cluster;
mod frames;
mod origin;
mod playground;
mod socket;

pub(crate) use cluster::Cluster;
pub(crate) use origin::Origins;
pub use playground::playground_pages;

/// What the pages of one replica are made of.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    pub(crate) service: Service,
    pub(crate) origins: Arc<Origins>,
    pub(crate) cluster: Cluster,
    /// Whether others than those on this machine may look at the cluster.
    pub(crate) cluster_page_for_everyone: bool,
    pub(crate) states: watch::Receiver<frames::State>,
}

impl Web {
    /// Follows a replica for its pages.
    pub(crate) fn of(service: Service) -> Self {
        let settings = service.settings.clone();
        let (states, state) = watch::channel(state_of(&service));
        tokio::spawn(follow(service.clone(), states));
        let origins = Origins::of(settings.addresses.iter().chain(&settings.playground));
        let origins = Arc::new(origins.with_names(&settings.host_names));
        let cluster = Cluster {
            addresses: settings.addresses.iter().map(ToString::to_string).collect(),
            playground: settings.playground.as_ref().map(ToString::to_string),
        };
        let cluster_page_for_everyone = settings.cluster_page_for_everyone;
        Self { service, origins, cluster, cluster_page_for_everyone, states: state }
    }

    /// The pages and their sockets.
    pub(crate) fn router(self) -> Router {
        let origins = self.origins.clone();
        let routes = Router::new()
            .route("/socket", get(chat_socket))
            .route("/cluster", get(cluster_page))
            .route("/cluster/socket", get(cluster_socket))
            .with_state(self);
        let routes = routes.route("/", get(|headers: HeaderMap| async move { page("index.html", &headers) }));
        with_files(routes, &origins)
    }
}

/// Adds the files of the pages, and what every answer says to the browser.
fn with_files(routes: Router, origins: &Arc<Origins>) -> Router {
    let origins = origins.clone();
    let policy = HeaderValue::try_from(origins.content_security_policy()).expect("hosts and ports are ASCII");
    routes
        .route(
            "/{file}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { page(&name, &headers) }),
        )
        .fallback(|| async { nothing_here() })
        .layer(from_fn(move |request, next| protect(request, next, origins.clone(), policy.clone())))
}

/// What a page may not use of the device it is on; it needs none of it (Permissions Policy, W3C).
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), \
                           microphone=(), midi=(), payment=(), publickey-credentials-get=(), screen-wake-lock=(), \
                           serial=(), usb=(), xr-spatial-tracking=()";

/// Refuses what was meant for another name, and says in each answer what a page may do.
async fn protect(request: Request, next: Next, origins: Arc<Origins>, policy: HeaderValue) -> Response {
    let (request, body) = request.into_parts();
    let mut response = match origins.refuse_host(&request) {
        Some(status) => (status, misdirected()).into_response(),
        None => next.run(Request::from_parts(request, body)).await,
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), same_origin.clone());
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), same_origin);
    response
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    // The cluster page has its own address, which not everybody may open.
    match assets::file(name, headers) {
        Some(file) if name != "cluster.html" => file.into_response(),
        _ => nothing_here(),
    }
}

fn nothing_here() -> Response {
    (StatusCode::NOT_FOUND, "There is nothing at this address. The chat is at /, the cluster at /cluster.\n")
        .into_response()
}

const fn misdirected() -> &'static str {
    "This replica does not go by that name. Use its address, such as http://127.0.0.1:5100/, or add the name to \
     `host_names` in its settings.\n"
}

fn foreign() -> Response {
    (StatusCode::FORBIDDEN, "Only the pages of this service may open its sockets.\n").into_response()
}

async fn chat_socket(
    State(web): State<Web>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    Extension(held): Extension<Held>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !web.origins.allow(&headers) {
        return foreign();
    }
    opened(upgrade, held, move |socket| socket::serve(socket, web.service, Origin::of(peer.ip()), web.states))
}

async fn cluster_page(
    State(web): State<Web>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    headers: HeaderMap,
) -> Response {
    if !may_look(web.cluster_page_for_everyone, peer) {
        return shown_to_few();
    }
    assets::file("cluster.html", &headers).map_or_else(nothing_here, IntoResponse::into_response)
}

async fn cluster_socket(
    State(web): State<Web>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    Extension(held): Extension<Held>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !may_look(web.cluster_page_for_everyone, peer) {
        return shown_to_few();
    }
    if !web.origins.allow(&headers) {
        return foreign();
    }
    opened(upgrade, held, move |socket| cluster::serve(socket, web.cluster, web.service))
}

/// Callers on this machine may look; others where the settings say so.
fn may_look(everyone: bool, peer: SocketAddr) -> bool {
    everyone || peer.ip().to_canonical().is_loopback()
}

fn shown_to_few() -> Response {
    let why = "The cluster page is shown on the machine of the replica only; \
               `cluster_page_for_everyone = true` in its settings shows it to everyone.\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// What a socket keeps for reading and for writing, in bytes: many are silent.
const SOCKET_BUFFER: usize = 4 * 1024;

/// Opens a socket with its limits; its connection is counted for as long as it is served.
fn opened<F>(
    upgrade: WebSocketUpgrade,
    held: Held,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    upgrade
        .max_message_size(api::CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(api::CLIENT_MESSAGE_BYTES_MAX)
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .on_upgrade(move |socket| async move {
            let _counted = held;
            serve(socket).await;
        })
}

/// Tells what changes of the service's state, and only that.
async fn follow(service: Service, states: watch::Sender<frames::State>) {
    let mut published = service.gateway.published();
    while published.changed().await.is_ok() {
        let now = state_of(&service);
        states.send_if_modified(|state| {
            let changed = *state != now;
            *state = now;
            changed
        });
    }
}

fn state_of(service: &Service) -> frames::State {
    let state = service.state();
    let primary = state.primary().and_then(|primary| state.addresses.get(usize::from(primary.0)));
    frames::State {
        replica: u32::from(state.replica),
        serving: state.serving,
        beat_every: u32::try_from(LISTENER_BEAT.as_millis()).unwrap_or(u32::MAX),
        primary: primary.cloned(),
        in_sync: state.in_sync().len(),
        sentence: state.service().map(|service| service.to_string()),
        addresses: state.addresses,
        // Set when it is sent: what changes all the time is no news.
        clock: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_page_is_for_this_machine_unless_the_settings_say_otherwise() {
        let cases =
            [("127.0.0.1:9", true), ("[::1]:9", true), ("[::ffff:127.0.0.1]:9", true), ("10.0.0.9:9", false)];
        for (peer, local) in cases {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!((may_look(false, peer), may_look(true, peer)), (local, true), "{peer}");
        }
    }
}
