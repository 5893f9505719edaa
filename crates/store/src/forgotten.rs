//! What has been forgotten of the requests, and what may be forgotten next: see `protocol::Forgetting` for the rule.

use crate::columns::millis;
use crate::{request_ids, sessions};
use chat::{Fact, Millis, RequestId};
use protocol::WallTime;
use rusqlite::Connection;
use std::time::Duration;

/// The date before which ids are refused; `None` where no such date was set yet.
pub(crate) fn forgotten(connection: &Connection) -> Result<Option<Millis>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT before FROM forgotten")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))
        .map(|before| before.map(|before| Millis(before.cast_unsigned())))
}

/// Forgets the requests dated before `before`, with their answers.
pub(crate) fn forget(connection: &Connection, before: Millis) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("UPDATE forgotten SET before = max(coalesce(before, 0), ?1)")?
        .execute([millis(before)])?;
    let oldest = RequestId::first_dated(before);
    request_ids::forget_below(connection, oldest)?;
    sessions::forget_ended_below(connection, oldest)
}

/// Sets what counts as forgotten, back too.
pub(crate) fn set_forgotten(connection: &Connection, before: Millis) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("UPDATE forgotten SET before = ?1")?.execute([millis(before)])?;
    Ok(())
}

/// The fact that forgets what may be forgotten, if there is anything: no further than the last request that it deletes,
/// so that nothing is refused for no reason.
pub(crate) fn forgettable(
    connection: &Connection,
    may_forget: WallTime,
) -> Result<Option<Fact>, rusqlite::Error> {
    let bound = RequestId::first_dated(Millis(may_forget.0));
    let dated = request_ids::highest_below(connection, bound)?.and_then(RequestId::dated);
    Ok(dated.map(|dated| Fact::RequestsForgotten { before: dated.plus(Duration::from_millis(1)) }))
}
