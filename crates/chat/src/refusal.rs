//! Refusals: what a person did wrong, in one sentence that says what would be right.

use crate::limits::{
    MESSAGE_BYTES_MAX, NAME_CHARACTERS_MAX, PAGE_MAX, PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN,
    PATTERN_CHARACTERS_MAX,
};
use crate::reason::Reason;
use crate::service_state::ServiceState;
use std::time::Duration;
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
    /// A request with more bytes than any may have.
    #[error("{0}")]
    MessageTooLarge(String),
    /// Something that a request needs is missing or malformed.
    #[error("{0}")]
    Malformed(String),
    /// Not a usable request id.
    #[error("the request id must be a UUIDv7 (16 bytes)")]
    RequestIdInvalid,
    /// A request id that is dated too long ago: its effect, if it had one, may be forgotten.
    #[error(
        "this request was made {} ago by the service's clock, and whether it took effect is not known any more; look, and then make it anew (or this machine's clock is behind: set it right)",
        span(*by)
    )]
    RequestTooOld {
        /// How long before the service's time.
        by: Duration,
    },
    /// A request id that is dated in the future: the clock that it was dated by is wrong.
    #[error("this machine's clock is {} ahead of the service's; set it right, and try again", span(*by))]
    RequestTooEarly {
        /// How far after the service's time.
        by: Duration,
    },
    /// The id of another request.
    #[error("this request id was used for another request; make a new one for each")]
    RequestIdReused,
    /// The name is in use.
    #[error("the name {name:?} is taken; choose another")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name can't be told from that of another account.
    #[error("the name {name:?} looks like that of another account; choose one that can't be mistaken for it")]
    NameLooksTaken {
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
    /// No account of that name.
    #[error("there is no account named {name:?}")]
    NoSuchAccount {
        /// The name.
        name: String,
    },
    /// The account that a message is for is deleted, or never was.
    #[error("the account was deleted; it can't be written to any more")]
    AccountGone,
    /// Fewer replicas in sync than the sender or the operator demands.
    #[error(
        "nothing was changed: reading works, writing does not: {in_sync} of the {wanted} replicas that must hold each message are in sync"
    )]
    TooFewInSync {
        /// How many are.
        in_sync: usize,
        /// How many must be.
        wanted: usize,
    },
    /// The disks have so little room left that nothing is written any more.
    #[error("nothing was changed: {}", ServiceState::DiskFull)]
    DiskFull,
    /// More copies than there are replicas.
    #[error("{wanted} copies were asked for, and there are {replicas} replicas")]
    TooManyCopies {
        /// What was asked for.
        wanted: usize,
        /// How many replicas are configured.
        replicas: usize,
    },
    /// The operator makes the accounts here.
    #[error("new accounts are made by the operator here; ask for one")]
    RegistrationClosed,
    /// The call is for those who prove that they have the cluster's key.
    #[error("digests are for those who prove that they have the cluster's key, as `trialogue verify` does")]
    ClusterKeyNeeded,
    /// More is under way than this replica takes on at a time.
    #[error("this replica has too much to do just now and did nothing; try again in a moment")]
    Busy,
    /// A cursor that does not belong to this history, or lies beyond its end.
    #[error("{}", ServiceState::HistoryReplaced)]
    HistoryReplaced,
}

impl Refusal {
    /// Its reason, for programs.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NameTaken { .. } | Self::NameLooksTaken { .. } => Reason::NameTaken,
            Self::RegistrationClosed => Reason::RegistrationClosed,
            Self::ClusterKeyNeeded => Reason::ClusterKeyNeeded,
            Self::WrongCredentials => Reason::WrongCredentials,
            Self::NotSignedIn => Reason::NotSignedIn,
            Self::SessionInvalid => Reason::SessionInvalid,
            Self::NoSuchAccount { .. } | Self::AccountGone => Reason::NoSuchAccount,
            Self::TooFewInSync { .. } => Reason::TooFewInSync,
            Self::DiskFull => Reason::DiskFull,
            Self::HistoryReplaced => Reason::HistoryReplaced,
            Self::Busy => Reason::Busy,
            Self::MessageTooLarge(_) => Reason::MessageTooLarge,
            Self::RequestIdReused => Reason::RequestIdReused,
            Self::RequestTooOld { .. } | Self::RequestTooEarly { .. } => Reason::RequestIdOutOfDate,
            Self::NameEmpty
            | Self::NameTooLong { .. }
            | Self::NameCharacter { .. }
            | Self::NameMixed
            | Self::PasswordTooShort
            | Self::PasswordTooLong
            | Self::PasswordCharacter
            | Self::TextEmpty
            | Self::TextTooLong { .. }
            | Self::TextCharacter { .. }
            | Self::NotText { .. }
            | Self::PatternTooLong { .. }
            | Self::PatternInvalid { .. }
            | Self::PatternTooCostly
            | Self::Address { .. }
            | Self::PageTooLarge { .. }
            | Self::Malformed(_)
            | Self::RequestIdInvalid
            | Self::TooManyCopies { .. } => Reason::InvalidInput,
        }
    }

    /// Whether the same bytes are refused whenever they come. Every other refusal rests on something that changes (who is
    /// in sync, which accounts there are, a clock), so the same request may be accepted later, and must not land behind
    /// what followed it then.
    pub fn is_for_the_request_alone(&self) -> bool {
        match self.reason() {
            // How many replicas there are may change.
            Reason::InvalidInput => !matches!(self, Self::TooManyCopies { .. }),
            Reason::MessageTooLarge => true,
            Reason::NameTaken
            | Reason::RegistrationClosed
            | Reason::ClusterKeyNeeded
            | Reason::WrongCredentials
            | Reason::NotSignedIn
            | Reason::SessionInvalid
            | Reason::NoSuchAccount
            | Reason::TooFewInSync
            | Reason::DiskFull
            | Reason::HistoryReplaced
            | Reason::Busy
            | Reason::RequestIdReused
            | Reason::RequestIdOutOfDate
            | Reason::Other(_) => false,
        }
    }
}

/// A span as people say it: in its largest unit of which there are two, or one.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_the_unit_that_people_use() {
        let cases = [
            (1, "1 second"),
            (119, "119 seconds"),
            (7_199, "119 minutes"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ];
        for (seconds, said) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), said);
        }
        let ahead = Refusal::RequestTooEarly { by: Duration::from_hours(49) };
        assert!(ahead.to_string().starts_with("this machine's clock is 2 days ahead of the service's;"));
    }
}
