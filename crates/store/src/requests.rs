//! Requests that took effect: whose they were, what they asked for, and what they were answered, for as long as a retry is
//! accepted.
//!
//! Nearly all of them send a message, and of these little is kept: what they were answered is in the message's row.

use crate::columns::{damaged, unsigned};
use crate::sessions;
use chat::{AccountId, Answer, MessageId, Millis, Outcome, RequestId, RequestMark, TokenHash};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

/// The first bytes of the digest of what a request asked for: enough to tell another request of the same caller from its retry.
pub(crate) type ShortDigest = [u8; 8];

/// A request that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRequest {
    /// What it asked for.
    pub(crate) digest: ShortDigest,
    /// The account whose request it was; none for a request that needs no session.
    pub account: Option<AccountId>,
    /// The token of the session that it came from, until the tables show the request.
    pub(crate) session: Option<TokenHash>,
    /// What it was answered, and the passwords that came with it.
    pub outcome: Outcome,
}

impl KeptRequest {
    /// Whether it asked for what has that digest.
    pub fn asked_for(&self, digest: [u8; 16]) -> bool {
        self.digest == short(digest)
    }

    /// Whether a caller made it, by the token that it came with, or by that of another session of the same account, open or ended.
    pub(crate) fn came_with(
        &self,
        connection: &Connection,
        token: Option<TokenHash>,
    ) -> Result<bool, rusqlite::Error> {
        match (self.account, token) {
            (None, _) => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(account), Some(token)) => {
                Ok(self.session == Some(token) || sessions::owner_of(connection, token)? == Some(account))
            }
        }
    }
}

/// Those that sent a message are looked for first: there are more of them. Indexes: the primary keys of both tables.
pub(crate) fn find(connection: &Connection, id: RequestId) -> Result<Option<KeptRequest>, rusqlite::Error> {
    let sent_a_message = connection
        .prepare_cached(
            "SELECT digest, sender, messages.id, sent_at
             FROM message_requests LEFT JOIN messages ON messages.id = message WHERE message_requests.id = ?1",
        )?
        .query_row([id.0.as_bytes()], |row| {
            // A retry that passed for a new request would be applied to this row.
            if row.get_ref(2)?.data_type() == Type::Null {
                return Err(damaged(format!("the message of the request {} is not there", id.0)));
            }
            let answer =
                Answer::MessageSent { id: MessageId(unsigned(row, 2)?), sent_at: Millis(unsigned(row, 3)?) };
            let outcome = Outcome { answer, passwords: Vec::new() };
            let account = Some(AccountId(unsigned(row, 1)?));
            Ok(KeptRequest { digest: row.get(0)?, account, session: None, outcome })
        })
        .optional()?;
    if sent_a_message.is_some() {
        return Ok(sent_a_message);
    }
    connection
        .prepare_cached("SELECT digest, account, outcome FROM requests WHERE id = ?1")?
        .query_row([id.0.as_bytes()], |row| {
            let account = row.get::<_, Option<i64>>(1)?.map(|account| AccountId(account.cast_unsigned()));
            let outcome = Outcome::decode(&row.get::<_, Vec<u8>>(2)?).map_err(damaged)?;
            Ok(KeptRequest { digest: row.get(0)?, account, session: None, outcome })
        })
        .optional()
}

/// Keeps the request that led to an entry, before the entry's effect, which may end the request's session.
pub(crate) fn keep(connection: &Connection, mark: &RequestMark) -> Result<(), rusqlite::Error> {
    if let Answer::MessageSent { id, .. } = mark.answer {
        return keep_sent(connection, mark.id, mark.digest, id);
    }
    let account = match mark.session {
        Some(session) => match sessions::account_of(connection, session)? {
            Some(account) => Some(account),
            // A request of no known session must not become one that needs no session.
            None => return Ok(()),
        },
        None => None,
    };
    keep_other(connection, mark.id, mark.digest, account, &Outcome::of(mark))
}

/// Keeps a request that sent a message: it is its sender's.
pub(crate) fn keep_sent(
    connection: &Connection,
    id: RequestId,
    digest: [u8; 16],
    message: MessageId,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT INTO message_requests (id, digest, message) VALUES (?1, ?2, ?3)")?
        .execute(params![id.0.as_bytes(), short(digest), message.0.cast_signed()])?;
    Ok(())
}

/// Keeps a request of another kind.
pub(crate) fn keep_other(
    connection: &Connection,
    id: RequestId,
    digest: [u8; 16],
    account: Option<AccountId>,
    outcome: &Outcome,
) -> Result<(), rusqlite::Error> {
    let account = account.map(|account| account.0.cast_signed());
    connection
        .prepare_cached("INSERT INTO requests (id, digest, account, outcome) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.0.as_bytes(), short(digest), account, outcome.encode()])?;
    Ok(())
}

pub(crate) fn short(digest: [u8; 16]) -> ShortDigest {
    std::array::from_fn(|place| digest[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreError;
    use chat::PasswordHash;
    use uuid::Uuid;

    /// How many bytes of the file a row of a table takes.
    fn bytes_a_row(connection: &Connection, table: &str) -> f64 {
        let sql = format!(
            "SELECT sum(pgsize) * 1.0 / (SELECT count(*) FROM {table}) FROM dbstat WHERE name = '{table}'"
        );
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// At 1,000 messages a second there are 86 million of them: more than the messages' texts, if each takes 100 bytes.
    #[test]
    fn a_request_is_kept_in_fewer_bytes_than_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection =
            crate::database::open(&folder.path().join("chat.db"), crate::soundness::Check::Whole)
                .unwrap()
                .connection;
        let transaction = connection.transaction().unwrap();
        for number in 0..50_000_u64 {
            let dated = uuid::Timestamp::from_unix(uuid::NoContext, 1_790_000_000 + number / 1000, 0);
            let (id, digest) = (RequestId(Uuid::new_v7(dated)), [7; 16]);
            // As many entries as a service has that was used for a while.
            let place = MessageId(1_000_000_000 + number);
            keep_sent(&transaction, id, digest, place).unwrap();
            let id = RequestId(Uuid::new_v7(dated));
            let outcome = Outcome { answer: Answer::Acknowledged { up_to: place }, passwords: Vec::new() };
            keep_other(&transaction, id, digest, Some(AccountId(1_000_000)), &outcome).unwrap();
        }
        transaction.commit().unwrap();
        let (sent, other) =
            (bytes_a_row(&connection, "message_requests"), bytes_a_row(&connection, "requests"));
        assert!(sent < 40.0, "{sent} bytes for one that sent a message");
        assert!(other < 60.0, "{other} bytes for one that acknowledged messages");
    }

    #[test]
    fn a_request_whose_message_is_lost_does_not_pass_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let connection =
            crate::database::open(&folder.path().join("chat.db"), crate::soundness::Check::Whole)
                .unwrap()
                .connection;
        let id = RequestId(Uuid::now_v7());
        assert_eq!(find(&connection, id).unwrap(), None);
        keep_sent(&connection, id, [7; 16], MessageId(9)).unwrap();
        let error = StoreError::sqlite(folder.path())(find(&connection, id).unwrap_err());
        assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn what_is_kept_of_a_request_is_what_its_record_says() {
        let outcome = Outcome {
            answer: Answer::AccountCreated { account: AccountId(7) },
            passwords: vec![PasswordHash("$a".into()), PasswordHash("$b".into())],
        };
        assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        assert!(Outcome::decode(b"").is_err(), "there is no request without an answer");
    }
}
