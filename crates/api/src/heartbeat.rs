//! What a primary says of the service, as a state of it.

use crate::v1::HeartbeatResponse;
use chat::{Replication, ServiceState};

/// How the service is doing by the word of the replica that serves.
pub fn service_state(said: &HeartbeatResponse) -> ServiceState {
    ServiceState::of(Replication {
        in_sync: said.in_sync.len(),
        replicas: said.addresses.len(),
        min_in_sync: usize::try_from(said.min_in_sync).unwrap_or(usize::MAX),
        unreachable: said.unreachable.len(),
        disk_full: said.disk_full,
    })
}
