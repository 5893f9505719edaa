//! Why a call failed, for whichever door it came through.

use crate::blocking::Full;
use crate::delivery::TooManyStreams;
use chat::{BUSY_RETRY_AFTER, KeptOnFewer, Refusal};
use std::time::Duration;
use store::StoreError;
use thiserror::Error;
use tracing::warn;

/// After how long a call that met a limit may be repeated at the earliest.
const OVER_A_LIMIT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// It was refused, and had no effect.
    #[error(transparent)]
    Refused(Refusal),
    /// It took effect, and fewer replicas hold that than were asked for.
    #[error(transparent)]
    KeptOnFewer(KeptOnFewer),
    /// This replica does not lead, or no longer: the call may have had its effect, and may be repeated at the primary.
    #[error("this replica does not lead; ask the primary")]
    NotPrimary {
        /// Where the primary listens, if this replica knows.
        address: Option<String>,
    },
    /// More is under way than this replica takes on. The call had no effect, and may be repeated here.
    #[error("{why}")]
    Busy {
        /// One sentence for people.
        why: String,
        /// The shortest wait.
        retry_after: Duration,
    },
    /// This replica could not do its work; its log says why.
    #[error("this replica could not do its work; try again")]
    Fault,
}

impl Failure {
    /// Too many wrong passwords: the next attempt may be made after `wait`.
    pub(super) fn too_many_attempts(wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil();
        let why = format!("too many wrong passwords were tried; the next attempt is possible in {seconds} s");
        Self::Busy { why, retry_after: wait }
    }

    /// The same call may be made after `wait`.
    pub(super) fn busy_for(wait: Duration) -> Self {
        Self::Busy { why: Refusal::Busy.to_string(), retry_after: wait }
    }

    /// One more than a limit allows: it may be tried again once others have ended.
    pub(crate) fn over_a_limit(why: String) -> Self {
        Self::Busy { why, retry_after: OVER_A_LIMIT_RETRY_AFTER }
    }

    pub(super) fn of_a_read(error: StoreError) -> Self {
        warn!(%error, "a read failed");
        Self::Fault
    }

    /// The digest of a request covers its kind, so its answer has that kind too.
    pub(super) fn mismatch() -> Self {
        warn!("a request was answered with another kind of answer");
        Self::Fault
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::busy_for(BUSY_RETRY_AFTER),
            refusal => Self::Refused(refusal),
        }
    }
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Refusal::Busy.into()
    }
}

impl From<TooManyStreams> for Failure {
    fn from(too_many: TooManyStreams) -> Self {
        Self::over_a_limit(too_many.to_string())
    }
}
