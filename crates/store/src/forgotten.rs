//! What has been forgotten of the requests, and what may be forgotten next: see `protocol::Forgetting` for the rule.

use crate::columns::millis;
use crate::log_table::{decode_entry, raw_entry};
use crate::retention::TIDY_EVERY;
use chat::{Fact, Millis, REMEMBERING, Record, RequestId};
use protocol::{Entry, Op, WallTime};
use rusqlite::{Connection, OptionalExtension};
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
    delete_dated_before(connection, before)
}

/// Sets what counts as forgotten, back too.
pub(crate) fn set_forgotten(connection: &Connection, before: Millis) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("UPDATE forgotten SET before = ?1")?.execute([millis(before)])?;
    Ok(())
}

pub(crate) fn delete_dated_before(connection: &Connection, before: Millis) -> Result<(), rusqlite::Error> {
    let oldest = RequestId::first_dated(before);
    connection.prepare_cached("DELETE FROM requests WHERE id < ?1")?.execute([oldest.0.as_bytes()])?;
    Ok(())
}

/// The fact that forgets what may be forgotten, if there is anything: no further than the last request that it deletes,
/// so that nothing is refused for no reason.
pub(crate) fn forgettable(
    connection: &Connection,
    may_forget: WallTime,
) -> Result<Option<Fact>, rusqlite::Error> {
    let bound = RequestId::first_dated(Millis(may_forget.0));
    let last = connection
        .prepare_cached("SELECT max(id) FROM requests WHERE id < ?1")?
        .query_row([bound.0.as_bytes()], |row| row.get::<_, Option<[u8; 16]>>(0))?;
    let dated = last.and_then(|id| RequestId(uuid::Uuid::from_bytes(id)).dated());
    Ok(dated.map(|dated| Fact::RequestsForgotten { before: dated.plus(Duration::from_millis(1)) }))
}

/// What a log that was begun by an earlier version has forgotten. That version deleted, every `TIDY_EVERY` entries, the
/// requests dated a day before the time of the entry, which may have been written by a clock that was far ahead: so what
/// was deleted is taken from the log itself, as far as it reaches back.
pub(crate) fn forgotten_by_entry_times(connection: &Connection) -> Result<Millis, rusqlite::Error> {
    let head: i64 = connection.query_row("SELECT coalesce(max(op), 0) FROM log", [], |row| row.get(0))?;
    let tidied = head.cast_unsigned() - head.cast_unsigned() % TIDY_EVERY;
    if tidied == 0 {
        return Ok(Millis(0));
    }
    let entry = |op: &str| -> Result<Option<Entry<Record>>, rusqlite::Error> {
        let found = connection.query_row(op, [tidied.cast_signed()], raw_entry).optional()?;
        Ok(found.and_then(|raw| decode_entry(raw).ok()))
    };
    let first = entry("SELECT op, chain, record FROM log WHERE ?1 > 0 ORDER BY op LIMIT 1")?;
    let last = entry("SELECT op, chain, record FROM log WHERE op >= ?1 ORDER BY op LIMIT 1")?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(Millis(0)) };
    let deleted_before = last.record.at().minus(REMEMBERING.age_max);
    // Requests from before the log were dated no later than a day after its first entry.
    let unknown_before =
        if first.op > Op(1) { first.record.at().plus(REMEMBERING.age_max) } else { Millis(0) };
    let mut before = unknown_before;
    let mut known = connection.prepare("SELECT 1 FROM requests WHERE id = ?1")?;
    let mut entries = connection.prepare("SELECT op, chain, record FROM log WHERE op <= ?1")?;
    let mut rows = entries.query([tidied.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let Ok(entry) = decode_entry(raw_entry(row)?) else { continue };
        let Some(id) = entry.record.request().map(|mark| mark.id) else { continue };
        if let Some(dated) = id.dated()
            && dated >= before
            && !known.exists([id.0.as_bytes()])?
        {
            before = dated.plus(Duration::from_millis(1));
        }
    }
    Ok(before.min(deleted_before))
}
