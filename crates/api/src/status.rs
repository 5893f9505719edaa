//! Refusals and faults as gRPC statuses, and back. Which code goes with which reason stands here alone; which reason a
//! refusal has, in `chat`.

use crate::v1;
use chat::{BUSY_RETRY_AFTER, KeptOnFewer, Reason, Refusal};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "trialogue";

/// This replica does not lead; ask the one named in the metadata.
const NOT_PRIMARY: &str = "NOT_PRIMARY";
/// The replica could not do its work.
const FAULT: &str = "FAULT";
/// It took effect, and fewer replicas hold it than were asked for: the same request id asks again.
pub const KEPT_ON_FEWER: &str = "KEPT_ON_FEWER";

/// The code that goes with a reason.
const fn code(reason: &Reason) -> Code {
    match reason {
        Reason::NameTaken => Code::AlreadyExists,
        Reason::RegistrationClosed | Reason::ClusterKeyNeeded => Code::PermissionDenied,
        Reason::WrongCredentials | Reason::NotSignedIn | Reason::SessionInvalid => Code::Unauthenticated,
        Reason::NoSuchAccount => Code::NotFound,
        Reason::TooFewInSync | Reason::HistoryReplaced => Code::FailedPrecondition,
        Reason::DiskFull | Reason::Busy => Code::ResourceExhausted,
        Reason::MessageTooLarge => Code::OutOfRange,
        Reason::RequestIdReused | Reason::RequestIdOutOfDate | Reason::InvalidInput | Reason::Other(_) => {
            Code::InvalidArgument
        }
    }
}

/// The status that tells a client of a refusal.
pub fn refused(refusal: &Refusal) -> Status {
    if *refusal == Refusal::Busy {
        return busy(&refusal.to_string(), BUSY_RETRY_AFTER);
    }
    let reason = refusal.reason();
    with_reason(code(&reason), &reason.to_string(), &refusal.to_string(), HashMap::new())
}

/// The status of what took effect on fewer replicas than were asked for.
pub fn kept_on_fewer(kept: &KeptOnFewer) -> Status {
    with_reason(Code::Aborted, KEPT_ON_FEWER, &kept.to_string(), copies_of(kept))
}

/// A refusal as one answer of a stream.
pub fn in_a_stream(refusal: &Refusal) -> v1::Refused {
    let reason = refusal.reason();
    v1::Refused {
        code: code(&reason).into(),
        reason: reason.to_string(),
        message: refusal.to_string(),
        metadata: HashMap::new(),
    }
}

/// What took effect on fewer replicas than were asked for, as one answer of a stream.
pub fn kept_in_a_stream(kept: &KeptOnFewer) -> v1::Refused {
    v1::Refused {
        code: Code::Aborted.into(),
        reason: KEPT_ON_FEWER.into(),
        message: kept.to_string(),
        metadata: copies_of(kept),
    }
}

fn copies_of(kept: &KeptOnFewer) -> HashMap<String, String> {
    let number = |name: &str, number: usize| (name.to_owned(), number.to_string());
    HashMap::from([number("copies", kept.copies), number("replicas", kept.replicas)])
}

/// The status of a replica that does not lead, with the address of the one that does, if it is known.
pub fn not_primary(primary: Option<&str>) -> Status {
    let metadata = primary.map(|address| ("primary".to_owned(), address.to_owned())).into_iter().collect();
    with_reason(Code::Unavailable, NOT_PRIMARY, "this replica does not lead; ask the primary", metadata)
}

/// The status of a replica that takes on no more now; the call may be repeated after `wait`.
pub fn busy(why: &str, wait: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(Reason::Busy.to_string(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(wait));
    Status::with_error_details(code(&Reason::Busy), why, details)
}

/// The status of a replica that could not do its work; what went wrong stands in its log.
pub fn fault() -> Status {
    with_reason(Code::Unavailable, FAULT, "this replica could not do its work; try again", HashMap::new())
}

fn with_reason(code: Code, reason: &str, message: &str, metadata: HashMap<String, String>) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// What a status says to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Go elsewhere; perhaps to this address.
    NotPrimary {
        /// Where the primary listens, if the asked replica knew.
        primary: Option<String>,
    },
    /// It is unknown whether the call had an effect: repeat it with the same request id.
    Unknown,
    /// It had no effect, because the replica is busy: repeat it there, with the same request id, after this.
    Busy {
        /// The shortest wait that the replica asks for.
        retry_after: Duration,
    },
    /// The call took effect, and fewer replicas hold that than were asked for: the same request id asks again.
    KeptOnFewer(Kept),
    /// The call was refused, and had no effect.
    Refused {
        /// The code.
        code: Code,
        /// The reason, from `ErrorInfo`.
        reason: Reason,
        /// One sentence for people.
        message: String,
    },
}

