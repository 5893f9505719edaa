//! Newtypes for the numbers of a chat.

use crate::refusal::Refusal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// An account's number: the op of the entry that created it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId(pub u64);

/// A message's number: the op of its entry, so it grows strictly over the whole chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MessageId(pub u64);

/// A session's number: the op of the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// The identity of a history, drawn at the first start and again whenever entries may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HistoryId(pub Uuid);

/// How far a listener has seen: a place in one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The history that `after` belongs to; `None` where the asker does not know it.
    pub history: Option<HistoryId>,
    /// The last message seen.
    pub after: MessageId,
}

impl Cursor {
    /// Reads the 16 bytes of a history's identity; no bytes stand for a history that the asker does not know.
    pub fn parse(history: &[u8], after: u64) -> Result<Self, Refusal> {
        let history = match history {
            [] => None,
            bytes => {
                let wrong = |_| Refusal::Malformed("a cursor's history has 16 bytes".into());
                Some(HistoryId(Uuid::from_slice(bytes).map_err(wrong)?))
            }
        };
        Ok(Self { history, after: MessageId(after) })
    }
}

/// SHA-256 of a session token: what is stored, so that a stolen database opens no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// What is stored of a token, as clients send it.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// A session token, encrypted under a key that is computed from the password of its login and is kept nowhere: what a
/// login's retry is answered from. In base64url: salt, then ciphertext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedToken(pub String);

impl fmt::Debug for SealedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedToken(…)")
    }
}

/// Names one mutating call, chosen by its client: a `UUIDv7`, so that it carries its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// Reads the 16 bytes of a `UUIDv7`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let id = Uuid::from_slice(bytes).map(Self).map_err(|_| Refusal::RequestIdInvalid)?;
        id.dated().map(|_| id).ok_or(Refusal::RequestIdInvalid)
    }

    /// The date in the id; `None` if it is not a `UUIDv7`.
    pub fn dated(self) -> Option<Millis> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(Millis(seconds.saturating_mul(1000).saturating_add(u64::from(nanos) / 1_000_000)))
    }
}

impl RequestId {
    /// The lowest id of that date: every id dated earlier is lower, every other one is not.
    pub fn first_dated(date: Millis) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&date.0.to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }
}

/// Wall-clock time: milliseconds since 1970 (UTC). For people and for expiry, never for the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// The time that `time` stands for, 0 if it lies before 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// That much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// That much earlier, at the earliest 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
