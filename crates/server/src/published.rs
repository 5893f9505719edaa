//! What a replica shows of itself: the driver publishes it, and the tasks that report it read it.

use protocol::{HaltReason, Status};

/// What a replica shows to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) status: Status,
    /// What is wrong, in one sentence for people.
    pub(crate) fault: Option<String>,
    /// There is too little room on its disk for what people write.
    pub(crate) disk_full: bool,
    pub(crate) halted: Option<HaltReason>,
}

impl Published {
    /// What keeps this replica from its part, in one sentence with the remedy; nothing if nothing does.
    pub(crate) fn trouble(&self) -> Option<String> {
        let waits_for: Vec<String> = self.status.waits_for.iter().map(|index| index.to_string()).collect();
        let waits = (!waits_for.is_empty()).then(|| {
            let why = if self.status.after_power_failure {
                "after a power failure"
            } else {
                "as it remembers no view"
            };
            format!(
                "{why} it waits, before it leads, for what replica {} still has: start all that were in sync \
                 (if that is gone for good, see: trialogue recover --help)",
                waits_for.join(" and replica ")
            )
        });
        self.halted.map(|reason| reason.to_string()).or_else(|| self.fault.clone()).or(waits)
    }

    /// Whether waiting tasks must be notified of this. The position changes with every batch: a task that needs it reads it.
    pub(crate) fn is_news_after(&self, before: &Self) -> bool {
        let Self { status, fault, disk_full, halted } = self;
        let Status {
            role,
            view,
            position: _,
            in_sync,
            serving,
            healthy,
            able: _,
            waits_for,
            after_power_failure,
            clock_wrong: _,
            unreachable,
            handing_over: _,
        } = status;
        let known = &before.status;
        (role, view, in_sync, serving, healthy, waits_for, after_power_failure, unreachable)
            != (
                &known.role,
                &known.view,
                &known.in_sync,
                &known.serving,
                &known.healthy,
                &known.waits_for,
                &known.after_power_failure,
                &known.unreachable,
            )
            || (fault, disk_full, halted) != (&before.fault, &before.disk_full, &before.halted)
    }
}
