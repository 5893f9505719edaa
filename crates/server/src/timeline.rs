//! How each view came about, and for how long no replica served before its primary did: what the cluster page shows.

use crate::clock;
use crate::published::Published;
use protocol::ReplicaIndex;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Views that are remembered.
const VIEWS_MAX: usize = 50;

/// A view that this replica has seen come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ViewChange {
    /// Its number.
    pub(crate) view: u64,
    /// Who leads.
    pub(crate) primary: u8,
    /// Who is in sync.
    pub(crate) in_sync: Vec<u8>,
    /// When this replica learned of it, in milliseconds since 1970.
    pub(crate) at: u64,
    /// How long no replica served before, in milliseconds, if this replica can tell: from the last sign of life of the primary
    /// before to the moment when this one, its successor, served.
    pub(crate) unserved_ms: Option<u64>,
}

/// When each peer was last heard, or its connection ended.
#[derive(Debug, Default)]
pub(crate) struct SignsOfLife {
    at: Mutex<Vec<(ReplicaIndex, Instant)>>,
}

impl SignsOfLife {
    /// A peer was heard, or its connection ended, now.
    pub(crate) fn note(&self, peer: ReplicaIndex) {
        let mut all = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match all.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, at)) => *at = now,
            None => all.push((peer, now)),
        }
    }

    fn since(&self, peer: ReplicaIndex) -> Option<u64> {
        let all = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, at) = all.iter().find(|(known, _)| *known == peer)?;
        Some(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Follows what a replica shows for as long as it lives, and tells the views, oldest first.
pub(crate) async fn follow(
    me: ReplicaIndex,
    mut published: watch::Receiver<Published>,
    signs: Arc<SignsOfLife>,
    views: watch::Sender<Vec<ViewChange>>,
) {
    let mut seen = Seen::default();
    loop {
        let now = published.borrow_and_update().status.clone();
        let change = now.view.as_ref().and_then(|view| {
            let in_sync = view.in_sync.iter().map(|index| index.0).collect();
            seen.look(me, view.number.0, view.primary(), in_sync, now.serving, |peer| signs.since(peer))
        });
        if let Some(change) = change {
            views.send_modify(|views| {
                views.retain(|known| known.view != change.view);
                views.push(change);
                if views.len() > VIEWS_MAX {
                    views.remove(0);
                }
            });
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Seen {
    last: Option<ViewChange>,
    /// Who led before.
    before: Option<ReplicaIndex>,
    /// This replica has served ever since the last look.
    serves: bool,
    /// This view's primary, which is this replica, has not served yet.
    awaited: bool,
}

impl Seen {
    /// What is new since the last look.
    fn look(
        &mut self,
        me: ReplicaIndex,
        view: u64,
        primary: ReplicaIndex,
        in_sync: Vec<u8>,
        serving: bool,
        since: impl Fn(ReplicaIndex) -> Option<u64>,
    ) -> Option<ViewChange> {
        let served_before = std::mem::replace(&mut self.serves, serving);
        let is_new = self.last.as_ref().is_none_or(|last| last.view < view);
        if is_new {
            self.before = self.last.as_ref().map(|last| ReplicaIndex(last.primary));
            self.awaited = primary == me;
            let at = clock::wall().0;
            self.last = Some(ViewChange { view, primary: primary.0, in_sync, at, unserved_ms: None });
        }
        let served = serving && std::mem::take(&mut self.awaited);
        if served && let Some(last) = &mut self.last {
            last.unserved_ms = match self.before {
                _ if served_before => Some(0),
                Some(before) if before != me => since(before),
                _ => None,
            };
        }
        (is_new || served).then(|| self.last.clone()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_tells_how_long_no_replica_served() {
        let [other, me, third] = [ReplicaIndex(0), ReplicaIndex(1), ReplicaIndex(2)];
        let mut seen = Seen::default();
        let mut look = |view, primary, serving| {
            let since = |peer| (peer == other).then_some(37);
            seen.look(me, view, primary, vec![0, 1, 2], serving, since)
                .map(|change| (change.view, change.unserved_ms))
        };
        let story = [
            ((1, other, false), Some((1, None)), "the first view that it sees: who knows what was before"),
            ((1, other, false), None, "nothing new"),
            ((2, me, false), Some((2, None)), "it is to lead, and does not serve yet"),
            ((2, me, true), Some((2, Some(37))), "it serves"),
            ((3, me, true), Some((3, Some(0))), "a follower left; it served all the time"),
            ((4, third, false), Some((4, None)), "another's gap is another's to tell"),
            ((5, me, true), Some((5, None)), "nothing was heard of the primary before"),
        ];
        for ((view, primary, serving), expected, why) in story {
            assert_eq!(look(view, primary, serving), expected, "{why}");
        }
    }
}
