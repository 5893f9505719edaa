//! Whether a database is what it was: asked at each start, and of each snapshot that arrives, before anything is done with it.
//!
//! `SQLite` finds damage to its own structure. What it can't know is looked at here: no table may go beyond the place that
//! the tables show (as when an older page was put back); every entry of the log must follow the one before it by its chain;
//! and what the log says of a message must be what the table says. A row that is older than the log and reads well is found
//! by `verify` alone.

use crate::columns;
use crate::error::StoreError;
use crate::records::{Raw, decode_record};
use crate::state::DatabaseState;
use crate::tables::{TABLES, Table};
use chat::{ConversationId, Fact, Record};
use protocol::{Entry, Op, Position};
use replica_log::{LogAtRest, LogError};
use rusqlite::{Connection, Row};
use std::path::Path;

/// How much of a database and its log is looked at before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All of it.
    Whole,
    /// Of a large one the ends, where the power has not failed since it was known to be whole. The rest is for
    /// [`crate::Inspection`].
    Ends,
}

/// A database that is no larger is looked at as a whole in any case: that takes no longer than a process takes to start.
const LARGE_BYTES: u64 = 16 << 20;
/// How many entries of the log's end are looked at where not all are.
const ENTRIES_OF_THE_END: u64 = 10_000;

impl Check {
    /// What is to be done with the database at `path`.
    pub(crate) fn of(self, path: &Path) -> Self {
        // One that can't be looked at is new, or its opening says why.
        let large = std::fs::metadata(path).is_ok_and(|file| file.len() > LARGE_BYTES);
        if large { self } else { Self::Whole }
    }
}

/// Looks at the tables by themselves; damage is [`StoreError::Corrupt`] with what was found first.
pub(crate) fn check(connection: &Connection, path: &Path, applied: Op, how: Check) -> Result<(), StoreError> {
    if how == Check::Whole {
        check_pages(connection, path)?;
    }
    for Table { name: table, key, .. } in TABLES.iter().filter(|table| table.keyed_by_op && !table.is_log()) {
        let beyond = last_op(connection, table, key[0]).map_err(StoreError::sqlite(path))?;
        if beyond > applied {
            let what =
                format!("the tables show the log up to op {applied}, and table {table} goes to {beyond}");
            return Err(StoreError::Corrupt { path: path.to_owned(), what });
        }
    }
    Ok(())
}

/// The highest op that a table has in a column.
pub(crate) fn last_op(connection: &Connection, table: &str, column: &str) -> Result<Op, rusqlite::Error> {
    let last = format!("SELECT coalesce(max({column}), 0) FROM {table}");
    connection.query_row(&last, [], |row| row.get::<_, i64>(0)).map(|op| Op(op.cast_unsigned()))
}

/// Looks at the structure of the file, as `SQLite` knows it.
pub(crate) fn check_pages(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StoreError::sqlite(path))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt { path: path.to_owned(), what: found }) }
}

/// What is wrong with a database and its log, or why that can't be told.
#[derive(Debug)]
pub(crate) enum Unsound {
    /// The tables are not what the log made them: neither can be believed.
    Tables(String),
    /// The log is not the one on which the tables stand, or has lost what was synced.
    Log(String),
    /// It could not be looked at.
    Unknown(StoreError),
}

impl Unsound {
    pub(crate) fn of(error: LogError) -> Self {
        match error {
            LogError::Damaged { .. } | LogError::Missing { .. } | LogError::OtherDatabase { .. } => {
                Self::Log(error.to_string())
            }
            other => Self::Unknown(other.into()),
        }
    }

    /// As the damage that it is, whichever of the two it is in.
    pub(crate) fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Tables(what) | Self::Log(what) => StoreError::Corrupt { path: path.to_owned(), what },
            Self::Unknown(error) => error,
        }
    }

    fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |error| match StoreError::sqlite(&path)(error) {
            StoreError::Corrupt { what, .. } => Self::Tables(what),
            other => Self::Unknown(other),
        }
    }
}

/// Looks at the log of a database, and at what both say of messages: at all of it, or at its end. Returns where it began to look.
pub(crate) fn check_log(
    connection: &Connection,
    path: &Path,
    log: &LogAtRest,
    state: &DatabaseState,
    how: Check,
) -> Result<Position, Unsound> {
    check_place(log, state)?;
    let first = match how {
        Check::Whole => log.base().op,
        Check::Ends => Op(log.end().op.0.saturating_sub(ENTRIES_OF_THE_END)).max(log.base().op),
    };
    let chain = log.reader().chain_at(first).map_err(Unsound::of)?;
    let Some(chain) = chain else { return Err(Unsound::Log(format!("it has no op {first}"))) };
    let from = Position { op: first, chain };
    check_entries(connection, path, state.applied.op, &mut { from }, log.entries_after(first))?;
    Ok(from)
}

