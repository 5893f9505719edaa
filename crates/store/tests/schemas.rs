//! A database of each schema that there ever was is brought to the newest one, without losing what it holds.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod kept;
mod pair;

use chat::{
    AccountId, ConversationId, Fact, MessageId, Millis, Recipient, Request, RequestId, SessionId,
    SignedAction, TokenHash,
};
use kept::{beside, content, copy_of, kept, one, open};
use pair::{Pair, Primary, context, decide, difference, request};
use protocol::{Chain, Op, Position};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;
use store::{BEFORE_LOG_SUFFIX, Context, Message, Reader, Readers, check_snapshot, remove_before_log};
use uuid::Uuid;

const ALICE: AccountId = AccountId(2);
const BOB: AccountId = AccountId(4);
const CAROL: AccountId = AccountId(6);

/// Where the log of each of the databases before schema 7 ends, and when its last entry was written.
fn end() -> (Position, Millis) {
    let (chain, at) = Connection::open(kept(6))
        .unwrap()
        .query_row("SELECT chain, record ->> '$.at' FROM log WHERE op = 23", [], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?))
        })
        .unwrap();
    (Position { op: Op(23), chain: Chain(chain) }, Millis(at.cast_unsigned()))
}

fn conversation(
    reader: &Reader<'_>,
    one: AccountId,
    other: AccountId,
) -> Vec<(u64, u64, String, bool, bool)> {
    let id = ConversationId::direct(one, other);
    let page = reader.conversation(id, MessageId(u64::MAX), 10, usize::MAX).unwrap();
    let short = |message: Message| {
        assert_eq!(message.conversation, id);
        assert_eq!(message.recipient, id.other_than(message.sender).unwrap());
        (message.id.0, message.sender.0, message.text, message.delivered, message.undeliverable)
    };
    page.messages.into_iter().map(short).collect()
}

fn check_accounts(reader: &Reader<'_>, schema: u8) {
    let found = [ALICE, BOB, CAROL].map(|id| reader.account(id).unwrap().unwrap());
    let told = found.each_ref().map(|account| {
        (&*account.name, account.acknowledged.0, account.deleted_at.is_some(), account.shows_reads)
    });
    let alice_shows = schema < 2;
    assert_eq!(told, [("Alice", 0, false, alice_shows), ("bob", 10, false, true), ("carol", 13, true, true)]);
    let hashed = found.each_ref().map(|account| account.password.0.starts_with("$argon2id$"));
    assert_eq!(hashed, [true, true, false]);
    assert!(reader.looks_taken(&pair::name("\u{430}lice")).unwrap());
}

fn check_messages(reader: &Reader<'_>, schema: u8) {
    let message = |id, from, text: &str, delivered| (id, from, text.to_owned(), delivered, false);
    assert_eq!(
        conversation(reader, ALICE, BOB),
        [
            message(15, 4, "unread", false),
            message(10, 2, "line\n\"quote\" 👋 \u{2028}", true),
            message(9, 4, "hello alice", false),
            message(8, 2, "hello bob", true),
        ]
    );
    assert_eq!(conversation(reader, ALICE, ALICE), [message(11, 2, "a note to myself", false)]);
    assert_eq!(
        conversation(reader, CAROL, ALICE),
        [
            (14, 2, String::new(), false, true),
            message(13, 2, "seen by carol", true),
            message(12, 6, "from carol", false),
        ]
    );
    let heard = reader.messages_after(ALICE, MessageId(0), false, 10, usize::MAX).unwrap();
    assert_eq!(heard.messages.iter().map(|message| message.id.0).collect::<Vec<_>>(), [9, 11, 12, 15]);
    let list = reader.conversations(ALICE, MessageId(u64::MAX), 10).unwrap();
    let told = list.iter().map(|one| (one.with, one.last.id.0, one.unread, one.read_up_to.0));
    let read = if schema < 2 { (2, 0) } else { (1, 9) };
    assert_eq!(told.collect::<Vec<_>>(), [(BOB, 15, read.0, read.1), (CAROL, 14, 1, 0), (ALICE, 11, 0, 0)]);
    let bobs = &reader.conversations(BOB, MessageId(u64::MAX), 10).unwrap()[0];
    assert_eq!((bobs.with, bobs.read_up_to.0), (ALICE, if schema < 2 { 0 } else { 10 }));
}

