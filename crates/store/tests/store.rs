//! What a store keeps of a chat: requests and what comes of them, and every question to it, on real files.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough in its lifetime"
)]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

mod pair;

use chat::{
    AccountId, Answer, ConversationId, Cursor, MessageId, MessageText, NamePattern, PasswordHash, Recipient,
    Refusal, Request, RequestId, Sequence, SignedAction,
};
use pair::{Pair, Primary, account, context, create, decide, message_id, name, open_session, send, signed};
use proptest::prelude::*;
use protocol::Position;
use store::{Context, Readers, Room, StoreError};
use uuid::Uuid;

#[test]
fn a_message_is_delivered_from_the_acknowledged_one_on_and_history_runs_backwards() {
    let mut pair = Pair::with_two_people();
    let outcomes = pair.run(&[send(1, "bob", "one"), send(2, "Alice", "two"), send(1, "BOB", "three")]);
    let ids: Vec<MessageId> = outcomes.iter().map(message_id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    let acknowledge = signed(2, SignedAction::Acknowledge { up_to: ids[0] });
    assert_eq!(pair.run(&[acknowledge])[0], Ok(Answer::Acknowledged { up_to: ids[0] }));
    let readers = Readers::new(&pair.path("a"));
    readers
        .read(|reader| {
            let bob = reader.living(&name("bob"))?.unwrap();
            let alice = reader.living(&name("alice"))?.unwrap();
            let texts = |own| {
                let messages = reader.messages_after(bob.id, bob.acknowledged, own, 10, usize::MAX)?.messages;
                Ok::<_, StoreError>(messages.into_iter().map(|message| message.text).collect::<Vec<_>>())
            };
            assert_eq!(texts(false)?, ["three"]);
            assert_eq!(texts(true)?, ["two", "three"]);
            let talk = reader
                .conversation(ConversationId::direct(alice.id, bob.id), MessageId(u64::MAX), 2, usize::MAX)?
                .messages;
            assert_eq!(
                talk.iter().map(|m| (&*m.text, m.delivered)).collect::<Vec<_>>(),
                [("three", false), ("two", false)]
            );
            let older = reader
                .conversation(ConversationId::direct(alice.id, bob.id), ids[1], 2, usize::MAX)?
                .messages;
            assert_eq!(older.iter().map(|m| (&*m.text, m.delivered)).collect::<Vec<_>>(), [("one", true)]);
            Ok(())
        })
        .unwrap();
    pair.assert_same();
}

#[test]
fn conversations_come_newest_first_with_what_each_side_has_seen() {
    let mut pair = Pair::with_two_people();
    let carol = account(&pair.run(&[create("carol")])[0]);
    let outcomes = pair.run(&[
        send(1, "bob", "one"),
        send(1, "bob", "two"),
        send(2, "alice", "answer"),
        send(1, "carol", "hello carol"),
        send(1, "alice", "a note to myself"),
    ]);
    let ids: Vec<MessageId> = outcomes.iter().map(message_id).collect();
    let mut state = |requests: &[Request], whose: &str| {
        let outcomes = pair.run(requests);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        pair.assert_same();
        Readers::new(&pair.path("b"))
            .read(|reader| {
                let me = reader.living(&name(whose))?.unwrap().id;
                let lines = reader.conversations(me, MessageId(u64::MAX), 10)?.into_iter().map(|one| {
                    let place = |id: MessageId| {
                        ids.iter().position(|known| *known == id).map_or(0, |place| place + 1)
                    };
                    format!(
                        "{}: {:?}, {} unread, read {}, delivered {}, seen {}",
                        one.with_name,
                        one.last.text,
                        one.unread,
                        place(one.read_up_to),
                        place(one.delivered_up_to),
                        place(one.seen_up_to)
                    )
                });
                Ok(lines.collect::<Vec<_>>())
            })
            .unwrap()
    };
    let alice = AccountId(2);
    let read = |up_to| signed(2, SignedAction::MarkSeen { with: alice, up_to });
    assert_eq!(
        state(&[], "alice"),
        [
            "alice: \"a note to myself\", 0 unread, read 0, delivered 0, seen 0",
            "carol: \"hello carol\", 0 unread, read 0, delivered 0, seen 0",
            "bob: \"answer\", 1 unread, read 0, delivered 0, seen 0",
        ]
    );
    assert_eq!(state(&[], "bob"), ["alice: \"answer\", 2 unread, read 0, delivered 0, seen 0"]);
    // Bob has both and has seen the first; reading backwards changes nothing.
    let both = signed(2, SignedAction::Acknowledge { up_to: ids[1] });
    assert_eq!(
        state(&[both, read(ids[0])], "bob"),
        ["alice: \"answer\", 1 unread, read 1, delivered 0, seen 0"]
    );
    assert_eq!(state(&[], "alice")[2], "bob: \"answer\", 1 unread, read 0, delivered 2, seen 1");
    // Whoever hides what he has seen is not told of others either, and what was seen meanwhile stays hidden.
    let hide = |shown| signed(2, SignedAction::ShowSeen { shown });
    assert_eq!(
        state(&[hide(false), read(ids[1]), read(ids[0])], "bob")[0].split(", ").nth(1),
        Some("0 unread")
    );
    assert_eq!(state(&[], "alice")[2], "bob: \"answer\", 1 unread, read 0, delivered 2, seen 1");
    let own = signed(1, SignedAction::MarkSeen { with: AccountId(3), up_to: ids[2] });
    assert_eq!(state(&[own], "bob"), ["alice: \"answer\", 0 unread, read 2, delivered 0, seen 0"]);
    assert_eq!(state(&[hide(true)], "alice")[2], "bob: \"answer\", 0 unread, read 3, delivered 2, seen 1");
    // Nobody reads with someone who never was, or beyond the end.
    let outcomes = pair.run(&[
        signed(1, SignedAction::MarkSeen { with: AccountId(999), up_to: ids[0] }),
        signed(1, SignedAction::MarkSeen { with: carol, up_to: MessageId(9999) }),
    ]);
    assert_eq!(
        outcomes,
        [Err(Refusal::NoSuchAccount { name: "#999".into() }), Err(Refusal::HistoryReplaced)]
    );
    // Pages go backwards by the newest message.
    Readers::new(&pair.path("a"))
        .read(|reader| {
            let page = reader.conversations(alice, ids[4], 1)?;
            assert_eq!(page.iter().map(|one| &*one.with_name).collect::<Vec<_>>(), ["carol"]);
            let with = |other| ConversationId::direct(alice, other);
            let waiting = [(with(alice), vec![ids[4]]), (with(carol), vec![ids[3]])];
            assert_eq!(reader.unacknowledged(alice, 9)?, waiting, "bob has everything");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_retry_has_one_effect_and_the_same_answer_for_each_action() {
    let mut pair = Pair::with_two_people();
    let alice = PasswordHash("hash of alice".into());
    let requests = [
        create("carol"),
        send(1, "bob", "hello"),
        signed(2, SignedAction::Acknowledge { up_to: MessageId(3) }),
        signed(2, SignedAction::MarkSeen { with: chat::AccountId(2), up_to: MessageId(3) }),
        signed(2, SignedAction::ShowSeen { shown: false }),
        signed(1, SignedAction::ChangePassword { verified: alice, password: PasswordHash("new".into()) }),
        signed(2, SignedAction::CloseSession),
        signed(1, SignedAction::DeleteAccount { verified: PasswordHash("new".into()) }),
    ];
    for one in requests {
        let first = pair.run(std::slice::from_ref(&one)).remove(0);
        let position = pair.primary.state().applied;
        assert!(first.is_ok(), "{one:?}: {first:?}");
        assert_eq!(pair.run(std::slice::from_ref(&one)).remove(0), first, "{one:?}");
        assert_eq!(pair.primary.state().applied, position, "a retry made an entry: {one:?}");
    }
    pair.assert_same();
}

#[test]
fn an_id_used_for_something_else_or_out_of_date_is_refused() {
    let mut pair = Pair::with_two_people();
    let first = send(1, "bob", "hello");
    let mut other = send(1, "bob", "goodbye");
    other.id = first.id;
    let mut old = send(1, "bob", "late");
    old.id = RequestId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_000_000, 0)));
    let mut random = send(1, "bob", "undated");
    random.id = RequestId(Uuid::new_v4());
    let outcomes = pair.run(&[first, other, old, random]);
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(Refusal::RequestIdReused));
    assert!(matches!(outcomes[2], Err(Refusal::RequestTooOld { .. })), "{:?}", outcomes[2]);
    assert_eq!(outcomes[3], Err(Refusal::RequestIdInvalid));
}

