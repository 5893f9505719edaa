//! Refusals: what a person did wrong, in one sentence that says what would be right.

use crate::limits::{
    MESSAGE_BYTES_MAX, NAME_CHARACTERS_MAX, PAGE_MAX, PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN,
    PATTERN_CHARACTERS_MAX,
};
use crate::service_state::ServiceState;
use thiserror::Error;

/// Why a request was refused. It had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No name at all.
    #[error("the name is empty; give 1 to {NAME_CHARACTERS_MAX} characters")]
    NameEmpty,
    /// Too long a name.
    #[error("the name has {characters} characters; {NAME_CHARACTERS_MAX} are allowed")]
    NameTooLong {
        /// How many it has.
        characters: usize,
    },
    /// A character that names may not have.
    #[error(
        "the name contains {character:?}, which is not allowed; use letters, digits, and signs such as . _ -"
    )]
    NameCharacter {
        /// The first such character.
        character: char,
    },
    /// The characters are allowed, but not together (RFC 8265 §3.3, RFC 5893).
    #[error(
        "the name mixes characters or directions of writing that do not go together; write it in one script"
    )]
    NameMixed,
    /// Too short a password.
    #[error(
        "the password is too short; use {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    )]
    PasswordTooShort,
    /// Too long a password.
    #[error(
        "the password is too long; use {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    )]
    PasswordTooLong,
    /// A character that passwords may not have (RFC 8265 §4.2).
    #[error("the password contains a control character; use letters, digits, signs and spaces")]
    PasswordCharacter,
    /// A message without text.
    #[error("the message is empty; write 1 to {MESSAGE_BYTES_MAX} bytes of text")]
    TextEmpty,
    /// Too long a message.
    #[error("the message has {bytes} bytes; {MESSAGE_BYTES_MAX} are allowed, so send it in parts")]
    TextTooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A control character in a message.
    #[error("the message contains the control character {character:?}; only newlines and tabs are allowed")]
    TextCharacter {
        /// The first such character.
        character: char,
    },
    /// Bytes that are no text.
    #[error("the {what} is not valid UTF-8 text")]
    NotText {
        /// Which input.
        what: &'static str,
    },
    /// Too long a regular expression.
    #[error("the regular expression has {characters} characters; {PATTERN_CHARACTERS_MAX} are allowed")]
    PatternTooLong {
        /// How many it has.
        characters: usize,
    },
    /// A regular expression that does not parse.
    #[error("the regular expression is not valid: {why}")]
    PatternInvalid {
        /// What the parser says, in one line.
        why: String,
    },
    /// A regular expression that would take too much memory or time.
    #[error("the regular expression is too costly; use smaller repetitions")]
    PatternTooCostly,
    /// Not an address.
    #[error("{address:?} is not an address: {why}; write HOST:PORT, such as 127.0.0.1:5100 or [::1]:5100")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A page larger than allowed.
    #[error("a page of {size} is too large; ask for 1 to {PAGE_MAX}")]
    PageTooLarge {
        /// What was asked for.
        size: u64,
    },
    /// Something that a request needs is missing or malformed.
    #[error("{0}")]
    Malformed(String),
    /// Not a usable request id.
    #[error("the request id must be a UUIDv7 (16 bytes)")]
    RequestIdInvalid,
    /// A request id whose effect, if it had one, is forgotten.
    #[error(
        "the request id is dated more than a day away from the server's clock; make a new one, if the first try is known to have failed"
    )]
    RequestIdOutOfDate,
    /// The id of another request.
    #[error("this request id was used for another request; make a new one for each")]
    RequestIdReused,
    /// The name is in use.
    #[error("the name {name:?} is taken; choose another")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No such account, or not that password: which of the two is not told.
    #[error("wrong name or password")]
    WrongCredentials,
    /// No token was given.
    #[error("not signed in; log in first")]
    NotSignedIn,
    /// The token is unknown, expired or revoked.
    #[error("the session is not valid any more; log in again")]
    SessionInvalid,
    /// Nobody of that name.
    #[error("there is no account named {name:?}")]
    NoSuchAccount {
        /// The name.
        name: String,
    },
    /// The account that a message is for is deleted, or never was.
    #[error("the account was deleted; it can't be written to any more")]
    AccountGone,
    /// Fewer replicas in sync than the sender or the operator demands.
    #[error("nothing was changed: {}", ServiceState::ReadOnly { in_sync: *in_sync, wanted: *wanted })]
    TooFewInSync {
        /// How many are.
        in_sync: usize,
        /// How many must be.
        wanted: usize,
    },
    /// More copies than there are replicas.
    #[error("{wanted} copies were asked for, and there are {replicas} replicas")]
    TooManyCopies {
        /// What was asked for.
        wanted: usize,
        /// How many replicas are configured.
        replicas: usize,
    },
    /// More is under way than this replica takes on at a time.
    #[error("this replica has too much to do just now and did nothing; try again in a moment")]
    Busy,
    /// A cursor that does not belong to this history, or lies beyond its end.
    #[error("{}", ServiceState::HistoryReplaced)]
    HistoryReplaced,
}
