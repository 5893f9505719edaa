//! What a call can come to, besides success.

use api::status::Kept;
use chat::{Reason, ServiceState};
use std::time::Duration;
use thiserror::Error;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// It was refused and had no effect.
    #[error("{message}")]
    Refused {
        /// For programs.
        reason: Reason,
        /// One sentence for people.
        message: String,
    },
    /// It took effect, and fewer replicas hold that than were asked for. The same request id asks again.
    #[error("{message}")]
    KeptOnFewer {
        /// How many replicas hold it.
        copies: u32,
        /// How many replicas there are.
        replicas: u32,
        /// One sentence for people.
        message: String,
    },
    /// No replica served within the time allowed. What was to be changed may or may not have been.
    #[error("{} (none of {servers} within {within:?}: {last})", ServiceState::NobodyServes)]
    NobodyServed {
        /// The time allowed.
        within: Duration,
        /// What the last attempt met.
        last: String,
        /// Where it was looked for.
        servers: String,
    },
    /// The outbox was closed before this message was answered; it may or may not have been sent.
    #[error("the message was not answered before sending ended")]
    Abandoned,
}

impl From<Kept> for ClientError {
    fn from(Kept { copies, replicas, message }: Kept) -> Self {
        Self::KeptOnFewer { copies, replicas, message }
    }
}

impl ClientError {
    /// Whether it was refused for this reason.
    pub fn is_refused_for(&self, wanted: &Reason) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason == wanted)
    }
}
