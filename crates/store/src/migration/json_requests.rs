//! The requests of schema 7 and before, which were kept as JSON.

use crate::columns::damaged;
use crate::requests;
use chat::{AccountId, Answer, Outcome, RequestId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use uuid::Uuid;

/// Carries them over to the tables of today, each with its answer, and with whose it was also where its session has ended.
pub(super) fn carry_over(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mut find = connection
        .prepare("SELECT id, digest, answer, account, passwords FROM requests_before ORDER BY id")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let (id, digest) = (RequestId(Uuid::from_bytes(row.get(0)?)), row.get(1)?);
        match json(row, 2)? {
            Answer::MessageSent { id: message, .. } => requests::keep_sent(connection, id, digest, message)?,
            answer => {
                let account = row.get::<_, Option<i64>>(3)?.map(|account| AccountId(account.cast_unsigned()));
                let no_passwords = row.get_ref(4)?.data_type() == Type::Null;
                let passwords = if no_passwords { Vec::new() } else { json(row, 4)? };
                requests::keep_other(connection, id, digest, account, &Outcome { answer, passwords })?;
            }
        }
    }
    drop(rows);
    drop(find);
    connection.execute_batch(
        "INSERT INTO ended_sessions (token, account, last_request)
             SELECT session, account, max(id) FROM requests_before
             WHERE session IS NOT NULL AND session NOT IN (SELECT token FROM sessions) GROUP BY session, account;
         DROP TABLE requests_before;",
    )
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str().map_err(damaged)?;
    serde_json::from_str(text).map_err(damaged)
}
