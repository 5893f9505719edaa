//! How this replica is doing, as it tells everyone who asks.

use super::Service;
use crate::clock;
use crate::proof::ClusterId;
use crate::published::Published;
use chat::{Millis, Replication, ServiceState};
use protocol::{Position, ReplicaIndex, ReplicaSet, RoleName, View};
use std::time::Duration;
use tokio::time::timeout;

/// For as long as this a caller may wait to hear who serves, at most.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// This many callers may wait at a time.
pub(crate) const WAITING_MAX: usize = 4096;

/// How a replica is doing.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) replica: u8,
    pub(crate) role: RoleName,
    /// The newest view that it knows.
    pub(crate) view: Option<View>,
    /// Whether it takes requests.
    pub(crate) serving: bool,
    /// Where its log ends.
    pub(crate) position: Position,
    /// What keeps it from its part, in one sentence with the remedy.
    pub(crate) trouble: Option<String>,
    /// Where each replica listens, by index.
    pub(crate) addresses: Vec<String>,
    pub(crate) min_in_sync: usize,
    /// Messages that it has acknowledged to their senders since it was started.
    pub(crate) messages: u64,
    pub(crate) cluster_id: ClusterId,
    /// For how long no replica served before its view, in milliseconds, if it can tell.
    pub(crate) unserved_ms: Option<u64>,
    pub(crate) wall_clock: Millis,
    /// Of a primary: the others that it has no stream with.
    pub(crate) unreachable: ReplicaSet,
    pub(crate) disk_full: bool,
}

impl State {
    /// The number of the newest view; 0 if it knows none.
    pub(crate) fn view_number(&self) -> u64 {
        self.view.as_ref().map_or(0, |view| view.number.0)
    }

    pub(crate) fn primary(&self) -> Option<ReplicaIndex> {
        self.view.as_ref().map(View::primary)
    }

    pub(crate) fn in_sync(&self) -> ReplicaSet {
        self.view.as_ref().map_or(ReplicaSet::EMPTY, |view| view.in_sync)
    }

    /// How the service is doing, if this replica serves.
    pub(crate) fn service(&self) -> Option<ServiceState> {
        self.serving.then(|| {
            ServiceState::of(Replication {
                in_sync: self.in_sync().len(),
                replicas: self.addresses.len(),
                min_in_sync: self.min_in_sync,
                unreachable: self.unreachable.len(),
                disk_full: self.disk_full,
            })
        })
    }
}

impl Service {
    /// How this replica is doing now.
    pub(crate) fn state(&self) -> State {
        let published = self.gateway.published().borrow().clone();
        let trouble = published.trouble();
        let status = published.status;
        State {
            replica: self.index,
            role: status.role,
            serving: status.serving,
            position: status.position,
            trouble,
            addresses: self.gateway.addresses().iter().map(ToString::to_string).collect(),
            min_in_sync: self.settings.limits.min_in_sync,
            messages: self.delivery.messages(),
            cluster_id: self.key.cluster_id(),
            unserved_ms: status.view.as_ref().and_then(|view| self.unserved_before(view.number.0)),
            wall_clock: clock::wall(),
            unreachable: status.unreachable,
            disk_full: published.disk_full,
            view: status.view,
        }
    }

    /// Waits until this replica serves, or knows of a view above that one which another replica leads; no longer than that, and than
    /// [`WAIT_MAX`], and not at all where [`WAITING_MAX`] callers wait already.
    pub(crate) async fn until_there_is_news(&self, wait: Duration, known_view: u64) {
        let Ok(_waiting) = self.waiting.try_acquire() else { return };
        let is_news = |published: &Published| {
            let view = published.status.view.as_ref();
            let led_by_another = view.is_some_and(|view| {
                view.number.0 > known_view && usize::from(view.primary().0) != usize::from(self.index)
            });
            published.status.serving || led_by_another
        };
        // Whatever ends it, what is known then is the answer.
        let _ = timeout(wait.min(WAIT_MAX), self.gateway.published().wait_for(is_news)).await;
    }

    fn unserved_before(&self, view: u64) -> Option<u64> {
        self.views.borrow().iter().rfind(|known| known.view == view)?.unserved_ms
    }
}
