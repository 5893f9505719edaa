//! Conversations: what messages belong to.
//!
//! A direct conversation has two members, or one, where an account writes to itself. Its id is a pure function of the accounts, so
//! that none has to be opened, looked up or remembered. A room will be named by the op of the entry that opens it, and
//! one bit, the highest, tells the two apart: ops have 63 bits.

use crate::identity::AccountId;
use std::fmt;
use thiserror::Error;

/// The bit that is set in the id of a room, and in no other.
const ROOM: u8 = 0x80;

/// Which conversation: 16 bytes, ordered as bytes. Of a direct one they are the numbers of the two accounts, the lower one
/// first, each in 8 bytes, the highest byte first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId([u8; 16]);

/// Why bytes are not the id of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConversationIdError {
    /// They name a room.
    #[error("it is a room, of which only newer versions of the program know")]
    Room,
    /// They name nothing.
    #[error("it names no two accounts")]
    Malformed,
}

impl ConversationId {
    /// The conversation between two accounts, or of one with itself. Both are accounts that there are or were.
    pub const fn direct(one: AccountId, other: AccountId) -> Self {
        let (lower, higher) = if one.0 <= other.0 { (one.0, other.0) } else { (other.0, one.0) };
        Self((((lower as u128) << 64) | higher as u128).to_be_bytes())
    }

    /// The id that is written as these bytes.
    ///
    /// # Errors
    /// If they are not the id of a direct conversation.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, ConversationIdError> {
        if bytes[0] & ROOM != 0 {
            return Err(ConversationIdError::Room);
        }
        let (lower, higher) = halves(bytes);
        if lower == 0 || lower > higher || higher > i64::MAX.cast_unsigned() {
            return Err(ConversationIdError::Malformed);
        }
        Ok(Self(bytes))
    }

    /// The id as bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The two sides of a direct conversation, the lower number first; twice the same, if an account writes to itself.
    pub fn parties(self) -> Option<(AccountId, AccountId)> {
        let (lower, higher) = halves(self.0);
        (self.0[0] & ROOM == 0).then_some((AccountId(lower), AccountId(higher)))
    }

    /// The other side of a direct conversation, which is the account itself where it writes to itself; `None` if it is
    /// not a side of it.
    pub fn other_than(self, account: AccountId) -> Option<AccountId> {
        match self.parties()? {
            (one, other) if one == account => Some(other),
            (one, other) if other == account => Some(one),
            _ => None,
        }
    }
}

/// The two numbers in an id.
fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let all = u128::from_be_bytes(bytes);
    let low = all & u128::from(u64::MAX);
    let half = |number: u128| u64::try_from(number).expect("half of 128 bits");
    (half(all >> 64), half(low))
}

/// All 32 hexadecimal digits.
impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(lower: u64, higher: u64) -> [u8; 16] {
        ((u128::from(lower) << 64) | u128::from(higher)).to_be_bytes()
    }

    #[test]
    fn what_is_no_direct_conversation_is_refused() {
        let room = 1 << 63;
        let highest = i64::MAX.cast_unsigned();
        let cases = [
            (bytes(2, 3), None),
            (bytes(2, 2), None),
            (bytes(highest, highest), None),
            (bytes(3, 2), Some(ConversationIdError::Malformed)),
            (bytes(0, 0), Some(ConversationIdError::Malformed)),
            (bytes(0, 7), Some(ConversationIdError::Malformed)),
            (bytes(7, room), Some(ConversationIdError::Malformed)),
            (bytes(room | 7, 0), Some(ConversationIdError::Room)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ConversationId::from_bytes(bytes).err(), expected, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn a_direct_conversation_is_the_same_from_both_sides(one in 1..=i64::MAX, other in 1..=i64::MAX, third in 1..=i64::MAX) {
            let [one, other, third] = [one, other, third].map(|id| AccountId(id.cast_unsigned()));
            let id = ConversationId::direct(one, other);
            prop_assert_eq!(id, ConversationId::direct(other, one));
            prop_assert_eq!(id.parties(), Some((one.min(other), one.max(other))));
            prop_assert_eq!((id.other_than(one), id.other_than(other)), (Some(other), Some(one)));
            prop_assert_eq!(ConversationId::from_bytes(*id.as_bytes()), Ok(id));
            prop_assert_eq!(id.to_string(), format!("{:016x}{:016x}", one.0.min(other.0), one.0.max(other.0)));
            prop_assert!(third == one || third == other || id.other_than(third).is_none());
            let alone = ConversationId::direct(third, third);
            prop_assert_eq!((alone.parties(), alone.other_than(third)), (Some((third, third)), Some(third)));
            prop_assert_eq!(id < alone, (one.min(other), one.max(other)) < (third, third), "ordered as numbers");
        }
    }
}