/// Every session is valid as long as it was.
fn check_sessions(reader: &Reader<'_>, schema: u8) {
    let old = Connection::open(kept(schema)).unwrap();
    let mut find = old.prepare("SELECT id, account, token, opened_at, expires_at FROM sessions").unwrap();
    let sessions = find.query_map([], |row| {
        let number = |place| row.get::<_, i64>(place).map(i64::cast_unsigned);
        Ok((number(0)?, number(1)?, row.get::<_, [u8; 32]>(2)?, number(3)?, number(4)?))
    });
    let sessions: Vec<_> = sessions.unwrap().map(Result::unwrap).collect();
    assert_eq!(sessions.len(), 2);
    for (id, account, token, opened_at, expires_at) in sessions {
        let found = reader.session(TokenHash(token), Millis(opened_at)).unwrap();
        assert_eq!(
            (found.id, found.account.id, found.expires_at),
            (SessionId(id), AccountId(account), Millis(expires_at))
        );
    }
}

/// Every request has its answer, and its caller is known, by a session that has ended too.
fn check_requests(reader: &Reader<'_>, schema: u8) {
    let old = Connection::open(kept(schema)).unwrap();
    let mut find = old.prepare("SELECT id, digest, answer FROM requests").unwrap();
    let requests =
        find.query_map([], |row| Ok((row.get(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, String>(2)?)));
    let (mut kept, mut gone) = (0, 0);
    for (id, digest, answer) in requests.unwrap().map(Result::unwrap) {
        let found = reader.request(RequestId(Uuid::from_bytes(id))).unwrap();
        // What those before schema 6 can't be asked for again: see its script.
        let owned =
            ["message_sent", "account_created", "history_begun"].iter().any(|kind| answer.contains(kind));
        let Some(found) = found else {
            assert!(schema < 6 && !owned, "{answer}");
            gone += 1;
            continue;
        };
        assert!(found.asked_for(digest) && !found.asked_for([0; 16]));
        assert_eq!(serde_json::to_string(&found.outcome.answer).unwrap(), answer);
        kept += 1;
    }
    let counts = match schema {
        ..6 => (12, 11),
        6 => (23, 0),
        _ => (26, 0),
    };
    assert_eq!((kept, gone), counts);
    let senders = "SELECT requests.id, sender FROM requests JOIN messages ON messages.id = answer ->> '$.message_sent.id'";
    let mut find = old.prepare(senders).unwrap();
    let mut sent = find.query([]).unwrap();
    while let Some(row) = sent.next().unwrap() {
        let found = reader.request(RequestId(Uuid::from_bytes(row.get(0).unwrap()))).unwrap().unwrap();
        let sender = row.get::<_, i64>(1).unwrap().cast_unsigned();
        assert_eq!(found.account, Some(AccountId(sender)));
        let mut sessions = old.prepare("SELECT account, token FROM sessions").unwrap();
        let mut sessions = sessions.query([]).unwrap();
        while let Some(row) = sessions.next().unwrap() {
            let (account, token): (i64, _) = (row.get(0).unwrap(), TokenHash(row.get(1).unwrap()));
            assert_eq!(reader.came_with(&found, token).unwrap(), account.cast_unsigned() == sender);
        }
    }
    if schema < 6 {
        return;
    }
    let mut find = old.prepare("SELECT id, account, session, passwords FROM requests").unwrap();
    let mut owned = find.query([]).unwrap();
    while let Some(row) = owned.next().unwrap() {
        let found = reader.request(RequestId(Uuid::from_bytes(row.get(0).unwrap()))).unwrap().unwrap();
        assert_eq!(found.account.map(|account| account.0.cast_signed()), row.get(1).unwrap());
        if let Some(token) = row.get(2).unwrap() {
            assert!(reader.came_with(&found, TokenHash(token)).unwrap());
            assert!(!reader.came_with(&found, TokenHash([9; 32])).unwrap());
        }
        let passwords: Option<String> = row.get(3).unwrap();
        let passwords = passwords.map_or(Vec::new(), |json| serde_json::from_str(&json).unwrap());
        assert_eq!(found.outcome.passwords, passwords);
    }
}

fn check(path: &Path, schema: u8) {
    if schema == 7 {
        return check_seven(path);
    }
    Readers::new(path)
        .read(|reader| {
            check_accounts(reader, schema);
            check_messages(reader, schema);
            check_sessions(reader, schema);
            check_requests(reader, schema);
            let (position, at) = end();
            assert_eq!((reader.identity()?.applied, reader.identity()?.last_at), (position, at));
            assert_eq!((reader.applied()?.op, reader.history()?.is_some()), (position.op, true));
            Ok(())
        })
        .unwrap();
}

/// A database has all rows that it had, but those of these tables. Of a conversation's members the newest message is not kept, and
/// the lower of the two sides has a row if it has seen something.
fn assert_has_all_but(path: &Path, schema: u8, others: &[&str]) {
    let select = |table: &str| format!("SELECT * FROM {table}");
    let others: Vec<String> = others.iter().map(|table| select(table)).collect();
    let (mut was, is) = (content(&kept(schema)), content(path));
    was.retain(|(table, _)| !others.contains(table) && table != "PRAGMA user_version");
    for (table, mut rows) in was {
        if table == select("members") {
            if schema < 9 {
                // Its third column was the newest message.
                for row in &mut rows {
                    row.remove(2);
                }
            }
            rows.retain(|row| has_a_row(row));
            assert!(!rows.is_empty());
        }
        assert!(is.contains(&(table.clone(), rows)), "{table}");
    }
}

/// Whether a member, its conversation and what it has seen are kept as a row.
fn has_a_row(member: &[Value]) -> bool {
    let [Value::Integer(account), Value::Blob(conversation), Value::Integer(seen), Value::Integer(shown)] =
        member
    else {
        panic!("{member:?}");
    };
    let conversation = ConversationId::from_bytes(conversation.as_slice().try_into().unwrap()).unwrap();
    let (lower, _) = conversation.parties().unwrap();
    lower.0.cast_signed() != *account || seen.max(shown) > &0
}

/// A database of schema 7 has the tables that it had, and stands where its log ended, behind the end of the one before.
fn check_seven(path: &Path) {
    assert_has_all_but(path, 7, &["log", "base", "database", "requests"]);
    let last: Vec<u8> = one(&kept(7), "SELECT chain FROM log WHERE op = 26");
    let state = Readers::new(path)
        .read(|reader| {
            check_requests(reader, 7);
            reader.identity()
        })
        .unwrap();
    assert_eq!(state.applied, Position { op: Op(26), chain: Chain(last.try_into().unwrap()) });
    assert_eq!((state.last_at.0, state.log_begun), (end().1.0 + 2000, false));
    let id: Vec<u8> = one(&kept(7), "SELECT id FROM database");
    assert_eq!(state.database.0.as_slice(), id);
}

/// At the time when these databases were written: their sessions and requests are not too old.
fn then() -> Context {
    Context { now: end().1, ..context() }
}

fn letter(session: [u8; 32], to: AccountId) -> Request {
    let text = chat::MessageText::parse("after").unwrap();
    let action = SignedAction::SendMessage { to: Recipient::Account(to), text, min_copies: 0 };
    let milliseconds = end().1.0;
    let dated = uuid::Timestamp::from_unix(uuid::NoContext, milliseconds / 1000, 0);
    let request = request(chat::Action::Signed { session: TokenHash(session), action });
    Request { id: RequestId(Uuid::new_v7(dated)), ..request }
}

#[test]
fn a_database_of_each_schema_has_all_that_it_had_and_goes_on() {
    for schema in 1..=6 {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| copy_of(schema, folder.path(), name));
        let [primary, secondary] = paths.each_ref().map(|path| open(path).unwrap());
        check(&paths[0], schema);
        assert_eq!(difference(&paths[0], &paths[1]), None, "schema {schema}");
        let forgotten: Option<i64> = one(&paths[0], "SELECT before FROM forgotten");
        assert_eq!(forgotten, if schema < 5 { None } else { Some(0) });
        for path in &paths {
            let copy = beside(path, BEFORE_LOG_SUFFIX);
            assert_eq!(content(&copy), content(&kept(schema)), "schema {schema}: the copy is whole");
            let others = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&copy).unwrap()) & 0o077;
            assert_eq!(others, 0, "it is private");
        }

        let mut pair = Pair { folder, primary: Primary::on(primary), secondary };
        let alice: [u8; 32] = one(&paths[0], "SELECT token FROM sessions WHERE account = 2");
        let executed = decide(&mut pair.primary, &[letter(alice, BOB)], &then());
        assert!(executed.outcomes[0].as_ref().unwrap().is_ok(), "{:?}", executed.outcomes);
        let says = matches!(executed.entries[0].record.fact(), Fact::RequestsForgotten { before: Millis(0) });
        assert_eq!(says, schema < 5, "what is forgotten is said once, where it was not known");
        pair.secondary.apply(&executed.entries).unwrap();
        pair.assert_same();
        let again = decide(&mut pair.primary, &[], &then());
        assert_eq!(again.entries, []);

        // A restart, a repair and a snapshot go on from there.
        let position = pair.primary.state().applied;
        assert_eq!(pair.primary.repair().applied, position);
        pair.secondary = open(&paths[1]).unwrap();
        assert_eq!(pair.secondary.state().applied, position);
        let incoming = pair.folder.path().join("incoming");
        Readers::new(&paths[0]).read(|reader| reader.snapshot_to(&incoming)).unwrap();
        assert_eq!(check_snapshot(&incoming, None).unwrap().applied, position);
        assert_eq!(difference(&paths[0], &incoming), None);
    }
}

