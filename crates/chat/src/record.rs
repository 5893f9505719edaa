//! Records: what an entry of the log carries, a fact with its time and its request, and the one encoding of it.
//!
//! The encoding is protobuf with the number of its format as the first field. It is canonical: a record has one encoding,
//! which is kept as it was received, since the log's chain hashes it. So a record with anything in it that this version does
//! not know is told from one that is damaged, and is never applied in part.

mod answers;
mod facts;
mod outcome;
mod wire;

pub use outcome::Outcome;

use crate::fact::{Fact, RequestMark};
use crate::identity::Millis;
use prost::Message as _;
use std::sync::Arc;
use thiserror::Error;

/// The format of the records that this version writes. One that an older version could not apply as it is meant has a higher
/// number.
pub const RECORD_FORMAT: u32 = 1;

/// Why bytes are not a record to this version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// They are no record.
    #[error("the record is damaged: {0}")]
    Damaged(String),
    /// They are one of a version that is newer than this one.
    #[error("a newer version of the program wrote the record: {0}")]
    Newer(String),
}

/// A record. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    content: Arc<Content>,
    encoded: Arc<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    at: Millis,
    request: Option<RequestMark>,
    fact: Fact,
}

impl Record {
    /// A new fact, encoded once.
    pub fn new(at: Millis, request: Option<RequestMark>, fact: Fact) -> Self {
        let content = Content { at, request, fact };
        let encoded = wire::Record::of(&content).encode_to_vec();
        Self { content: Arc::new(content), encoded: encoded.into() }
    }

    /// A record from its encoding, which it keeps as it is.
    ///
    /// # Errors
    /// If it is damaged, or a newer version wrote it: with a higher format, or with a part that this version does not know.
    pub fn decode(encoded: &[u8]) -> Result<Self, RecordError> {
        let unreadable = |error: prost::DecodeError| RecordError::Damaged(error.to_string());
        // What is behind a higher number may not be readable at all.
        match wire::Header::decode(encoded).map_err(unreadable)?.format {
            RECORD_FORMAT => {}
            0 => return Err(RecordError::Damaged("it has no format".into())),
            format => {
                let known = format!("it has format {format}, and this one knows {RECORD_FORMAT}");
                return Err(RecordError::Newer(known));
            }
        }
        let wire = wire::Record::decode(encoded).map_err(unreadable)?;
        if wire.encode_to_vec() != encoded {
            return Err(RecordError::Newer("it has a part that this one does not know".into()));
        }
        Ok(Self { content: Arc::new(wire.read()?), encoded: encoded.into() })
    }

    /// When it happened, by the primary's clock; never before the entry before it.
    pub fn at(&self) -> Millis {
        self.content.at
    }

    /// The request that led to it.
    pub fn request(&self) -> Option<&RequestMark> {
        self.content.request.as_ref()
    }

    /// What happened.
    pub fn fact(&self) -> &Fact {
        &self.content.fact
    }
}

impl protocol::Record for Record {
    fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl wire::Record {
    fn of(content: &Content) -> Self {
        Self {
            format: RECORD_FORMAT,
            at: content.at.0,
            request: content.request.as_ref().map(answers::write),
            fact: Some(facts::write(&content.fact)),
        }
    }

    fn read(self) -> Result<Content, RecordError> {
        let fact = self.fact.ok_or_else(|| RecordError::Damaged("it has no fact".into()))?;
        let request = self.request.map(answers::read).transpose()?;
        Ok(Content { at: Millis(self.at), request, fact: facts::read(fact)? })
    }
}

/// Bytes of a known length.
fn exactly<const LENGTH: usize>(what: &str, bytes: Vec<u8>) -> Result<[u8; LENGTH], RecordError> {
    bytes.try_into().map_err(|_| RecordError::Damaged(format!("{what} does not have {LENGTH} bytes")))
}

#[cfg(test)]
mod tests;