/// What `KEPT_ON_FEWER` says to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many replicas hold it.
    pub copies: u32,
    /// How many replicas there are.
    pub replicas: u32,
    /// One sentence for people.
    pub message: String,
}

impl Kept {
    /// Reads the metadata of `KEPT_ON_FEWER`.
    pub fn read(metadata: &HashMap<String, String>, message: &str) -> Self {
        let number = |name| metadata.get(name).and_then(|number| number.parse().ok()).unwrap_or(0);
        Self { copies: number("copies"), replicas: number("replicas"), message: message.to_owned() }
    }
}

/// Reads a status as a client must.
pub fn meaning(status: &Status) -> Meaning {
    let refused =
        |reason| Meaning::Refused { code: status.code(), reason, message: status.message().to_owned() };
    let details = status.get_error_details();
    if let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) {
        return match &*info.reason {
            NOT_PRIMARY => Meaning::NotPrimary { primary: info.metadata.get("primary").cloned() },
            FAULT => Meaning::Unknown,
            KEPT_ON_FEWER => Meaning::KeptOnFewer(Kept::read(&info.metadata, status.message())),
            word => match Reason::from(word) {
                Reason::Busy => {
                    let asked = details.retry_info().and_then(|retry| retry.retry_delay);
                    Meaning::Busy { retry_after: asked.unwrap_or(BUSY_RETRY_AFTER) }
                }
                reason => refused(reason),
            },
        };
    }
    // Without our mark it comes from the transport; a code that cannot come from a broken connection is final.
    match status.code() {
        // The transport's codes for a message over its limit, when it is read and when it is written.
        Code::OutOfRange | Code::ResourceExhausted => refused(Reason::MessageTooLarge),
        Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied => refused(Reason::InvalidInput),
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_back_what_was_refused() {
        let refusal = Refusal::NameTaken { name: "bob".into() };
        let Meaning::Refused { code, reason, message } = meaning(&refused(&refusal)) else { panic!() };
        assert_eq!((code, reason, message), (Code::AlreadyExists, Reason::NameTaken, refusal.to_string()));
    }

    #[test]
    fn what_is_kept_on_fewer_replicas_is_no_refusal() {
        let kept = KeptOnFewer { copies: 1, wanted: 2, replicas: 3 };
        let read = Kept { copies: 1, replicas: 3, message: kept.to_string() };
        let status = kept_on_fewer(&kept);
        assert_eq!((status.code(), meaning(&status)), (Code::Aborted, Meaning::KeptOnFewer(read.clone())));
        let v1::Refused { code, reason, message, metadata } = kept_in_a_stream(&kept);
        assert_eq!((code, &*reason), (10, "KEPT_ON_FEWER"));
        assert_eq!(Kept::read(&metadata, &message), read);
    }

    #[test]
    fn a_client_finds_the_primary_in_the_status() {
        let to = |address: &str| Meaning::NotPrimary { primary: Some(address.into()) };
        assert_eq!(meaning(&not_primary(Some("127.0.0.1:5101"))), to("127.0.0.1:5101"));
        assert_eq!(meaning(&not_primary(None)), Meaning::NotPrimary { primary: None });
    }

    #[test]
    fn a_busy_replica_is_asked_again_and_a_message_that_is_too_large_is_not() {
        let busy = refused(&Refusal::Busy);
        assert_eq!(busy.code(), Code::ResourceExhausted);
        assert_eq!(meaning(&busy), Meaning::Busy { retry_after: BUSY_RETRY_AFTER });
        for status in [Status::out_of_range("decoded"), Status::resource_exhausted("received")] {
            let Meaning::Refused { reason, .. } = meaning(&status) else { panic!("{status} is final") };
            assert_eq!(reason, Reason::MessageTooLarge);
        }
    }

    #[test]
    fn what_the_transport_says_leaves_the_effect_unknown() {
        for status in [Status::unavailable("reset"), Status::cancelled("x"), Status::unknown("h2"), fault()] {
            assert_eq!(meaning(&status), Meaning::Unknown, "{status}");
        }
    }
}
