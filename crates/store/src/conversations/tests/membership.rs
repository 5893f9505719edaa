//! Members are the accounts that have written to one another, whichever of them has a row.

use crate::apply::apply;
use crate::database::open;
use crate::members::{by_newest, of, seen_up_to};
use crate::reader::Reader;
use crate::soundness::Check;
use chat::{AccountId, ConversationId, Fact, MessageId, Millis, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::Position;
use rusqlite::{Connection, params};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

/// Accounts between which something happens: each has some with lower numbers and some with higher ones, but for the first and last.
const ACCOUNTS: [u64; 7] = [1, 9, 10, 255, 256, 1 << 40, i64::MAX.cast_unsigned()];

#[derive(Clone, Copy, Debug)]
enum Step {
    Sent { from: AccountId, to: AccountId },
    Seen { account: AccountId, with: AccountId, up_to: MessageId, shown_up_to: MessageId },
}

fn step() -> impl Strategy<Value = Step> {
    let account = || select(&ACCOUNTS[..]).prop_map(AccountId);
    let message = || prop_oneof![Just(0), 1..20_u64].prop_map(MessageId);
    prop_oneof![
        2 => (account(), account()).prop_map(|(from, to)| Step::Sent { from, to }),
        1 => (account(), account(), message(), message()).prop_map(|(account, with, up_to, shown_up_to)| {
            Step::Seen { account, with, up_to, shown_up_to }
        }),
    ]
}

fn fact(step: Step) -> Fact {
    match step {
        Step::Sent { from, to } => {
            let (from_name, to_name) = (from.to_string(), to.to_string());
            let conversation = ConversationId::direct(from, to);
            Fact::MessageSent { conversation, from, from_name, to_name, text: "hello".to_owned() }
        }
        Step::Seen { account, with, up_to, shown_up_to } => {
            let conversation = ConversationId::direct(account, with);
            Fact::ConversationSeen { account, conversation, up_to, shown_up_to: Some(shown_up_to) }
        }
    }
}

/// What is to be found.
#[derive(Default)]
struct Model {
    /// Of each side of each conversation that has begun, what it has seen and what of that it lets the other know.
    seen: BTreeMap<(AccountId, AccountId), (MessageId, MessageId)>,
    /// Each message, and who sent it to whom.
    sent: Vec<(MessageId, AccountId, AccountId)>,
}

impl Model {
    fn step(&mut self, id: MessageId, step: Step) {
        match step {
            Step::Sent { from, to } => {
                self.seen.entry((from, to)).or_default();
                self.seen.entry((to, from)).or_default();
                self.sent.push((id, from, to));
            }
            Step::Seen { account, with, up_to, shown_up_to } => {
                if let Some(seen) = self.seen.get_mut(&(account, with)) {
                    *seen = (seen.0.max(up_to), seen.1.max(shown_up_to));
                }
            }
        }
    }

    /// The newest message of each conversation of an account that comes before one, the newest first.
    fn by_newest(&self, account: AccountId, before: MessageId) -> Vec<(MessageId, AccountId)> {
        let mut newest = BTreeMap::new();
        for (id, from, to) in &self.sent {
            if *from == account || *to == account {
                newest.insert(if *from == account { *to } else { *from }, *id);
            }
        }
        let mut newest: Vec<_> = newest.into_iter().map(|(with, id)| (id, with)).collect();
        newest.retain(|(id, _)| *id < before);
        newest.sort_unstable_by_key(|(id, _)| Reverse(*id));
        newest
    }

    /// The messages that an account has after one.
    fn after(&self, account: AccountId, after: MessageId, own: bool) -> Vec<MessageId> {
        let has = |from, to| to == account || (own && from == account);
        let heard = self.sent.iter().filter(|(id, from, to)| *id > after && has(*from, *to));
        heard.map(|(id, ..)| *id).collect()
    }
}

fn database(path: &Path) -> Connection {
    let connection = open(path, Check::Whole).unwrap().connection;
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection
}

fn rows(connection: &Connection) -> Vec<(i64, [u8; 16], i64, i64)> {
    let mut find = connection.prepare("SELECT * FROM members ORDER BY account, conversation").unwrap();
    let rows = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// What a database of schema 9 has with the same messages: a row for each side from the first one on.
fn make_older(connection: &Connection, model: &Model, applied: Position) {
    for (account, with) in model.seen.keys() {
        let conversation = ConversationId::direct(*account, *with);
        connection
            .execute(
                "INSERT OR IGNORE INTO members (account, conversation) VALUES (?1, ?2)",
                params![account.0.cast_signed(), conversation.as_bytes()],
            )
            .unwrap();
    }
    connection
        .execute(
            "UPDATE applied SET op = ?1, chain = ?2",
            params![applied.op.0.cast_signed(), applied.chain.0],
        )
        .unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Replicas are migrated at different ops, and have the same rows nevertheless.
    #[test]
    fn each_side_of_a_conversation_is_its_member_wherever_the_database_was_migrated(
        steps in vec(step(), 0..60),
        migrated_after in 0..60_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a.db", "b.db"].map(|name| folder.path().join(name));
        let (connection, mut migrated) = (database(&path), database(&other));
        let (mut model, mut position) = (Model::default(), Position::ORIGIN);
        for (place, step) in steps.into_iter().enumerate() {
            if place == migrated_after {
                make_older(&migrated, &model, position);
                drop(migrated);
                migrated = database(&other);
            }
            let entry = position.follow(Record::new(Millis(0), None, fact(step)));
            position = entry.position();
            model.step(MessageId(position.op.0), step);
            apply(&connection, std::slice::from_ref(&entry)).unwrap();
            apply(&migrated, &[entry]).unwrap();
        }
        let found = rows(&connection);
        prop_assert_eq!(&rows(&migrated), &found);
        // One of each conversation of two, and one of each other side that has seen something.
        let has_row = |one, other, seen: (MessageId, MessageId)| one > other || seen.0.max(seen.1) > MessageId(0);
        let expected = model.seen.iter().filter(|((one, other), seen)| has_row(one, other, **seen));
        prop_assert_eq!(found.len(), expected.count());

        let reader = Reader::on(&connection, &path);
        for account in ACCOUNTS.map(AccountId) {
            let members = of(&connection, account).unwrap();
            let members = members.iter().map(|member| ((account, member.with), member.seen_up_to));
            let expected = model.seen.iter().filter(|((one, _), _)| *one == account);
            prop_assert_eq!(
                members.collect::<Vec<_>>(),
                expected.map(|(sides, seen)| (*sides, seen.0)).collect::<Vec<_>>()
            );
            for with in ACCOUNTS.map(AccountId) {
                let seen = seen_up_to(&connection, account, ConversationId::direct(account, with)).unwrap();
                prop_assert_eq!(seen, model.seen.get(&(account, with)).copied().unwrap_or_default());
            }
            for place in [0, 7, 20, u64::MAX].map(MessageId) {
                let newest = by_newest(&connection, account, place, usize::MAX).unwrap();
                let newest = newest.into_iter().map(|(id, member)| (id, member.with)).collect::<Vec<_>>();
                prop_assert_eq!(newest, model.by_newest(account, place));
                for own in [false, true] {
                    let page = reader.messages_after(account, place, own, 100, usize::MAX).unwrap();
                    let heard = page.messages.iter().map(|message| message.id).collect::<Vec<_>>();
                    prop_assert_eq!(heard, model.after(account, place, own));
                }
            }
        }
    }
}
