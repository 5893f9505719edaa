//! The log of the schemas 1 to 6, whose records are JSON: looked at once more, before it goes.

use crate::error::StoreError;
use crate::records::Raw;
use crate::retention::TIDY_EVERY;
use chat::{Millis, REMEMBERING, RequestId};
use protocol::{Chain, Op, Position};
use rusqlite::{Connection, OptionalExtension, Row};
use std::path::Path;
use std::time::Duration;

/// Whether the log and the messages are what was written: each entry follows the one before it by its chain, and what it says of
/// a message is what the table says.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let sql = StoreError::sqlite(path);
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    let mut entries = connection
        .prepare(
            "SELECT log.op, log.chain, log.record,
                 CASE WHEN json_valid(log.record) THEN log.record ->> '$.fact.message_sent.text' END,
                 messages.text, messages.undeliverable
             FROM log LEFT JOIN messages ON messages.id = log.op ORDER BY log.op",
        )
        .map_err(&sql)?;
    let mut rows = entries.query([]).map_err(&sql)?;
    let mut end = None;
    while let Some(row) = rows.next().map_err(&sql)? {
        let (position, record, told, kept) =
            read(row).map_err(|error| corrupt(format!("an entry of the log can't be read: {error}")))?;
        let before = match end {
            None if position.op == Op(1) => Some(Position::ORIGIN),
            // What comes before the oldest entry was pruned.
            None => None,
            Some(end) => Some(end),
        };
        if before.is_some_and(|before| before.follow(Raw(record.as_bytes())).position() != position) {
            return Err(corrupt(format!("the log's chain is broken at op {}", position.op)));
        }
        end = Some(position);
        let agrees = match (told, kept) {
            (Some(told), Some((kept, undeliverable))) => undeliverable || told == kept,
            (told, kept) => told.is_none() && kept.is_none(),
        };
        if !agrees {
            return Err(corrupt(format!("message {} is not what the log says", position.op)));
        }
    }
    Ok(())
}

/// An entry's position and record, the text of the message that it tells of, and that message as it was kept, with whether it is
/// undeliverable.
type Read = (Position, String, Option<String>, Option<(String, bool)>);

fn read(row: &Row<'_>) -> Result<Read, rusqlite::Error> {
    let op = Op(row.get::<_, i64>(0)?.cast_unsigned());
    let kept = row.get::<_, Option<String>>(4)?.zip(row.get::<_, Option<bool>>(5)?);
    Ok((Position { op, chain: Chain(row.get(1)?) }, row.get(2)?, row.get(3)?, kept))
}

/// What was forgotten by a log that does not say so; `None` if it does. Those who wrote such a log deleted, every
/// `TIDY_EVERY` entries, the requests dated a day before the time of the entry, which may have been written by a clock that
/// was far ahead: so what was deleted is taken from the log itself, as far as it reaches back.
pub(super) fn forgotten(connection: &Connection) -> Result<Option<Millis>, rusqlite::Error> {
    let unknown = connection.prepare("SELECT 1 FROM forgotten WHERE before IS NULL")?.exists([])?;
    let head: i64 = connection.query_row("SELECT coalesce(max(op), 0) FROM log", [], |row| row.get(0))?;
    let tidied = head.cast_unsigned() - head.cast_unsigned() % TIDY_EVERY;
    if !unknown || tidied == 0 {
        return Ok(None);
    }
    let entry = |which: &str| {
        let at = format!("SELECT op, record ->> '$.at' FROM log WHERE {which} ORDER BY op LIMIT 1");
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, Millis(row.get::<_, i64>(1)?.cast_unsigned())));
        connection.query_row(&at, [tidied.cast_signed()], read).optional()
    };
    let (Some((first_op, first_at)), Some((_, last_at))) = (entry("?1 > 0")?, entry("op >= ?1")?) else {
        return Ok(None);
    };
    // Requests from before the log were dated no later than a day after its first entry.
    let mut before = if first_op > 1 { first_at.plus(REMEMBERING.age_max) } else { Millis(0) };
    let mut ids = connection.prepare(
        "SELECT record ->> '$.request.id' FROM log
         WHERE op <= ?1 AND record ->> '$.request.id' IS NOT NULL",
    )?;
    let mut known = connection.prepare("SELECT 1 FROM requests WHERE id = ?1")?;
    let mut rows = ids.query([tidied.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let id = uuid::Uuid::parse_str(&row.get::<_, String>(0)?).ok().map(RequestId);
        if let Some((id, dated)) = id.and_then(|id| Some((id, id.dated()?)))
            && dated >= before
            && !known.exists([id.0.as_bytes()])?
        {
            before = dated.plus(Duration::from_millis(1));
        }
    }
    Ok(Some(before.min(last_at.minus(REMEMBERING.age_max))))
}
