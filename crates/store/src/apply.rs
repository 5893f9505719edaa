//! Applying facts: the same rows on every replica, whatever the hour and however often a process restarted in between.
//!
//! Nothing here looks at a clock or at anything but the entry and the tables; nothing here refuses.

use crate::columns::millis;
use crate::forgotten::{forget, forgotten, set_forgotten};
use crate::looks;
use crate::members;
use crate::message::acknowledged;
use crate::{requests, sessions};
use chat::{AccountId, Fact, MessageId, Record, SESSIONS_AN_ACCOUNT_MAX};
use protocol::Entry;
use rusqlite::{Connection, params};

/// Writes the effects of entries to the tables, inside the caller's transaction.
pub(crate) fn apply(connection: &Connection, entries: &[Entry<Record>]) -> Result<(), rusqlite::Error> {
    for Entry { op, record, .. } in entries {
        if let Some(mark) = record.request() {
            requests::keep(connection, mark)?;
        }
        apply_fact(connection, op.0.cast_signed(), record)?;
    }
    Ok(())
}

fn apply_fact(connection: &Connection, op: i64, record: &Record) -> Result<(), rusqlite::Error> {
    let at = millis(record.at());
    match record.fact() {
        Fact::HistoryBegan { history, forgotten } => {
            connection
                .prepare_cached("INSERT INTO histories (began_op, id) VALUES (?1, ?2)")?
                .execute(params![op, history.0.as_bytes()])?;
            if let Some(before) = forgotten {
                set_forgotten(connection, *before)?;
            }
            sessions::end(connection, "true", &[])?;
        }
        Fact::RequestsForgotten { before } => forget(connection, *before)?,
        Fact::AccountCreated { name, key, password } => {
            connection
                .prepare_cached(
                    "INSERT INTO accounts (id, name, key, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![op, name, key, password.0, at])?;
            looks::add(connection, op, name, key)?;
        }
        // By the rule by which `closes` was drawn up, which is for those who listen.
        Fact::SessionOpened { account, token, expires_at, closes: _ } => {
            let account = account.0.cast_signed();
            // A session goes when it expired before all that is remembered, so that no wrong clock ends one.
            let expired_by = millis(forgotten(connection)?.unwrap_or_default());
            sessions::end(connection, "account = ?1 AND expires_at <= ?2", params![account, expired_by])?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO sessions (id, account, token, opened_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![op, account, token.0, at, millis(*expires_at)])?;
            let beyond_those_kept = "account = ?1 AND id NOT IN
                (SELECT id FROM sessions WHERE account = ?1 ORDER BY id DESC LIMIT ?2)";
            sessions::end(connection, beyond_those_kept, params![account, SESSIONS_AN_ACCOUNT_MAX])?;
        }
        Fact::SessionClosed { session } => {
            sessions::end(connection, "id = ?1", params![session.0.cast_signed()])?;
        }
        Fact::AccountDeleted { account } => {
            forget_what_did_not_arrive(connection, *account)?;
            let account = account.0.cast_signed();
            sessions::end(connection, "account = ?1", params![account])?;
            connection
                .prepare_cached("UPDATE accounts SET deleted_at = ?2, password = '' WHERE id = ?1")?
                .execute(params![account, at])?;
            looks::remove(connection, account)?;
        }
        Fact::PasswordChanged { account, password, keep } => {
            let account = account.0.cast_signed();
            connection
                .prepare_cached("UPDATE accounts SET password = ?2 WHERE id = ?1")?
                .execute(params![account, password.0])?;
            sessions::end(connection, "account = ?1 AND id <> ?2", params![account, keep.0.cast_signed()])?;
        }
        Fact::MessageSent { conversation, from, from_name, to_name, text } => {
            connection
                .prepare_cached(
                    "INSERT INTO messages (id, conversation, sender, sender_name, to_name, text, sent_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    op,
                    conversation.as_bytes(),
                    from.0.cast_signed(),
                    from_name,
                    to_name,
                    text,
                    at
                ])?;
            members::sent(connection, *conversation, MessageId(op.cast_unsigned()))?;
        }
        Fact::MessagesAcknowledged { account, up_to } => {
            connection
                .prepare_cached("UPDATE accounts SET acknowledged = max(acknowledged, ?2) WHERE id = ?1")?
                .execute(params![account.0.cast_signed(), up_to.0.cast_signed()])?;
        }
        Fact::ConversationSeen { account, conversation, up_to, shown_up_to } => {
            let shown_up_to = shown_up_to.unwrap_or_default();
            members::seen(connection, *account, *conversation, *up_to, shown_up_to)?;
        }
        Fact::SeenShown { account, shown } => {
            connection
                .prepare_cached("UPDATE accounts SET shows_reads = ?2 WHERE id = ?1")?
                .execute(params![account.0.cast_signed(), shown])?;
        }
    }
    Ok(())
}

/// Of what a deleted account had not received, the texts go. Index: `messages_conversation`.
fn forget_what_did_not_arrive(connection: &Connection, account: AccountId) -> Result<(), rusqlite::Error> {
    let received = acknowledged(connection, account)?.unwrap_or_default();
    let mut update = connection.prepare_cached(
        "UPDATE messages SET text = '', undeliverable = 1 WHERE conversation = ?1 AND sender = ?2 AND id > ?3",
    )?;
    for member in members::of(connection, account)? {
        let (sender, received) = (member.with.0.cast_signed(), received.0.cast_signed());
        update.execute(params![member.conversation.as_bytes(), sender, received])?;
    }
    Ok(())
}
