//! Conversations: with whom an account has exchanged messages, and what each side has seen.
//!
//! Nothing of this is kept; it is read from the messages, by two indexes that jump from one peer to the next (a "loose
//! index scan"), so that a conversation of a million messages costs no more than one of two.

use crate::columns::unsigned;
use crate::error::StoreError;
use crate::message::{MESSAGE, Message, message};
use crate::reader::Reader;
use chat::{AccountId, MessageId};
use rusqlite::params;

/// More unread messages than this in one conversation are not counted.
pub const UNREAD_MAX: u32 = 1000;

/// A conversation, as one of its two sides sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// With whom.
    pub with: AccountId,
    /// That account's name.
    pub with_name: String,
    /// That account was deleted.
    pub with_deleted: bool,
    /// The newest message.
    pub last: Message,
    /// How many of its messages were not seen yet, up to [`UNREAD_MAX`].
    pub unread: u32,
    /// Everything of it up to here was seen.
    pub read_up_to: MessageId,
    /// It has received everything up to here.
    pub delivered_up_to: MessageId,
    /// It has seen everything up to here, as far as it lets this account know.
    pub seen_up_to: MessageId,
}

/// Each peer once, by jumping over all messages of the same one; `of` and `with` are columns of `messages`.
fn peers(name: &str, of: &str, with: &str) -> String {
    format!(
        "{name}(peer) AS (
            SELECT min({with}) FROM messages WHERE {of} = ?1
            UNION ALL
            SELECT (SELECT min({with}) FROM messages WHERE {of} = ?1 AND {with} > {name}.peer)
            FROM {name} WHERE {name}.peer IS NOT NULL)"
    )
}

/// How far the account's own messages got: what lies between them is others', and not told.
fn last_of_mine(up_to: &str) -> String {
    format!(
        "coalesce((SELECT max(id) FROM messages WHERE sender = ?1 AND recipient = page.peer AND id <= {up_to}), 0)"
    )
}

/// The account is `?1`, the message before which a page begins `?2`, its length `?3`, the bound of what is counted `?4`.
fn list() -> String {
    let (to, from) = (peers("sent", "sender", "recipient"), peers("received", "recipient", "sender"));
    let newest = "max(
        coalesce((SELECT max(id) FROM messages WHERE sender = ?1 AND recipient = peer), 0),
        coalesce((SELECT max(id) FROM messages WHERE recipient = ?1 AND sender = peer), 0))";
    let (delivered, seen) =
        (last_of_mine("peers.acknowledged"), last_of_mine("coalesce(theirs.shown_up_to, 0)"));
    format!(
        "WITH RECURSIVE {to}, {from}, newest(peer, id) AS (
            SELECT peer, {newest} FROM
            (SELECT peer FROM sent WHERE peer IS NOT NULL UNION SELECT peer FROM received WHERE peer IS NOT NULL)),
        page(peer, id) AS (SELECT peer, id FROM newest WHERE id < ?2 ORDER BY id DESC LIMIT ?3)
        SELECT {MESSAGE},
            peers.id, peers.name, peers.deleted_at IS NOT NULL, {delivered},
            coalesce(mine.up_to, 0),
            CASE WHEN me.shows_reads THEN {seen} ELSE 0 END,
            (SELECT count(*) FROM (SELECT 1 FROM messages AS new
                WHERE new.recipient = ?1 AND new.sender = page.peer AND new.id > coalesce(mine.up_to, 0)
                AND new.sender <> ?1 AND new.undeliverable = 0 LIMIT ?4))
        FROM page
        JOIN messages ON messages.id = page.id
        JOIN accounts AS peers ON peers.id = page.peer
        JOIN accounts AS me ON me.id = ?1
        LEFT JOIN reads AS mine ON mine.account = ?1 AND mine.peer = page.peer
        LEFT JOIN reads AS theirs ON theirs.account = page.peer AND theirs.peer = ?1
        ORDER BY page.id DESC"
    )
}

impl Reader<'_> {
    /// An account's conversations whose newest message is older than `before`, the newest first. Indexes:
    /// `messages_conversation`, `messages_received`.
    pub fn conversations(
        &self,
        account: AccountId,
        before: MessageId,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        let found = self.connection().prepare_cached(&list()).and_then(|mut find| {
            let before = before.0.min(i64::MAX as u64).cast_signed();
            find.query_map(params![account.0.cast_signed(), before, limit, UNREAD_MAX], |row| {
                Ok(Conversation {
                    last: message(row)?,
                    with: AccountId(unsigned(row, 9)?),
                    with_name: row.get(10)?,
                    with_deleted: row.get(11)?,
                    delivered_up_to: MessageId(unsigned(row, 12)?),
                    read_up_to: MessageId(unsigned(row, 13)?),
                    seen_up_to: MessageId(unsigned(row, 14)?),
                    unread: row.get(15)?,
                })
            })?
            .collect()
        });
        self.sql(found)
    }

    /// What an account has sent and its recipients have not acknowledged: of each living recipient the newest messages, at
    /// most `each_max`, oldest first. Index: `messages_conversation`.
    pub fn unacknowledged(
        &self,
        account: AccountId,
        each_max: usize,
    ) -> Result<Vec<(AccountId, Vec<MessageId>)>, StoreError> {
        let query = format!(
            "WITH RECURSIVE {}
             SELECT peer, messages.id FROM sent
             JOIN accounts ON accounts.id = peer AND accounts.deleted_at IS NULL
             JOIN messages ON messages.id IN
                 (SELECT id FROM messages WHERE sender = ?1 AND recipient = peer AND id > accounts.acknowledged
                  ORDER BY id DESC LIMIT ?2)
             ORDER BY peer, messages.id",
            peers("sent", "sender", "recipient")
        );
        let found = self.connection().prepare_cached(&query).and_then(|mut find| {
            let each_max = i64::try_from(each_max).unwrap_or(i64::MAX);
            let mut rows = find.query([account.0.cast_signed(), each_max])?;
            let mut all: Vec<(AccountId, Vec<MessageId>)> = Vec::new();
            while let Some(row) = rows.next()? {
                let (with, id) = (AccountId(unsigned(row, 0)?), MessageId(unsigned(row, 1)?));
                match all.last_mut() {
                    Some((last, ids)) if *last == with => ids.push(id),
                    _ => all.push((with, vec![id])),
                }
            }
            Ok(all)
        });
        self.sql(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_list_of_conversations_does_not_read_their_messages() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _) = crate::database::open(&folder.path().join("chat.db")).unwrap();
        let fill = "
            INSERT INTO accounts (id, name, key, password, created_at)
                VALUES (1, 'alice', 'alice', '', 0), (2, 'bob', 'bob', '', 0), (3, 'carol', 'carol', '', 0);
            WITH RECURSIVE number(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM number WHERE n < 20000)
                INSERT INTO messages (id, sender, sender_name, recipient, recipient_name, text, sent_at)
                SELECT n, 1 + n % 2, '', 2 - n % 2, '', 'hello', 0 FROM number;
            INSERT INTO reads (account, peer, up_to, shown_up_to) VALUES (1, 2, 19990, 0), (2, 1, 19980, 0);";
        connection.execute_batch(fill).unwrap();
        let mut find = connection.prepare(&list()).unwrap();
        let unread: u32 = find.query_row(params![1, i64::MAX, 10, UNREAD_MAX], |row| row.get(15)).unwrap();
        assert_eq!(unread, 5);
        let steps = find.get_status(StatementStatus::VmStep);
        assert!(steps < 2000, "20,000 messages of one conversation took {steps} steps");
    }
}
