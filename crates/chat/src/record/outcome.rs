//! Outcomes: what is kept of a request beside its id, so that its retry is answered as it was.

use super::answers::{read_answer, write_answer};
use super::{RecordError, wire};
use crate::fact::RequestMark;
use crate::password::PasswordHash;
use crate::request::Answer;
use prost::Message as _;

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it was answered.
    pub answer: Answer,
    /// What its passwords were, in the order of [`crate::Action::passwords`].
    pub passwords: Vec<PasswordHash>,
}

impl Outcome {
    /// That of a request.
    pub fn of(mark: &RequestMark) -> Self {
        Self { answer: mark.answer.clone(), passwords: mark.passwords.clone() }
    }

    /// As bytes: the fields that a record's request has for it, with the same numbers.
    pub fn encode(&self) -> Vec<u8> {
        let passwords = self.passwords.iter().map(|password| password.0.clone()).collect();
        wire::Outcome { passwords, answer: Some(write_answer(&self.answer)) }.encode_to_vec()
    }

    /// From its encoding.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if it is none.
    pub fn decode(encoded: &[u8]) -> Result<Self, RecordError> {
        let damaged = |why: String| RecordError::Damaged(why);
        let wire = wire::Outcome::decode(encoded).map_err(|error| damaged(error.to_string()))?;
        let answer = wire.answer.ok_or_else(|| damaged("a request has no answer".into()))?;
        let passwords = wire.passwords.into_iter().map(PasswordHash).collect();
        Ok(Self { answer: read_answer(answer), passwords })
    }
}
