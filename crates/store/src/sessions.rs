//! Whose sessions are, and were: of one that has ended, the account is known for as long as a retry of one of its requests is
//! accepted.

use crate::columns::unsigned;
use crate::request_ids::HIGHEST;
use chat::{AccountId, RequestId, SessionId, TokenHash};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

/// The account of a session, whether or not it has expired.
pub(crate) fn account_of(
    connection: &Connection,
    session: SessionId,
) -> Result<Option<AccountId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT account FROM sessions WHERE id = ?1")?
        .query_row([session.0.cast_signed()], account)
        .optional()
}

/// Whose a token is, or was: its session may have expired, and may have ended. Indexes: `sessions_token`, and the primary key of
/// `ended_sessions`.
pub(crate) fn owner_of(
    connection: &Connection,
    token: TokenHash,
) -> Result<Option<AccountId>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT account FROM sessions WHERE token = ?1
             UNION ALL SELECT account FROM ended_sessions WHERE token = ?1 LIMIT 1",
        )?
        .query_row([token.0], account)
        .optional()
}

/// Ends the sessions that a condition names.
pub(crate) fn end(
    connection: &Connection,
    condition: &'static str,
    parameters: &[&dyn ToSql],
) -> Result<(), rusqlite::Error> {
    // Its requests are below the highest id that there is now: when that one is forgotten, all of them are.
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO ended_sessions (token, account, last_request)
             SELECT token, account, coalesce(({HIGHEST}), x'')
             FROM sessions WHERE {condition}"
        ))?
        .execute(parameters)?;
    connection.prepare_cached(&format!("DELETE FROM sessions WHERE {condition}"))?.execute(parameters)?;
    Ok(())
}

/// Forgets the ended ones that have no request from `bound` on. Index: `ended_sessions_last_request`.
pub(crate) fn forget_ended_below(connection: &Connection, bound: RequestId) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("DELETE FROM ended_sessions WHERE last_request < ?1")?
        .execute([bound.0.as_bytes()])?;
    Ok(())
}

fn account(row: &Row<'_>) -> Result<AccountId, rusqlite::Error> {
    unsigned(row, 0).map(AccountId)
}
