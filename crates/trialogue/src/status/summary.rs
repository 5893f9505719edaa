//! What the words of all replicas, put beside each other, say of the service.

use api::service_state;
use api::v1::HeartbeatResponse;
use client::ReplicaView;
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Clocks that are further apart than this are worth a word.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(2);

/// The service, by the newest view that any replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ClusterSummary {
    pub(crate) view: u64,
    pub(crate) primary: Option<u32>,
    pub(crate) in_sync: Vec<u32>,
    /// Whether any replica serves.
    pub(crate) serving: bool,
    /// How the service is doing, in one sentence.
    pub(crate) state: String,
    /// How far the wall clocks are apart, in seconds, if that is worth a word.
    pub(crate) clocks_apart_s: Option<u64>,
    /// For how long no replica served before the view, if its primary can tell.
    pub(crate) unserved_ms: Option<u64>,
    /// By index.
    pub(crate) replicas: Vec<ReplicaSummary>,
}

/// One replica; what only it can tell is missing while it does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReplicaSummary {
    pub(crate) index: usize,
    pub(crate) address: String,
    pub(crate) alive: bool,
    pub(crate) role: Option<String>,
    pub(crate) view: Option<u64>,
    pub(crate) op: Option<u64>,
    /// How many ops it is behind the one that is ahead of all.
    pub(crate) lag: Option<u64>,
    pub(crate) chain: Option<String>,
    pub(crate) messages: Option<u64>,
    pub(crate) pid: Option<u32>,
    /// By the newest view.
    pub(crate) in_sync: bool,
    pub(crate) fault: Option<String>,
}

impl ClusterSummary {
    pub(crate) fn of(replicas: &[ReplicaView]) -> Self {
        let said = || replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
        let newest = said().max_by_key(|heartbeat| heartbeat.view);
        let in_sync = newest.map(|newest| newest.in_sync.clone()).unwrap_or_default();
        let head = said().map(|said| said.op).max().unwrap_or(0);
        let each =
            (0..).zip(replicas).map(|(index, replica)| ReplicaSummary::of(index, replica, head, &in_sync));
        Self {
            view: newest.map_or(0, |newest| newest.view),
            primary: newest.and_then(|newest| newest.primary),
            serving: said().any(|said| said.serving),
            state: state(replicas),
            clocks_apart_s: clocks_apart(replicas).map(|apart| apart.as_secs()),
            unserved_ms: newest.and_then(|newest| unserved_before(replicas, newest.view)),
            replicas: each.collect(),
            in_sync,
        }
    }

    /// The index of the primary of the newest view.
    pub(crate) fn primary(&self) -> Option<usize> {
        usize::try_from(self.primary?).ok()
    }

    /// Whether all replicas are in sync, and one serves.
    pub(crate) fn all_in_sync(&self) -> bool {
        self.serving && self.in_sync.len() == self.replicas.len()
    }

    /// For scripts.
    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).expect("its keys are texts")
    }
}

impl ReplicaSummary {
    fn of(index: usize, replica: &ReplicaView, head: u64, in_sync: &[u32]) -> Self {
        let said = replica.heartbeat.as_ref();
        Self {
            index,
            address: replica.address.to_string(),
            alive: said.is_some(),
            role: said.map(|said| said.role.clone()),
            view: said.map(|said| said.view),
            op: said.map(|said| said.op),
            lag: said.map(|said| head.saturating_sub(said.op)),
            chain: said.map(|said| HEXLOWER.encode(&said.chain)),
            messages: said.map(|said| said.messages),
            pid: said.map(|said| said.pid),
            in_sync: u32::try_from(index).is_ok_and(|index| in_sync.contains(&index)),
            fault: said.map(|said| said.fault.clone()).filter(|fault| !fault.is_empty()),
        }
    }
}

/// How the service is doing, in one sentence: by the word of the replica that serves, and by which of them answer.
fn state(replicas: &[ReplicaView]) -> String {
    let said = || replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    let down = (0..).zip(replicas).filter(|(_, replica)| replica.heartbeat.is_none()).map(|(index, _)| index);
    let down: Vec<u32> = down.collect();
    match said().filter(|said| said.serving).max_by_key(|said| said.view) {
        Some(serving) => {
            let unreachable = if down.is_empty() { serving.unreachable.clone() } else { down };
            service_state(&HeartbeatResponse { unreachable, ..serving.clone() }).to_string()
        }
        None if down.is_empty() => {
            "nobody serves: nothing can be read or sent; no replica is down: if this lasts, their lines say what they \
             wait for"
                .to_owned()
        }
        None => "nobody serves: nothing can be read or sent; start what is down".to_owned(),
    }
}

/// How far the wall clocks of the replicas are apart, if that is more than it takes to ask them.
pub(super) fn clocks_apart(replicas: &[ReplicaView]) -> Option<Duration> {
    let said = replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    let clocks = said.map(|said| said.wall_clock).filter(|clock| *clock > 0);
    let (first, last) =
        clocks.fold((u64::MAX, 0), |(first, last), clock| (first.min(clock), last.max(clock)));
    Some(Duration::from_millis(last.saturating_sub(first))).filter(|apart| *apart > CLOCKS_APART_MAX)
}

/// For how long no replica served before a view, if its primary can tell.
fn unserved_before(replicas: &[ReplicaView], view: u64) -> Option<u64> {
    let said = replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    said.filter(|said| said.view == view).find_map(|said| said.unserved_ms)
}
