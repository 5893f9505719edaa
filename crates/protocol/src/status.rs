//! What a replica looks like from outside.

use crate::identity::ReplicaSet;
use crate::log::{Position, Record};
use crate::note::HaltReason;
use crate::replica::{Replica, Role};
use crate::time::Time;
use crate::view::View;

/// The name of a role, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Has not read the view register yet, or waits for a first start.
    Starting,
    /// Logs what the primary sends, and applies what is committed.
    Secondary,
    /// Stands for primary.
    Candidate,
    /// Leads a view.
    Primary,
    /// Refuses to go on; see the reason.
    Halted(HaltReason),
}

impl RoleName {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Secondary => "secondary",
            Self::Candidate => "candidate",
            Self::Primary => "primary",
            Self::Halted(_) => "halted",
        }
    }
}

/// What a replica looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may go with any other"
)]
pub struct Status {
    /// Its role.
    pub role: RoleName,
    /// The newest view it knows.
    pub view: Option<View>,
    /// Where its durable log ends.
    pub position: Position,
    /// Whether it holds every acknowledged entry, durably, as far as it knows.
    pub in_sync: bool,
    /// Whether it takes requests.
    pub serving: bool,
    /// Whether it may lead: not if its store is not sound, is stuck or was so lately, or its clock is wrong.
    pub healthy: bool,
    /// Whether another may leave the lead to it: it is fit, has nothing to wait for, and has not halted.
    pub able: bool,
    /// Who must show what it has before this replica leads: after a power failure, or because its database remembers no view.
    pub waits_for: ReplicaSet,
    /// Whether a power failure is a reason to wait.
    pub after_power_failure: bool,
    /// Whether its wall clock is wrong by the word of two others.
    pub clock_wrong: bool,
    /// Of a primary: the others that it has no stream with.
    pub unreachable: ReplicaSet,
    /// Whether it is to leave the lead of the newest view to another that is better off, which does not lead yet.
    pub handing_over: bool,
}

impl<R: Record> Replica<R> {
    /// What this replica looks like from outside.
    pub fn status(&self, now: Time) -> Status {
        let role = match &self.role {
            Role::Starting(_) => RoleName::Starting,
            Role::Secondary(_) => RoleName::Secondary,
            Role::Takeover(_) => RoleName::Candidate,
            Role::Primary(_) => RoleName::Primary,
            Role::Halted(reason) => RoleName::Halted(*reason),
        };
        Status {
            role,
            view: self.common.view.clone(),
            position: self.common.logged,
            in_sync: self.common.in_sync() && self.common.store.is_sound(),
            serving: matches!(&self.role, Role::Primary(primary) if primary.serving()),
            healthy: self.common.healthy(now),
            able: self.common.healthy(now)
                && self.common.waits_for().is_empty()
                && !matches!(&self.role, Role::Halted(_)),
            waits_for: self.common.waits_for(),
            after_power_failure: self.common.doubts_after_power_failure(),
            clock_wrong: self.common.clock_wrong(),
            unreachable: match &self.role {
                Role::Primary(_) => {
                    self.common.all.without(self.common.me).difference(self.common.connected())
                }
                _ => ReplicaSet::EMPTY,
            },
            handing_over: self.common.hands_over(),
        }
    }
}
