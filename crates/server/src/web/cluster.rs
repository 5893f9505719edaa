//! How this replica stands, for the cluster page: pushed as it changes.

use super::socket::{text, write};
use crate::delivery::Delivery;
use crate::gateway::{Gateway, Published};
use crate::timeline::ViewChange;
use axum::extract::ws::{Message, WebSocket};
use chat::ServiceState;
use futures_util::StreamExt;
use protocol::{ReplicaIndex, RoleName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often the picture is drawn anew for whoever looks.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// What a replica says on `/cluster/socket`; the page asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterSay {
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
    pub(crate) replica: u8,
    /// Its role: `starting`, `secondary`, `candidate`, `primary` or `halted`.
    pub(crate) role: String,
    /// The newest view that it knows; 0 if none.
    pub(crate) view: u64,
    /// Who leads in that view.
    pub(crate) primary: Option<u8>,
    /// Who is in sync in that view.
    pub(crate) in_sync: Vec<u8>,
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

/// What the picture of a replica is drawn from.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) index: ReplicaIndex,
    pub(super) gateway: Arc<Gateway>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) min_in_sync: usize,
}

impl Drawn {
    fn picture(&self) -> Picture {
        let published = self.gateway.published().borrow().clone();
        let status = &published.status;
        let view = status.view.as_ref();
        let in_sync: Vec<u8> =
            view.map(|view| view.in_sync.iter().map(|index| index.0).collect()).unwrap_or_default();
        let state = ServiceState::of(in_sync.len(), self.gateway.addresses().len(), self.min_in_sync);
        Picture {
            replica: self.index.0,
            role: role_name(status.role).into(),
            view: view.map_or(0, |view| view.number.0),
            primary: view.map(|view| view.primary().0),
            in_sync,
            serving: status.serving,
            op: status.position.op.0,
            messages: self.delivery.messages(),
            fault: published.halted.map(|reason| reason.to_string()).or(published.fault),
            sentence: status.serving.then(|| state.to_string()),
        }
    }
}

/// A role, in a word.
pub(crate) const fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Starting => "starting",
        RoleName::Secondary => "secondary",
        RoleName::Candidate => "candidate",
        RoleName::Primary => "primary",
        RoleName::Halted(_) => "halted",
    }
}

/// Shows how the replica stands to one page until it goes away.
pub(super) async fn serve(
    socket: WebSocket,
    cluster: Cluster,
    drawn: Drawn,
    mut views: watch::Receiver<Vec<ViewChange>>,
) {
    let (mut page, mut frames) = socket.split();
    let mut every = interval(DRAW_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = drawn.gateway.published();
    let mut shown = (0, false);
    let mut next = Some(ClusterSay::Cluster(cluster));
    views.mark_changed();
    loop {
        if let Some(next) = next
            && write(&mut page, text(&next)).await.is_err()
        {
            return;
        }
        let changed = async { published.wait_for(|published| outline(published) != shown).await.is_ok() };
        next = tokio::select! {
            Ok(()) = views.changed() => Some(ClusterSay::Views(views.borrow_and_update().clone())),
            true = changed => Some(ClusterSay::Replica(drawn.picture())),
            _ = every.tick() => Some(ClusterSay::Replica(drawn.picture())),
            frame = frames.next() => match frame {
                // A page has nothing to say here.
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => None,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if let Some(ClusterSay::Replica(picture)) = &next {
            shown = (picture.view, picture.serving);
        }
    }
}

/// What is shown at once when it changes: the view, and whether this replica serves.
fn outline(published: &Published) -> (u64, bool) {
    let status = &published.status;
    (status.view.as_ref().map_or(0, |view| view.number.0), status.serving)
}
