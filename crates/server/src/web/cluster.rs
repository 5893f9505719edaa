//! How this replica stands, for the cluster page: pushed as it changes.

use super::socket::{text, write};
use crate::published::Published;
use crate::service::{Service, State};
use crate::timeline::ViewChange;
use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the picture is drawn anew while a page shows it.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What a replica says on `/cluster/socket`; the page asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterFrame {
    /// The first frame.
    Cluster(Cluster),
    /// How this replica stands: at least ten times a second, and at once when its view changes or it begins or ceases to
    /// serve.
    Replica(Picture),
    /// The latest views that this replica has seen come, oldest first: when it connects, and when one comes.
    Views(Vec<ViewChange>),
}

/// Where everybody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Cluster {
    /// Where every replica listens, by index.
    pub(crate) addresses: Vec<String>,
    /// Where the replicas can be killed, paused and started again, if this is a playground.
    pub(crate) playground: Option<String>,
}

/// How a replica stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Picture {
    /// The index of this replica.
    pub(crate) replica: u32,
    /// Its role: `starting`, `secondary`, `candidate`, `primary` or `halted`.
    pub(crate) role: String,
    /// The newest view that it knows; 0 if none.
    pub(crate) view: u64,
    /// Who leads in that view.
    pub(crate) primary: Option<u32>,
    /// Who is in sync in that view.
    pub(crate) in_sync: Vec<u32>,
    /// Whether it takes requests.
    pub(crate) serving: bool,
    /// Where its log ends.
    pub(crate) op: u64,
    /// Messages that it has acknowledged since it was started: it counts while it leads.
    pub(crate) messages: u64,
    /// What is wrong with it.
    pub(crate) fault: Option<String>,
    /// How the service is doing, in one sentence, if this replica serves.
    pub(crate) sentence: Option<String>,
}

impl From<State> for Picture {
    fn from(state: State) -> Self {
        Self {
            replica: u32::from(state.replica),
            role: state.role.as_str().to_owned(),
            view: state.view_number(),
            primary: state.primary().map(|primary| u32::from(primary.0)),
            in_sync: state.in_sync().iter().map(|index| u32::from(index.0)).collect(),
            serving: state.serving,
            op: state.position.op.0,
            messages: state.messages,
            sentence: state.service().map(|service| service.to_string()),
            fault: state.trouble,
        }
    }
}

/// Shows how the replica stands to one page until it goes away.
pub(super) async fn serve(socket: WebSocket, cluster: Cluster, service: Service) {
    let (mut page, mut frames) = socket.split();
    let mut every = interval(DRAW_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = service.gateway.published();
    let mut views = service.views.clone();
    let mut shown = (0, false);
    let mut next = Some(ClusterFrame::Cluster(cluster));
    views.mark_changed();
    loop {
        if let Some(next) = next
            && write(&mut page, text(&next)).await.is_err()
        {
            return;
        }
        let changed = async { published.wait_for(|published| outline(published) != shown).await.is_ok() };
        next = tokio::select! {
            Ok(()) = views.changed() => Some(ClusterFrame::Views(views.borrow_and_update().clone())),
            true = changed => Some(ClusterFrame::Replica(service.state().into())),
            _ = every.tick() => Some(ClusterFrame::Replica(service.state().into())),
            frame = frames.next() => match frame {
                // A page has nothing to say here.
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => None,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if let Some(ClusterFrame::Replica(picture)) = &next {
            shown = (picture.view, picture.serving);
        }
    }
}

/// What is shown at once when it changes: the view, and whether this replica serves.
fn outline(published: &Published) -> (u64, bool) {
    let status = &published.status;
    (status.view.as_ref().map_or(0, |view| view.number.0), status.serving)
}