/// Their log is in files: it goes on where it was, so there is nothing to go back to.
#[test]
fn a_database_of_schema_8_or_9_keeps_its_log_and_lists_its_conversations_as_before() {
    for schema in [8, 9] {
        let folder = tempfile::tempdir().unwrap();
        let path = copy_of(schema, folder.path(), "a");
        drop(open(&path).unwrap());
        // It counts the starts.
        assert_has_all_but(&path, schema, &["database"]);
        let id = |path: &Path| one::<Vec<u8>>(path, "SELECT id FROM database");
        assert_eq!(id(&path), id(&kept(schema)));
        assert!(!beside(&path, BEFORE_LOG_SUFFIX).exists());
        // Both hold the same, and in schema 8 each row said it.
        let newest = Connection::open(kept(8)).unwrap();
        let mut newest =
            newest.prepare("SELECT account, newest FROM members ORDER BY account, newest DESC").unwrap();
        let newest = newest.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let newest: Vec<(i64, i64)> = newest.map(Result::unwrap).collect();
        let listed = [ALICE, BOB, CAROL].into_iter().flat_map(|account| {
            let list = |reader: &Reader<'_>| reader.conversations(account, MessageId(u64::MAX), 10);
            let list = Readers::new(&path).read(list).unwrap().into_iter();
            list.map(move |one| (account.0.cast_signed(), one.last.id.0.cast_signed()))
        });
        assert_eq!(listed.collect::<Vec<_>>(), newest);
        assert!(newest.len() > 3, "{newest:?}");
    }
}

