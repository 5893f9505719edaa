//! The copy of the database from before its log was begun anew: it goes once every replica has been in sync on the new log.

use crate::blocking::blocking;
use crate::published::Published;
use protocol::{ReplicaSet, RoleName, Status, ViewNumber};
use std::path::PathBuf;
use store::remove_before_log;
use tokio::sync::watch;
use tracing::{info, warn};

/// Waits for that moment, and removes the copy that is kept beside the database, if there is one. `known` is the view that was there
/// when this process began: its replicas may still be of the version before.
pub(crate) async fn remove_when_all_in_sync(
    database: PathBuf,
    all: ReplicaSet,
    known: ViewNumber,
    mut published: watch::Receiver<Published>,
) {
    // The driver has ended: the next start has another try.
    if published.wait_for(|published| all_in_sync(&published.status, all, known)).await.is_err() {
        return;
    }
    match blocking(move || remove_before_log(&database)).await {
        Ok(false) => {}
        Ok(true) => info!(
            "all replicas are in sync on the new log: the copy of the database from before it is removed"
        ),
        Err(error) => warn!(%error, "the copy of the database from before its log was begun anew stays"),
    }
}

/// Whether a view that came since has them all in sync.
fn all_in_sync(status: &Status, all: ReplicaSet, known: ViewNumber) -> bool {
    let takes_part = status.serving || status.role == RoleName::Secondary;
    let view = status.view.as_ref().filter(|view| view.number > known);
    takes_part && status.in_sync && view.is_some_and(|view| view.in_sync == all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Incarnation, Op, Position, Proposer, ReplicaIndex, View};

    #[test]
    fn only_a_view_of_this_version_that_has_them_all_counts() {
        let all = ReplicaSet::first(3);
        let two = all.without(ReplicaIndex(1));
        let status = |role, number, in_sync, serving| Status {
            role,
            view: Some(View {
                number: ViewNumber(number),
                members: vec![],
                in_sync,
                op: Op(1),
                proposed_by: Proposer { index: ReplicaIndex(0), incarnation: Incarnation(1), attempt: 1 },
            }),
            position: Position::ORIGIN,
            in_sync: true,
            serving,
            healthy: true,
            able: true,
            waits_for: ReplicaSet::EMPTY,
            after_power_failure: false,
            clock_wrong: false,
            unreachable: ReplicaSet::EMPTY,
            handing_over: false,
        };
        let known = ViewNumber(7);
        let cases = [
            (status(RoleName::Secondary, 8, all, false), true),
            (status(RoleName::Primary, 8, all, true), true),
            (status(RoleName::Primary, 8, all, false), false),
            (status(RoleName::Candidate, 8, all, false), false),
            (status(RoleName::Secondary, 7, all, false), false),
            (status(RoleName::Secondary, 8, two, false), false),
            (Status { in_sync: false, ..status(RoleName::Secondary, 8, all, false) }, false),
            (Status { view: None, ..status(RoleName::Secondary, 8, all, false) }, false),
        ];
        for (status, expected) in cases {
            assert_eq!(all_in_sync(&status, all, known), expected, "{status:?}");
        }
        assert!(all_in_sync(&status(RoleName::Secondary, 1, all, false), all, ViewNumber(0)));
    }
}
