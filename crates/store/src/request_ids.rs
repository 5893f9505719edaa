//! The ids of the requests that are kept, in both of their tables. Ids carry their dates, so that what is below a bound is what
//! came before a date. Indexes: the primary keys.

use chat::RequestId;
use rusqlite::{Connection, Row};
use uuid::Uuid;

/// The highest id of a request that is kept; NULL if there is none.
pub(crate) const HIGHEST: &str =
    "SELECT max(id) FROM (SELECT max(id) AS id FROM message_requests UNION ALL SELECT max(id) FROM requests)";

/// The highest id of a request that is kept.
pub(crate) fn highest(connection: &Connection) -> Result<Option<RequestId>, rusqlite::Error> {
    connection.prepare_cached(HIGHEST)?.query_row([], highest_id)
}

/// The highest of those below `bound`.
pub(crate) fn highest_below(
    connection: &Connection,
    bound: RequestId,
) -> Result<Option<RequestId>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT max(id) AS id FROM message_requests WHERE id < ?1
             UNION ALL SELECT max(id) FROM requests WHERE id < ?1)",
        )?
        .query_row([bound.0.as_bytes()], highest_id)
}

/// Forgets those below `bound`.
pub(crate) fn forget_below(connection: &Connection, bound: RequestId) -> Result<(), rusqlite::Error> {
    for delete in ["DELETE FROM message_requests WHERE id < ?1", "DELETE FROM requests WHERE id < ?1"] {
        connection.prepare_cached(delete)?.execute([bound.0.as_bytes()])?;
    }
    Ok(())
}

fn highest_id(row: &Row<'_>) -> Result<Option<RequestId>, rusqlite::Error> {
    Ok(row.get::<_, Option<[u8; 16]>>(0)?.map(|id| RequestId(Uuid::from_bytes(id))))
}
