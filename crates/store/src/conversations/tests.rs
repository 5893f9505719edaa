//! What listing and listening cost: the answer, and not what else the conversations hold.

mod membership;

use super::*;
use rusqlite::params;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
/// The newest message of the long conversation.
const LAST: i64 = 50_000;

/// A database with accounts 1 to 12,000.
struct Chat {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Chat {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection =
            crate::database::open(&folder.path().join("chat.db"), crate::soundness::Check::Whole)
                .unwrap()
                .connection;
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        connection
            .execute_batch(
                "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 12000)
                 INSERT INTO accounts (id, name, key, password, created_at) SELECT n, n, n, '', 0 FROM number",
            )
            .unwrap();
        Self { folder, connection }
    }

    /// Messages with these numbers, by turns from one and from the other where `turns`, else all from one.
    fn talk(&self, one: AccountId, other: AccountId, ids: std::ops::RangeInclusive<i64>, turns: bool) {
        let conversation = ConversationId::direct(one, other);
        let fill = "
            WITH RECURSIVE number (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
            INSERT INTO messages (id, conversation, sender, sender_name, to_name, text, sent_at)
            SELECT n, ?3, CASE WHEN ?6 AND n % 2 THEN ?5 ELSE ?4 END, '', '', 'hello', 0 FROM number";
        let (first, last) = (*ids.start(), *ids.end());
        let [one, other] = [one, other].map(|id| id.0.cast_signed());
        self.connection
            .execute(fill, params![first, last, conversation.as_bytes(), one, other, turns])
            .unwrap();
        if let Some((_, higher)) = conversation.parties().filter(|(lower, higher)| lower != higher) {
            let join = "INSERT OR IGNORE INTO members (account, conversation) VALUES (?1, ?2)";
            self.connection.execute(join, params![higher.0.cast_signed(), conversation.as_bytes()]).unwrap();
        }
    }

    /// How many steps of `SQLite`'s machine a question takes, and its answer.
    fn ask<T>(&mut self, question: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> (u64, T) {
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        self.connection.progress_handler(1, Some(count)).unwrap();
        let answer = question(&Reader::on(&self.connection, self.folder.path())).unwrap();
        self.connection.progress_handler(0, None::<fn() -> bool>).unwrap();
        (steps.load(Ordering::Relaxed), answer)
    }
}

#[test]
fn a_list_of_conversations_does_not_read_their_messages() {
    for turns in [true, false] {
        let mut chat = Chat::new();
        chat.talk(BOB, ALICE, 10..=LAST, turns);
        for (account, seen) in [(ALICE, LAST - 10), (BOB, LAST - 20)] {
            let conversation = ConversationId::direct(ALICE, BOB);
            let up_to = MessageId(seen.cast_unsigned());
            members::seen(&chat.connection, account, conversation, up_to, up_to).unwrap();
        }
        let list = |reader: &Reader<'_>| reader.conversations(ALICE, MessageId(u64::MAX), 10);
        let (steps, list) = chat.ask(list);
        assert_eq!(list[0].unread, if turns { 5 } else { 10 });
        assert!(steps < 1000, "one conversation of {LAST} messages took {steps} steps");
    }
}

/// All that alice has sent lies between what she has and what is new to her.
#[test]
fn what_an_account_has_sent_itself_is_not_read_by_the_way() {
    let mut chat = Chat::new();
    chat.talk(ALICE, BOB, 1..=LAST, false);
    chat.talk(BOB, ALICE, LAST + 1..=LAST + 1, false);
    let (steps, page) = chat.ask(|reader| reader.messages_after(ALICE, MessageId(0), false, 100, usize::MAX));
    assert_eq!(page.messages.iter().map(|message| message.sender).collect::<Vec<_>>(), [BOB]);
    assert!(steps < 1000, "listening took {steps} steps");
    let (steps, list) = chat.ask(|reader| reader.conversations(ALICE, MessageId(u64::MAX), 10));
    assert_eq!((list.len(), list[0].unread), (1, 1));
    assert!(steps < 1000, "listing took {steps} steps");
    let (steps, waiting) = chat.ask(|reader| reader.unacknowledged(ALICE, 3));
    let newest = [LAST - 2, LAST - 1, LAST].map(|id| MessageId(id.cast_unsigned()));
    assert_eq!(waiting, [(ConversationId::direct(ALICE, BOB), newest.to_vec())]);
    assert!(steps < 1000, "looking for what did not arrive took {steps} steps");
    let question = |reader: &Reader<'_>| {
        let conversation = ConversationId::direct(ALICE, BOB);
        Ok(last_sent(reader.connection(), conversation, BOB, MessageId(LAST.cast_unsigned())).unwrap())
    };
    let (steps, theirs) = chat.ask(question);
    assert_eq!(theirs, None);
    assert!(steps < 100, "looking what of bob's comes before took {steps} steps");
}

#[test]
fn many_conversations_cost_a_look_at_each() {
    // With accounts of higher numbers they are found in the index of the messages, with those of lower ones by their rows.
    for (account, listing, from_the_start, to_the_end) in
        [(ALICE, 360_000, 560_000, 345_000), (AccountId(12_000), 450_000, 600_000, 400_000)]
    {
        let mut chat = Chat::new();
        let with = |place: i64| AccountId(place.cast_unsigned() + 1000);
        for place in 1..=10_000 {
            chat.talk(with(place), account, place..=place, false);
        }
        let (steps, list) = chat.ask(|reader| reader.conversations(account, MessageId(u64::MAX), 100));
        assert_eq!((list.len(), list[0].with), (100, with(10_000)));
        assert!(steps < listing, "account {account}: listing took {steps} steps");
        let listen = |after| {
            move |reader: &Reader<'_>| reader.messages_after(account, MessageId(after), true, 100, usize::MAX)
        };
        let (steps, page) = chat.ask(listen(0));
        assert_eq!((page.messages.len(), page.messages[0].sender, page.more), (100, with(1), true));
        assert!(steps < from_the_start, "account {account}: listening from the start took {steps} steps");
        let (steps, page) = chat.ask(listen(9_990));
        assert_eq!((page.messages.len(), page.more), (10, false));
        assert!(steps < to_the_end, "account {account}: listening to the end took {steps} steps");
    }
}

#[test]
fn what_is_asked_of_messages_is_found_by_one_index() {
    let chat = Chat::new();
    let covering = "USING COVERING INDEX messages_conversation (conversation=? AND sender=? AND rowid";
    for (statement, expected) in [
        ("SELECT max(id) FROM messages WHERE conversation = ?1 AND sender = ?2 AND id <= ?3", covering),
        ("SELECT min(id) FROM messages WHERE conversation = ?1 AND sender = ?2 AND id > ?3", covering),
        (
            "SELECT id FROM messages WHERE conversation = ?1 AND sender = ?2 AND id > ?3 ORDER BY id DESC",
            covering,
        ),
        (
            "UPDATE messages SET text = '' WHERE conversation = ?1 AND sender = ?2 AND id > ?3",
            &covering.replace("COVERING ", ""),
        ),
        ("SELECT 1 FROM members WHERE account = ?1 ORDER BY conversation", "USING PRIMARY KEY (account=?)"),
        (
            "SELECT id FROM messages WHERE conversation < ?1 AND conversation >= ?2
             ORDER BY conversation DESC, sender DESC, id DESC LIMIT 1",
            "USING COVERING INDEX messages_conversation (conversation>? AND conversation<?)",
        ),
        (
            "SELECT 1 FROM messages WHERE conversation = ?1 AND id <> ?2 LIMIT 1",
            "USING COVERING INDEX messages_conversation (conversation=?)",
        ),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let mut explain = chat.connection.prepare(&explain).unwrap();
        let given = explain.parameter_count();
        let plan = explain.query_map(rusqlite::params_from_iter(vec![1; given]), |row| row.get(3)).unwrap();
        let plan: Vec<String> = plan.map(Result::unwrap).collect();
        assert!(plan.len() == 1 && plan[0].contains(expected), "{statement}: {plan:?}");
    }
}