#[test]
fn a_deleted_account_leaves_its_name_and_what_it_delivered_but_not_what_it_missed() {
    let mut pair = Pair::with_two_people();
    let sent = pair.run(&[send(1, "bob", "seen"), send(1, "bob", "missed"), send(2, "alice", "mine")]);
    let Ok(Answer::MessageSent { id: seen, .. }) = sent[0] else { panic!("{sent:?}") };
    let verified = PasswordHash("hash of bob".into());
    let gone = pair.run(&[
        signed(2, SignedAction::Acknowledge { up_to: seen }),
        signed(2, SignedAction::DeleteAccount { verified }),
        send(2, "alice", "from beyond"),
        send(1, "bob", "anyone there"),
        create("Bob"),
    ]);
    assert_eq!(gone[2], Err(Refusal::SessionInvalid));
    assert_eq!(gone[3], Err(Refusal::NoSuchAccount { name: "bob".into() }));
    let newcomer = account(&gone[4]);
    let send_to = |account| {
        let text = MessageText::parse("to whom it was meant").unwrap();
        signed(1, SignedAction::SendMessage { to: Recipient::Account(account), text, min_copies: 0 })
    };
    let to_number = pair.run(&[send_to(chat::AccountId(3)), send_to(chat::AccountId(1)), send_to(newcomer)]);
    assert_eq!(to_number[0], Err(Refusal::AccountGone), "the newcomer has the name, and gets nothing");
    assert_eq!(to_number[1], Err(Refusal::AccountGone), "never was");
    let arrived = message_id(&to_number[2]);
    Readers::new(&pair.path("b"))
        .read(|reader| {
            let messages = reader.messages_after(newcomer, MessageId(0), true, 10, usize::MAX)?.messages;
            assert_eq!(messages.iter().map(|message| message.id).collect::<Vec<_>>(), [arrived]);
            let alice = reader.living(&name("alice"))?.unwrap();
            let old = reader.account(chat::AccountId(3))?.unwrap();
            let talk = reader
                .conversation(ConversationId::direct(alice.id, old.id), MessageId(u64::MAX), 10, usize::MAX)?
                .messages;
            let shown: Vec<_> = talk.iter().map(|m| (&*m.text, m.undeliverable)).collect();
            assert_eq!(shown, [("mine", false), ("", true), ("seen", false)]);
            Ok(())
        })
        .unwrap();
    pair.assert_same();
}

