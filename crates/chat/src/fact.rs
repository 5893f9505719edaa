//! Facts: what happened, with everything needed to apply it on any replica at any time.
//!
//! A fact is never judged again. Whatever could make it fail was checked before it became an entry, by the primary
//! alone: a rule applied by three replicas in turn would stop all three.

use crate::identity::{AccountId, HistoryId, MessageId, Millis, RequestId, SessionId, TokenHash};
use crate::password::PasswordHash;
use crate::request::Answer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something that happened. The number of a new account, session or message is the op of its entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A history began; what came before, if anything, may have lost entries.
    HistoryBegan {
        /// Its identity.
        history: HistoryId,
        /// Requests dated before this count as forgotten from here on, whatever counted before; `None` changes nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forgotten: Option<Millis>,
        /// All sessions end: those of another history, or of a folder that was copied, are not valid here. Entries of
        /// before this was a rule say nothing, and end none.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends_sessions: bool,
    },
    /// Requests dated before this are forgotten: their ids are refused from here on.
    RequestsForgotten {
        /// The date, which only grows.
        before: Millis,
    },
    /// An account was created.
    AccountCreated {
        /// The name as written.
        name: String,
        /// The name as compared.
        key: String,
        /// The password.
        password: PasswordHash,
    },
    /// A session was opened.
    SessionOpened {
        /// Whose.
        account: AccountId,
        /// Its token.
        token: TokenHash,
        /// When it ends by itself.
        expires_at: Millis,
        /// The account's sessions that end with it: those that have expired, and the oldest where there are too many.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        closes: Vec<SessionId>,
    },
    /// A session was closed.
    SessionClosed {
        /// Which.
        session: SessionId,
    },
    /// An account was deleted, with its sessions and what was not delivered to it.
    AccountDeleted {
        /// Which.
        account: AccountId,
    },
    /// An account has a new password, and only one session.
    PasswordChanged {
        /// Which.
        account: AccountId,
        /// The password.
        password: PasswordHash,
        /// The session that stays.
        keep: SessionId,
    },
    /// A message was sent.
    MessageSent {
        /// By whom.
        from: AccountId,
        /// The sender's name at that time.
        from_name: String,
        /// To whom.
        to: AccountId,
        /// The recipient's name at that time.
        to_name: String,
        /// What.
        text: String,
    },
    /// An account has everything up to a message.
    MessagesAcknowledged {
        /// Which account.
        account: AccountId,
        /// The last message it has.
        up_to: MessageId,
    },
    /// An account has seen everything of one conversation up to a message.
    ConversationRead {
        /// Which account.
        account: AccountId,
        /// With whom.
        with: AccountId,
        /// The last message it has seen.
        up_to: MessageId,
        /// Whether the other side learns of it: both showed their read marks at that time, and more of its messages
        /// were seen than it knew of.
        shown: bool,
        /// The last of the other side's own messages that was seen, if it learns of that: a place between them would
        /// tell of what others wrote. Entries of before this was a rule say nothing, and show `up_to`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown_up_to: Option<MessageId>,
    },
    /// An account shows others what it has seen, or no longer does.
    ReadMarksSet {
        /// Which account.
        account: AccountId,
        /// Whether it does.
        shown: bool,
    },
}

/// The request that led to a fact, so that its retry is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMark {
    /// The request's id.
    pub id: RequestId,
    /// What it asked for.
    pub digest: [u8; 16],
    /// What it was answered.
    pub answer: Answer,
    /// The session that it came from, and so whose it was; none for a request that needs no session, and in entries of
    /// before requests had owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What its passwords were, in the order of [`crate::Action::passwords`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passwords: Vec<PasswordHash>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<RequestMark>,
    fact: Fact,
}

/// A fact with its time and its request, and the one encoding that every replica keeps: JSON, readable by anyone who
/// opens the database. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    content: Arc<Content>,
    encoded: Arc<str>,
}

impl Record {
    /// A new fact, encoded once.
    pub fn new(at: Millis, request: Option<RequestMark>, fact: Fact) -> Self {
        let content = Content { at, request, fact };
        let encoded = serde_json::to_string(&content).expect("a fact has no map with keys that JSON lacks");
        Self { content: Arc::new(content), encoded: encoded.into() }
    }

    /// A fact from its encoding, which it keeps as it is.
    pub fn decode(encoded: &[u8]) -> Result<Self, serde_json::Error> {
        let encoded = std::str::from_utf8(encoded).map_err(serde::de::Error::custom)?;
        let content = serde_json::from_str(encoded)?;
        Ok(Self { content: Arc::new(content), encoded: encoded.into() })
    }

    /// Its encoding: a line of JSON.
    pub fn json(&self) -> &str {
        &self.encoded
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
        self.encoded.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Record as _;

    #[test]
    fn a_record_survives_its_encoding() {
        let fact = Fact::MessageSent {
            from: AccountId(1),
            from_name: "alice".into(),
            to: AccountId(2),
            to_name: "bob".into(),
            text: "line\n\"quote\" 👋 \u{2028}".into(),
        };
        let mark = RequestMark {
            id: RequestId(uuid::Uuid::now_v7()),
            digest: [7; 16],
            answer: Answer::MessageSent { id: MessageId(9), sent_at: Millis(5) },
            session: Some(SessionId(3)),
            passwords: vec![PasswordHash("$argon2id$…".into())],
        };
        let record = Record::new(Millis(5), Some(mark), fact);
        assert_eq!(Record::decode(record.encoded()).unwrap(), record);
    }

    /// What is in logs of before requests had owners, byte for byte.
    #[test]
    fn records_of_before_requests_had_owners_are_understood() {
        let cases = [
            (
                r#"{"at":1,"fact":{"history_began":{"history":"0198c0de-0000-7000-8000-000000000001"}}}"#,
                Fact::HistoryBegan {
                    history: HistoryId(uuid::uuid!("0198c0de-0000-7000-8000-000000000001")),
                    forgotten: None,
                    ends_sessions: false,
                },
            ),
            (
                r#"{"at":1,"request":{"id":"0198c0de-0000-7000-8000-000000000002","digest":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7],"answer":{"session_opened":{"session":4,"account":2,"expires_at":9}}},"fact":{"session_opened":{"account":2,"token":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"expires_at":9}}}"#,
                Fact::SessionOpened {
                    account: AccountId(2),
                    token: TokenHash([1; 32]),
                    expires_at: Millis(9),
                    closes: vec![],
                },
            ),
            (
                r#"{"at":1,"fact":{"conversation_read":{"account":2,"with":3,"up_to":9,"shown":true}}}"#,
                Fact::ConversationRead {
                    account: AccountId(2),
                    with: AccountId(3),
                    up_to: MessageId(9),
                    shown: true,
                    shown_up_to: None,
                },
            ),
        ];
        for (encoded, fact) in cases {
            let record = Record::decode(encoded.as_bytes()).unwrap();
            assert_eq!(*record.fact(), fact);
            let request = record.request().map(|mark| (mark.session, mark.passwords.len()));
            assert!(request.is_none_or(|request| request == (None, 0)));
            // The chain hashes the encoding: written again, they are the same bytes.
            assert_eq!(Record::new(Millis(1), record.request().cloned(), fact).encoded(), encoded.as_bytes());
        }
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for bytes in [&b""[..], b"{}", b"null", b"\xff\xfe", b"{\"at\":1,\"fact\":\"nonsense\"}"] {
            assert!(Record::decode(bytes).is_err());
        }
    }
}
