//! How a stream to the primary ends, and what follows from it.

use crate::error::ClientError;
use api::status::{Meaning, meaning};
use std::time::Duration;
use tonic::Status;

/// Why one stream ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The application wants nothing more of it.
    Done,
    /// With a refusal that may pass: the primary is as good as before.
    Refused,
    /// For good.
    Final(ClientError),
    /// The primary is lost, or another one leads: it is looked for.
    Broken(String),
    /// The replica has too much to do: it is asked again after this.
    Busy(Duration),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        match meaning(&status) {
            Meaning::Refused { reason, message, .. } => Self::Final(ClientError::Refused { reason, message }),
            Meaning::Busy { retry_after } => Self::Busy(retry_after),
            // No single message of a stream is meant: what has no answer is sent again, and gets its own.
            Meaning::NotPrimary { .. } | Meaning::Unknown | Meaning::KeptOnFewer(_) => {
                Self::Broken(status.message().to_owned())
            }
        }
    }
}
