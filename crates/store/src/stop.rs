//! Why a question to the database has no answer.

use crate::error::StoreError;
use chat::Refusal;
use thiserror::Error;

/// Refused, which is the asker's to mend, or failed, which is not: one carrier for both, so that each is passed on with `?`.
#[derive(Debug, Error)]
pub enum Stop {
    /// The rules of the chat refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database could not be read.
    #[error(transparent)]
    Failed(#[from] StoreError),
}