/// Looks at entries behind `end`, which follows them: each must follow the one before it by its chain, and where it is applied, its
/// message must be what the table says.
pub(crate) fn check_entries(
    connection: &Connection,
    path: &Path,
    applied: Op,
    end: &mut Position,
    entries: impl Iterator<Item = Result<Entry<Vec<u8>>, LogError>>,
) -> Result<(), Unsound> {
    let mut messages = connection
        .prepare(
            "SELECT id, conversation, sender, text, undeliverable FROM messages WHERE id > ?1 ORDER BY id",
        )
        .map_err(Unsound::sqlite(path))?;
    let mut messages = messages.query([end.op.0.cast_signed()]).map_err(Unsound::sqlite(path))?;
    let mut message = next_message(&mut messages, path)?;
    for entry in entries {
        let entry = entry.map_err(Unsound::of)?;
        let position = entry.position();
        let is_applied = position.op <= applied;
        let unsound = if is_applied { Unsound::Tables } else { Unsound::Log };
        if end.follow(Raw(&entry.record)).position() != position {
            return Err(unsound(format!("the log's chain is broken at op {}", position.op)));
        }
        *end = position;
        let record = decode_record(path, position.op, &entry.record).map_err(|error| match error {
            StoreError::Corrupt { what, .. } => unsound(what),
            other => Unsound::Unknown(other),
        })?;
        if !is_applied {
            continue;
        }
        let kept = message.take_if(|kept| kept.op <= position.op);
        if !agrees(&Entry { op: entry.op, chain: entry.chain, record }, kept.as_ref()) {
            return Err(Unsound::Tables(format!("message {} is not what the log says", position.op)));
        }
        if message.is_none() {
            message = next_message(&mut messages, path)?;
        }
    }
    Ok(())
}

/// Whether the log holds the place at which the tables stand, or begins or ends there.
fn check_place(log: &LogAtRest, state: &DatabaseState) -> Result<(), Unsound> {
    let DatabaseState { applied, database, .. } = *state;
    let (base, end) = (log.base(), log.end());
    let wrong = |what: String| Err(Unsound::Log(format!("{what}, and the tables show {applied}")));
    if log.database() != database {
        wrong("it belongs to another database".into())
    } else if end.op < applied.op {
        wrong(format!("it ends at {end}"))
    } else if base.op > applied.op {
        wrong(format!("it begins after {base}"))
    } else {
        match log.reader().chain_at(applied.op).map_err(Unsound::of)? {
            Some(chain) if chain == applied.chain => Ok(()),
            chain => wrong(chain.map_or("it has no such op".into(), |chain| {
                format!("it has {}", Position { op: applied.op, chain })
            })),
        }
    }
}

/// A message as the table has it.
pub(crate) struct Kept {
    pub(crate) op: Op,
    conversation: ConversationId,
    sender: u64,
    text: String,
    undeliverable: bool,
}

impl Kept {
    /// Reads the columns from this one on: id, conversation, sender, text, undeliverable.
    pub(crate) fn read(row: &Row<'_>, first: usize) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            op: Op(row.get::<_, i64>(first)?.cast_unsigned()),
            conversation: columns::conversation(row, first + 1)?,
            sender: row.get::<_, i64>(first + 2)?.cast_unsigned(),
            text: row.get(first + 3)?,
            undeliverable: row.get(first + 4)?,
        })
    }
}

fn next_message(rows: &mut rusqlite::Rows<'_>, path: &Path) -> Result<Option<Kept>, Unsound> {
    let Some(row) = rows.next().map_err(Unsound::sqlite(path))? else { return Ok(None) };
    // A cell of another type than its column's, or a text that is none, can only be damage.
    let kept = Kept::read(row, 0);
    kept.map(Some).map_err(|error| Unsound::Tables(format!("a message can't be read: {error}")))
}

/// Whether an entry and the message of its op say the same.
pub(crate) fn agrees(entry: &Entry<Record>, kept: Option<&Kept>) -> bool {
    match (entry.record.fact(), kept) {
        (Fact::MessageSent { conversation, from, text, .. }, Some(kept)) => {
            kept.op == entry.op
                && kept.conversation == *conversation
                && kept.sender == from.0
                && (kept.undeliverable || kept.text == *text)
        }
        (Fact::MessageSent { .. }, None) => false,
        (_, kept) => kept.is_none(),
    }
}
