//! What a log of before records were protobuf says of the requests that were forgotten: it is found out when that log goes, and
//! said by the first primary.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{
    AccountId, Action, Answer, MessageId, MessageText, Millis, Recipient, Refusal, Request, RequestId,
    SignedAction, TokenHash,
};
use pair::{Primary, context, decide, difference};
use protocol::Position;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use store::Context;
use uuid::Uuid;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// The right time when a story begins.
const BEGIN: u64 = 1_790_000_000_000;
/// Requests were forgotten whenever this many entries had been added.
const TIDY_EVERY: u64 = 1024;
/// The message that is sent before all others.
const FIRST: MessageId = MessageId(4);

#[derive(Clone, Debug)]
struct Json(String);

impl protocol::Record for Json {
    fn encoded(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A database of schema 4 whose log says nothing of what is forgotten, with alice (account 2, session 3), who writes to herself.
struct OldDatabase {
    connection: Connection,
    end: Position,
}

impl OldDatabase {
    fn new(path: &Path, begin: u64) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        for script in [
            include_str!("../schema/1.sql"),
            include_str!("../schema/2.sql"),
            include_str!("../schema/3.sql"),
            include_str!("../schema/4.sql"),
        ] {
            connection.execute_batch(script).unwrap();
        }
        connection.pragma_update(None, "user_version", 4).unwrap();
        connection.execute("INSERT INTO database (only_row, id) VALUES (1, randomblob(16))", []).unwrap();
        let account = "INSERT INTO accounts (id, name, key, password, created_at) VALUES (2, 'alice', 'alice', 'hash', ?1)";
        connection.execute(account, [begin.cast_signed()]).unwrap();
        let session =
            "INSERT INTO sessions (id, account, token, opened_at, expires_at) VALUES (3, 2, ?1, 0, ?2)";
        connection.execute(session, params![[1_u8; 32], i64::MAX]).unwrap();
        connection.execute("INSERT INTO histories (began_op, id) VALUES (1, ?1)", [[7_u8; 16]]).unwrap();
        let mut old = Self { connection, end: Position::ORIGIN };
        for fact in [
            r#"{"history_began":{"history":"07070707-0707-0707-0707-070707070707"}}"#,
            r#"{"account_created":{"name":"alice","key":"alice","password":"hash"}}"#,
            r#"{"session_opened":{"account":2,"token":[],"expires_at":9}}"#,
        ] {
            old.add(&format!(r#"{{"at":{begin},"fact":{fact}}}"#));
        }
        old
    }

    fn add(&mut self, record: &str) {
        let entry = self.end.follow(Json(record.into()));
        self.end = entry.position();
        let op = entry.op.0.cast_signed();
        let insert = "INSERT INTO log (op, chain, record) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(insert).unwrap().execute(params![op, entry.chain.0, record]).unwrap();
    }

    /// A letter that was sent at that time. Its request is kept until it is tidied away.
    fn letter(&mut self, request: &Request, at: u64) {
        let id = self.end.op.next().0;
        let answer = format!(r#"{{"message_sent":{{"id":{id},"sent_at":{at}}}}}"#);
        self.add(&format!(
            r#"{{"at":{at},"request":{{"id":"{}","digest":[],"answer":{answer}}},"fact":{{"message_sent":{{"from":2,"from_name":"alice","to":2,"to_name":"alice","text":"x"}}}}}}"#,
            request.id.0
        ));
        let insert = "INSERT INTO messages VALUES (?1, 2, 'alice', 2, 'alice', 'x', ?2, 0)";
        let message = params![id.cast_signed(), at.cast_signed()];
        self.connection.prepare_cached(insert).unwrap().execute(message).unwrap();
        let insert = "INSERT INTO requests (id, digest, answer) VALUES (?1, ?2, ?3)";
        let kept = params![request.id.0.as_bytes(), request.action.digest(), answer];
        self.connection.prepare_cached(insert).unwrap().execute(kept).unwrap();
        if id.is_multiple_of(TIDY_EVERY) {
            let oldest = RequestId::first_dated(Millis(at - DAY));
            self.connection.execute("DELETE FROM requests WHERE id < ?1", [oldest.0.as_bytes()]).unwrap();
        }
    }
}

fn letter(dated: u64) -> Request {
    let nanoseconds = u32::try_from(dated % 1000 * 1_000_000).unwrap();
    let dated = uuid::Timestamp::from_unix(uuid::NoContext, dated / 1000, nanoseconds);
    let (to, text) = (Recipient::Account(AccountId(2)), MessageText::parse("x").unwrap());
    let action = SignedAction::SendMessage { to, text, min_copies: 0 };
    let action = Action::Signed { session: TokenHash([1; 32]), action };
    Request { id: RequestId(Uuid::new_v7(dated)), sequence: None, action }
}

fn open(path: &Path) -> Primary {
    Primary::open(path)
}

fn at(now: u64, primacy: u64) -> Context {
    Context { now: Millis(now), primacy, ..context() }
}

fn ask(writer: &mut Primary, request: &Request, context: &Context) -> Result<Answer, Refusal> {
    let executed = decide(writer, std::slice::from_ref(request), context);
    executed.outcomes.into_iter().flatten().next().unwrap()
}

#[test]
fn a_service_that_was_stopped_by_a_wrong_clock_heals_by_itself() {
    // In the first case nothing was deleted by the wrong time; in the second everything was.
    for (case, letters) in [("nothing was forgotten", 10), ("all was forgotten", TIDY_EVERY)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let before = letter(BEGIN);
        let wrong = BEGIN + 40 * DAY;
        let mut old = OldDatabase::new(&path, BEGIN);
        old.letter(&before, BEGIN);
        for _ in 0..letters {
            old.letter(&letter(wrong), wrong);
        }
        drop(old);
        let mut writer = open(&path);
        let now = at(BEGIN + MINUTE, 1);
        let sent = ask(&mut writer, &letter(BEGIN + MINUTE), &now);
        assert!(matches!(sent, Ok(Answer::MessageSent { .. })), "{case}: {sent:?}");
        let retried = ask(&mut writer, &before, &now);
        if letters < TIDY_EVERY {
            assert!(matches!(retried, Ok(Answer::MessageSent { id: FIRST, .. })), "{case}: {retried:?}");
        } else {
            assert!(matches!(retried, Err(Refusal::RequestTooOld { .. })), "{case}: not twice: {retried:?}");
        }
    }
}

#[test]
fn replicas_that_kept_different_parts_of_an_old_log_agree_on_what_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let paths: [PathBuf; 2] = ["a.db", "b.db"].map(|name| folder.path().join(name));
    let begin = BEGIN - 3 * DAY;
    let mut old = OldDatabase::new(&paths[0], begin);
    for place in 0..TIDY_EVERY * 2 {
        let sent_at = begin + place * MINUTE;
        old.letter(&letter(sent_at), sent_at);
    }
    drop(old);
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    Connection::open(&paths[1])
        .unwrap()
        .execute("DELETE FROM log WHERE op < (SELECT max(op) - 500 FROM log)", [])
        .unwrap();
    let [mut primary, mut secondary] = paths.each_ref().map(|path| open(path));
    let hint = |path: &Path| -> Option<i64> {
        Connection::open(path)
            .unwrap()
            .query_row("SELECT forgotten FROM applied", [], |row| row.get(0))
            .unwrap()
    };
    assert!(hint(&paths[0]).is_some() && hint(&paths[1]).is_some());
    // Each is primary once; only the first has to say it.
    for (primacy, entries) in [(1, 2), (2, 1)] {
        let executed = decide(&mut primary, &[letter(BEGIN)], &at(BEGIN, primacy));
        assert_eq!(executed.entries.len(), entries);
        secondary.apply(&executed.entries).unwrap();
        assert_eq!(difference(&paths[0], &paths[1]), None);
        std::mem::swap(&mut primary, &mut secondary);
    }
}
