//! How numbers are kept in columns, `SQLite` having signed integers of 64 bits, and conversations.

use chat::{AccountId, ConversationId};
use rusqlite::Row;
use rusqlite::types::Type;

pub(crate) fn millis(time: chat::Millis) -> i64 {
    time.0.cast_signed()
}

/// A place among the messages that a caller names: it may lie beyond every number that a column can hold.
pub(crate) fn place(id: chat::MessageId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

/// What a column holds is nothing that this program has written.
pub(crate) fn damaged(what: impl std::fmt::Display) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.to_string()))
}

pub(crate) fn unsigned(row: &Row<'_>, place: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(place).map(i64::cast_unsigned)
}

/// A column that holds a conversation.
pub(crate) fn conversation(row: &Row<'_>, column: usize) -> Result<ConversationId, rusqlite::Error> {
    ConversationId::from_bytes(row.get(column)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
}

/// The other side of a conversation that the account must be a side of.
pub(crate) fn other_than(
    conversation: ConversationId,
    account: AccountId,
    column: usize,
) -> Result<AccountId, rusqlite::Error> {
    conversation.other_than(account).ok_or_else(|| {
        let what = format!("account {account} is no member of conversation {conversation}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
    })
}