#[test]
fn refusals_change_nothing() {
    let mut pair = Pair::with_two_people();
    let before = pair.primary.state();
    let wanted = |min_copies| {
        let text = MessageText::parse("x").unwrap();
        signed(1, SignedAction::SendMessage { to: Recipient::Named(name("bob")), text, min_copies })
    };
    let cases = [
        (create("ALICE"), Refusal::NameTaken { name: "ALICE".into() }),
        (send(1, "nobody", "x"), Refusal::NoSuchAccount { name: "nobody".into() }),
        (send(9, "bob", "x"), Refusal::SessionInvalid),
        (signed(1, SignedAction::Acknowledge { up_to: MessageId(1_000_000) }), Refusal::HistoryReplaced),
        (wanted(4), Refusal::TooManyCopies { wanted: 4, replicas: 3 }),
        (
            signed(1, SignedAction::DeleteAccount { verified: PasswordHash("other".into()) }),
            Refusal::WrongCredentials,
        ),
    ];
    for (one, refusal) in cases {
        assert_eq!(pair.run(&[one])[0], Err(refusal));
    }
    let executed = decide(&mut pair.primary, &[wanted(3)], &Context { in_sync: 2, ..context() });
    assert_eq!(executed.outcomes, [Some(Err(Refusal::TooFewInSync { in_sync: 2, wanted: 3 }))]);
    for (room, refusal) in [(Room::Undecided, Refusal::Busy), (Room::TooLittle, Refusal::DiskFull)] {
        let executed = decide(&mut pair.primary, &[wanted(1)], &Context { room, ..context() });
        assert_eq!(executed.outcomes, [Some(Err(refusal))]);
    }
    assert_eq!(pair.primary.state(), before);
}

