//! Why something was refused, as one word for programs.

use strum::{Display, EnumString};

/// The reason of a refusal. On the wire it is its name in capitals, such as `NAME_TAKEN`; for people there is the
/// refusal's sentence.
#[derive(Clone, Debug, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Another account has the name, or one that can't be told from it.
    NameTaken,
    /// The operator makes the accounts here.
    RegistrationClosed,
    /// The call is for those who prove that they have the cluster's key.
    ClusterKeyNeeded,
    /// No such account, or not that password.
    WrongCredentials,
    /// No token was given.
    NotSignedIn,
    /// The session is unknown, expired or revoked.
    SessionInvalid,
    /// The account does not exist (any more).
    NoSuchAccount,
    /// Too few replicas are in sync for what was asked.
    TooFewInSync,
    /// The disk has too little room for a write.
    DiskFull,
    /// The history was lost or replaced since a cursor was given.
    HistoryReplaced,
    /// More is under way than the replica takes on; nothing was done, and the same call may be repeated a little later.
    Busy,
    /// A request or an answer is larger than a message may be; repeating it can't help.
    MessageTooLarge,
    /// The request id was used for another request.
    RequestIdReused,
    /// The date of the request id is too far from the service's clock.
    RequestIdOutOfDate,
    /// The request itself is not allowed, whenever it is made.
    InvalidInput,
    /// What a service of another version says.
    #[strum(default)]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_word_that_clients_compare() {
        for (reason, word) in [
            (Reason::NameTaken, "NAME_TAKEN"),
            (Reason::RegistrationClosed, "REGISTRATION_CLOSED"),
            (Reason::ClusterKeyNeeded, "CLUSTER_KEY_NEEDED"),
            (Reason::WrongCredentials, "WRONG_CREDENTIALS"),
            (Reason::NotSignedIn, "NOT_SIGNED_IN"),
            (Reason::SessionInvalid, "SESSION_INVALID"),
            (Reason::NoSuchAccount, "NO_SUCH_ACCOUNT"),
            (Reason::TooFewInSync, "TOO_FEW_IN_SYNC"),
            (Reason::DiskFull, "DISK_FULL"),
            (Reason::HistoryReplaced, "HISTORY_REPLACED"),
            (Reason::Busy, "BUSY"),
            (Reason::MessageTooLarge, "MESSAGE_TOO_LARGE"),
            (Reason::RequestIdReused, "REQUEST_ID_REUSED"),
            (Reason::RequestIdOutOfDate, "REQUEST_ID_OUT_OF_DATE"),
            (Reason::InvalidInput, "INVALID_INPUT"),
            (Reason::Other("OF_A_LATER_VERSION".into()), "OF_A_LATER_VERSION"),
        ] {
            assert_eq!((reason.to_string(), Reason::from(word)), (word.to_owned(), reason));
        }
    }
}
