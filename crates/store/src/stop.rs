//! Why a question to the database has no answer.

use crate::error::StoreError;
use chat::Refusal;
use thiserror::Error;

/// Refused, which is the asker's to mend, or failed, which is not: one carrier for both, so that each is passed on with `?`.
#[derive(Debug, Error)]
pub enum Stop<E = StoreError> {
    /// The rules of the chat refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database could not be read.
    #[error(transparent)]
    Failed(E),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Stop<rusqlite::Error> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl<E> Stop<E> {
    /// A refusal as an answer, which a caller may want to look at, beside the failures.
    pub(crate) fn refusal_as_answer<T>(result: Result<T, Self>) -> Result<Result<T, Refusal>, E> {
        match result {
            Ok(answer) => Ok(Ok(answer)),
            Err(Self::Refused(refusal)) => Ok(Err(refusal)),
            Err(Self::Failed(error)) => Err(error),
        }
    }
}