/// A message that was refused for the moment is sent again: what followed it in its stream must not be there before it.
#[test]
fn behind_a_refusal_that_may_pass_nothing_of_its_stream_takes_effect() {
    let words = |primary: &mut Primary, requests: &[Request], in_sync: usize| {
        let executed = decide(primary, requests, &Context { in_sync, ..context() });
        let word = |outcome: Option<Result<Answer, Refusal>>| match outcome {
            None => "passed over",
            Some(Ok(_)) => "done",
            Some(Err(_)) => "refused",
        };
        executed.outcomes.into_iter().map(word).collect::<Vec<_>>()
    };
    let text = |text| MessageText::parse(text).unwrap();
    let letter = |sequence: &Sequence, to: &str, min_copies| {
        let action =
            SignedAction::SendMessage { to: Recipient::Named(name(to)), text: text("x"), min_copies };
        Request { sequence: Some(sequence.clone()), ..signed(1, action) }
    };
    let mut pair = Pair::with_two_people();
    let primary = &mut pair.primary;

    let (one, other) = (Sequence::default(), Sequence::default());
    let too_few = letter(&one, "bob", 3);
    let behind = letter(&one, "bob", 0);
    let batch = [letter(&one, "bob", 0), too_few.clone(), behind.clone(), letter(&other, "bob", 0)];
    assert_eq!(words(primary, &batch, 2), ["done", "refused", "passed over", "done"]);
    // In the next batch too, when everything is well again.
    assert_eq!(words(primary, std::slice::from_ref(&behind), 3), ["passed over"]);
    // The sender begins another stream with what was refused.
    let again = Sequence::default();
    let resent = [too_few, behind].map(|one| Request { sequence: Some(again.clone()), ..one });
    assert_eq!(words(primary, &resent, 3), ["done", "done"]);
    // An unknown recipient may be registered before the message is sent again.
    let unknown = [letter(&other, "nobody", 0), letter(&other, "bob", 0)];
    assert_eq!(words(primary, &unknown, 3), ["refused", "passed over"]);
}

#[test]
fn accounts_come_in_pages_in_the_order_of_their_names() {
    let mut pair = Pair::new();
    let people: Vec<Request> = ["dora", "Alma", "carl", "berta", "alan"].map(create).to_vec();
    pair.run(&people);
    Readers::new(&pair.path("a"))
        .read(|reader| {
            let page =
                |pattern, after: &str| reader.accounts(&NamePattern::parse(pattern).unwrap(), after, 2);
            let names = |page: &[(chat::AccountId, String)]| {
                page.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>()
            };
            let (first, next) = page("", "")?;
            assert_eq!(names(&first), ["alan", "Alma"]);
            let (second, next) = page("", &next.unwrap())?;
            assert_eq!(names(&second), ["berta", "carl"]);
            let (third, next) = page("", &next.unwrap())?;
            assert_eq!((names(&third), next), (vec!["dora".to_owned()], None));
            assert_eq!(names(&page("^al", "")?.0), ["alan", "Alma"]);
            Ok(())
        })
        .unwrap();
}

