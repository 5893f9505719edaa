//! Members are who has written to whom, whichever of them has a row.

use super::*;
use crate::apply::apply;
use chat::{Fact, Millis, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::{Entry, Position};
use std::collections::BTreeMap;

/// What happens between accounts 1 to 4.
#[derive(Clone, Copy, Debug)]
enum Step {
    Sent { from: u64, to: u64 },
    Seen { account: u64, with: u64, up_to: u64, shown_up_to: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let account = || 1..=4_u64;
    let message = || prop_oneof![Just(0), 1..20_u64];
    prop_oneof![
        (account(), account()).prop_map(|(from, to)| Step::Sent { from, to }),
        (account(), account(), message(), message()).prop_map(|(account, with, up_to, shown_up_to)| {
            Step::Seen { account, with, up_to, shown_up_to }
        }),
    ]
}

/// What is expected: of each side of each conversation that has begun, what it has seen and lets the other know.
type Expected = BTreeMap<(AccountId, AccountId), (MessageId, MessageId)>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_side_of_a_conversation_that_has_begun_is_its_member(steps in vec(step(), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let connection = crate::database::open(&path, crate::soundness::Check::Whole).unwrap().connection;
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        let mut expected = Expected::new();
        let mut position = Position::ORIGIN;
        for step in steps {
            let fact = match step {
                Step::Sent { from, to } => {
                    let (from, to) = (AccountId(from), AccountId(to));
                    expected.entry((from, to)).or_default();
                    expected.entry((to, from)).or_default();
                    let conversation = ConversationId::direct(from, to);
                    let (from_name, to_name) = (from.to_string(), to.to_string());
                    Fact::MessageSent { conversation, from, from_name, to_name, text: "hello".to_owned() }
                }
                Step::Seen { account, with, up_to, shown_up_to } => {
                    let (account, with) = (AccountId(account), AccountId(with));
                    let (up_to, shown_up_to) = (MessageId(up_to), MessageId(shown_up_to));
                    if let Some(seen) = expected.get_mut(&(account, with)) {
                        *seen = (seen.0.max(up_to), seen.1.max(shown_up_to));
                    }
                    let conversation = ConversationId::direct(account, with);
                    Fact::ConversationSeen { account, conversation, up_to, shown_up_to: Some(shown_up_to) }
                }
            };
            let entry: Entry<Record> = position.follow(Record::new(Millis(0), None, fact));
            position = entry.position();
            apply(&connection, &[entry]).unwrap();
        }
        for account in (1..=4).map(AccountId) {
            let found = of(&connection, account).unwrap();
            let told = found.iter().map(|member| ((account, member.with), member.seen_up_to));
            let own = expected.iter().filter(|((one, _), _)| *one == account);
            prop_assert_eq!(told.collect::<Vec<_>>(), own.map(|(who, seen)| (*who, seen.0)).collect::<Vec<_>>());
            for with in (1..=4).map(AccountId) {
                let seen = seen_up_to(&connection, account, ConversationId::direct(account, with)).unwrap();
                prop_assert_eq!(seen, expected.get(&(account, with)).copied().unwrap_or_default());
            }
        }
        // A row a conversation, and one for each lower side that has seen something.
        let rows = expected.iter().filter(|((one, other), seen)| one > other || seen.0.max(seen.1) > MessageId(0));
        let found: u32 = connection.query_row("SELECT count(*) FROM members", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(found as usize, rows.count());
    }
}