/// What an earlier start has done in the folder of a database.
type WhatHappened = &'static dyn Fn(&Path);
#[test]
fn wherever_the_first_start_ends_the_next_one_goes_on() {
    let stories: [(&str, WhatHappened); 3] = [
        ("the copy was begun", &|path| {
            std::fs::write(beside(path, ".before-log-draft"), "half a copy").unwrap();
        }),
        ("the copy is made", &|path| {
            std::fs::copy(path, beside(path, BEFORE_LOG_SUFFIX)).unwrap();
        }),
        ("the tables are made anew, and nothing was committed", &|path| {
            std::fs::copy(path, beside(path, BEFORE_LOG_SUFFIX)).unwrap();
            let mut open = Connection::open(path).unwrap();
            open.pragma_update(None, "journal_mode", "WAL").unwrap();
            let transaction = open.transaction().unwrap();
            transaction.execute_batch(include_str!("../schema/7.sql")).unwrap();
            // It ends without a commit.
            transaction.rollback().unwrap();
        }),
    ];
    for (what, so_far) in stories {
        for schema in [1, 6, 7] {
            let folder = tempfile::tempdir().unwrap();
            let path = copy_of(schema, folder.path(), "a");
            if schema == 6 || !what.starts_with("the tables") {
                so_far(&path);
            }
            drop(open(&path).unwrap());
            check(&path, schema);
            assert_eq!(content(&beside(&path, BEFORE_LOG_SUFFIX)), content(&kept(schema)), "{what}");
            let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
            let names: Vec<String> =
                names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            assert!(
                !names.iter().any(|name| name.contains("draft") || name.contains("older")),
                "{what}: {names:?}"
            );
            drop(open(&path).unwrap());
            check(&path, schema);
            assert!(remove_before_log(&path).unwrap() && !remove_before_log(&path).unwrap());
        }
    }
}
