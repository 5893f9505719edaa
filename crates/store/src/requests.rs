//! Requests that took effect: whose they were, what they asked for, and what they were answered, for as long as a retry is
//! accepted.

use crate::columns::unsigned;
use crate::error::StoreError;
use crate::lookups::Lookups;
use crate::reader::Reader;
use chat::{AccountId, Answer, PasswordHash, RequestId, RequestMark, TokenHash};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

/// A request that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRequest {
    /// What it asked for.
    pub digest: [u8; 16],
    /// What it was answered.
    pub answer: Answer,
    /// The account whose request it was; none for a request that needs no session.
    pub account: Option<AccountId>,
    /// The token of the session that it came from: a retry is answered also if that session has ended since.
    pub session: Option<TokenHash>,
    /// The passwords that came with it (see [`chat::Action::passwords`]); none for one from before they were kept.
    pub passwords: Vec<PasswordHash>,
}

impl KeptRequest {
    /// Whether a caller is the one who made it: by its session's account, or by the token itself.
    pub fn belongs_to(&self, caller: Option<AccountId>, token: Option<TokenHash>) -> bool {
        self.account.is_none() || self.account == caller || (self.session.is_some() && self.session == token)
    }
}

impl Reader<'_> {
    /// The request of that id, if it took effect. Index: the primary key of `requests`.
    pub fn request(&self, id: RequestId) -> Result<Option<KeptRequest>, StoreError> {
        self.sql(find(self.connection(), id))
    }
}

pub(crate) fn find(connection: &Connection, id: RequestId) -> Result<Option<KeptRequest>, rusqlite::Error> {
    let kept = connection
        .prepare_cached("SELECT digest, answer, account, session, passwords FROM requests WHERE id = ?1")?
        .query_row([id.0.as_bytes()], |row| {
            let account = row.get::<_, Option<i64>>(2)?.is_some().then(|| unsigned(row, 2)).transpose()?;
            let passwords: Option<String> = row.get(4)?;
            Ok(KeptRequest {
                digest: row.get(0)?,
                answer: parse(&row.get::<_, String>(1)?, 1)?,
                account: account.map(AccountId),
                session: row.get::<_, Option<[u8; 32]>>(3)?.map(TokenHash),
                passwords: passwords.map(|text| parse(&text, 4)).transpose()?.unwrap_or_default(),
            })
        })
        .optional()?;
    Ok(kept)
}

/// Keeps the request that led to an entry, before the entry's effect, which may end the request's session.
pub(crate) fn keep(lookups: &mut Lookups<'_>, mark: &RequestMark) -> Result<(), rusqlite::Error> {
    let (account, session) = match mark.session {
        Some(session) => match lookups.owner(session)? {
            Some((account, token)) => (Some(account), Some(token)),
            // A request of no known session must not become one that needs no session.
            None => return Ok(()),
        },
        None => (None, None),
    };
    let passwords = (!mark.passwords.is_empty()).then(|| json(&mark.passwords));
    lookups
        .connection
        .prepare_cached(
            "INSERT INTO requests (id, digest, answer, account, session, passwords)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            mark.id.0.as_bytes(),
            mark.digest,
            json(&mark.answer),
            account.map(|account| account.0.cast_signed()),
            session.map(|session| session.0),
            passwords
        ])?;
    Ok(())
}

fn json(what: &impl serde::Serialize) -> String {
    serde_json::to_string(what).expect("answers and hashes have no map with keys that JSON lacks")
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
