//! Applying facts: the same rows on every replica, whatever the hour and however often a process restarted in between.
//!
//! Nothing here looks at a clock or at anything but the entry and the tables; nothing here refuses.

use crate::columns::millis;
use crate::forgotten::{delete_dated_before, forget, forgotten, set_forgotten};
use crate::looks;
use crate::lookups::Lookups;
use crate::requests;
use crate::retention::{LogRetention, TIDY_EVERY};
use chat::{AccountId, Fact, MessageId, REQUEST_AGE_MAX, Record, SESSIONS_AN_ACCOUNT_MAX};
use protocol::Entry;
use rusqlite::{Connection, params};

/// Writes an entry to the log and its effect to the tables, inside the caller's transaction.
pub(crate) fn apply(
    lookups: &mut Lookups<'_>,
    entry: &Entry<Record>,
    retention: &LogRetention,
) -> Result<(), rusqlite::Error> {
    let connection = lookups.connection;
    let op = entry.op.0.cast_signed();
    let record = &entry.record;
    connection
        .prepare_cached("INSERT INTO log (op, chain, record) VALUES (?1, ?2, ?3)")?
        .execute(params![op, entry.chain.0, record.json()])?;
    if let Some(mark) = record.request() {
        requests::keep(lookups, mark, record)?;
    }
    apply_fact(connection, op, record)?;
    lookups.applied(record.fact());
    if entry.op.0.is_multiple_of(TIDY_EVERY) {
        tidy(connection, entry, retention)?;
    }
    Ok(())
}

fn apply_fact(connection: &Connection, op: i64, record: &Record) -> Result<(), rusqlite::Error> {
    let at = millis(record.at());
    match record.fact() {
        Fact::HistoryBegan { history, forgotten, ends_sessions } => {
            connection
                .prepare_cached("INSERT INTO histories (began_op, id) VALUES (?1, ?2)")?
                .execute(params![op, history.0.as_bytes()])?;
            if let Some(before) = forgotten {
                set_forgotten(connection, *before)?;
            }
            if *ends_sessions {
                connection.prepare_cached("DELETE FROM sessions")?.execute([])?;
            }
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
        // The rule by which `closes` was drawn up: entries of before it was carry none.
        Fact::SessionOpened { account, token, expires_at, closes: _ } => {
            let account = account.0.cast_signed();
            // A session goes when it expired before all that is remembered, so that no wrong clock ends one. (Until it is
            // known what is forgotten: by the time of the entry, as the version before did.)
            let expired_by = forgotten(connection)?.map_or(at, millis);
            connection
                .prepare_cached("DELETE FROM sessions WHERE account = ?1 AND expires_at <= ?2")?
                .execute(params![account, expired_by])?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO sessions (id, account, token, opened_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![op, account, token.0, at, millis(*expires_at)])?;
            connection
                .prepare_cached(
                    "DELETE FROM sessions WHERE account = ?1 AND id NOT IN
                     (SELECT id FROM sessions WHERE account = ?1 ORDER BY id DESC LIMIT ?2)",
                )?
                .execute(params![account, SESSIONS_AN_ACCOUNT_MAX])?;
        }
        Fact::SessionClosed { session } => {
            connection
                .prepare_cached("DELETE FROM sessions WHERE id = ?1")?
                .execute([session.0.cast_signed()])?;
        }
        Fact::AccountDeleted { account } => {
            let account = account.0.cast_signed();
            connection
                .prepare_cached(
                    "UPDATE messages SET text = '', undeliverable = 1
                     WHERE recipient = ?1 AND id > (SELECT acknowledged FROM accounts WHERE id = ?1)",
                )?
                .execute([account])?;
            connection.prepare_cached("DELETE FROM sessions WHERE account = ?1")?.execute([account])?;
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
            connection
                .prepare_cached("DELETE FROM sessions WHERE account = ?1 AND id <> ?2")?
                .execute(params![account, keep.0.cast_signed()])?;
        }
        Fact::MessageSent { from, from_name, to, to_name, text } => {
            connection
                .prepare_cached(
                    "INSERT INTO messages (id, sender, sender_name, recipient, recipient_name, text, sent_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    op,
                    from.0.cast_signed(),
                    from_name,
                    to.0.cast_signed(),
                    to_name,
                    text,
                    at
                ])?;
        }
        Fact::MessagesAcknowledged { account, up_to } => {
            connection
                .prepare_cached("UPDATE accounts SET acknowledged = max(acknowledged, ?2) WHERE id = ?1")?
                .execute(params![account.0.cast_signed(), up_to.0.cast_signed()])?;
        }
        Fact::ConversationRead { account, with, up_to, shown, shown_up_to } => {
            let shown_up_to = if *shown { shown_up_to.unwrap_or(*up_to) } else { MessageId(0) };
            mark_read(connection, *account, *with, *up_to, shown_up_to)?;
        }
        Fact::ReadMarksSet { account, shown } => {
            connection
                .prepare_cached("UPDATE accounts SET shows_reads = ?2 WHERE id = ?1")?
                .execute(params![account.0.cast_signed(), shown])?;
        }
    }
    Ok(())
}

fn mark_read(
    connection: &Connection,
    account: AccountId,
    with: AccountId,
    up_to: MessageId,
    shown_up_to: MessageId,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO reads (account, peer, up_to, shown_up_to) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, peer) DO UPDATE SET
             up_to = max(up_to, excluded.up_to), shown_up_to = max(shown_up_to, excluded.shown_up_to)",
        )?
        .execute([account.0, with.0, up_to.0, shown_up_to.0].map(u64::cast_signed))?;
    Ok(())
}

fn tidy(
    connection: &Connection,
    entry: &Entry<Record>,
    retention: &LogRetention,
) -> Result<(), rusqlite::Error> {
    if forgotten(connection)?.is_none() {
        // As the version did that wrote this entry: its replicas have all done so.
        delete_dated_before(connection, entry.record.at().minus(REQUEST_AGE_MAX))?;
    }
    let pruned = retention.prune_up_to(entry.op);
    connection.prepare_cached("DELETE FROM log WHERE op <= ?1")?.execute([pruned.0.cast_signed()])?;
    Ok(())
}