/// One page looked at all names: at 200,000 accounts a name that no account had took 72 ms of a core.
#[test]
fn a_page_of_accounts_looks_at_a_bounded_number_of_names_and_others_follow() {
    let mut pair = Pair::new();
    let people: Vec<Request> = (0..25_000).map(|number| create(&format!("p{number:05}"))).collect();
    pair.run(&people);
    let all_pages = |pattern: &str| {
        let (mut pages, mut after) = (Vec::new(), Some(String::new()));
        while let Some(key) = after {
            let pattern = NamePattern::parse(pattern).unwrap();
            let page = Readers::new(&pair.path("a")).read(|reader| reader.accounts(&pattern, &key, 2));
            let (accounts, next) = page.unwrap();
            pages.push(accounts.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
            after = next;
        }
        pages
    };
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(all_pages("zoe"), [named(&[]), named(&[]), named(&[])]);
    let few = ["p00003", "p09999", "p10000", "p24997", "p24998", "p24999"];
    let pattern = format!("^({})$", few.join("|"));
    let pages = all_pages(&pattern);
    assert_eq!(pages, [named(&few[..2]), named(&few[2..3]), named(&few[3..5]), named(&few[5..])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the primary executed, in whatever batches, the secondary that applied the entries has the same rows.
    #[test]
    fn execute_and_apply_agree(steps in proptest::collection::vec((0_u8..11, 0_u8..4, 0_u8..4), 1..60), batch in 1_usize..9) {
        let mut pair = Pair::with_two_people();
        let people = ["alice", "bob", "carol", "dave"];
        let mut requests = Vec::new();
        for (kind, who, whom) in steps {
            let (who_name, session) = (people[usize::from(who)], who + 1);
            requests.push(match kind {
                0 => create(who_name),
                1 => open_session(chat::AccountId(u64::from(whom) + 2), who_name, session),
                2 => signed(session, SignedAction::CloseSession),
                3 => signed(session, SignedAction::DeleteAccount { verified: PasswordHash(format!("hash of {who_name}")) }),
                4 => signed(session, SignedAction::Acknowledge { up_to: MessageId(u64::from(whom) * 4) }),
                5 => {
                    let (verified, password) = (format!("hash of {who_name}"), format!("hash {whom}"));
                    signed(session, SignedAction::ChangePassword { verified: PasswordHash(verified), password: PasswordHash(password) })
                }
                6 => {
                    let (with, up_to) = (AccountId(u64::from(whom) + 2), MessageId(u64::from(whom) * 4));
                    signed(session, SignedAction::MarkSeen { with, up_to })
                }
                7 => signed(session, SignedAction::ShowSeen { shown: whom % 2 == 0 }),
                _ => send(session, people[usize::from(whom)], &format!("{kind} {who} {whom}")),
            });
        }
        let before: Position = pair.primary.state().applied;
        for some in requests.chunks(batch) {
            let executed = decide(&mut pair.primary, some, &context());
            prop_assert_eq!(executed.outcomes.len(), some.len());
            pair.secondary.apply(&executed.entries).unwrap();
        }
        prop_assert!(pair.primary.state().applied.op >= before.op);
        pair.assert_same();
    }
}

#[test]
fn a_cursor_is_a_place_in_one_history() {
    let pair = Pair::with_two_people();
    let history = Readers::new(&pair.path("a")).read(|reader| reader.history()).unwrap();
    let other = Readers::new(&pair.path("b")).read(|reader| reader.history()).unwrap();
    assert!(history.is_some());
    let cursor = |history| Cursor { history, after: MessageId(0) };
    assert_eq!(cursor(history), cursor(other), "the secondary has the primary's history");
}
