//! Requests in one batch come to what they come to one by one: each sees what those before it changed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod pair;

use chat::{
    Action, Answer, MessageId, PasswordHash, Refusal, Request, SESSIONS_AN_ACCOUNT_MAX, SignedAction,
};
use pair::{Pair, account, context, create, decide, open_session, request, send, signed};
use std::time::Duration;
use store::Context;

fn verified(who: &str) -> PasswordHash {
    PasswordHash(format!("hash of {who}"))
}

/// Alice (session 1) and bob (session 2) are accounts 2 and 3; carol is 4.
fn stories() -> Vec<(&'static str, Vec<Request>)> {
    let (alice, carol) = (chat::AccountId(2), chat::AccountId(4));
    let to_bob = || send(1, "bob", "hello");
    let login = |account, who, token| open_session(account, who, token);
    vec![
        ("a session that was closed", vec![to_bob(), signed(1, SignedAction::CloseSession), to_bob()]),
        (
            "an account that was deleted",
            vec![
                to_bob(),
                signed(2, SignedAction::DeleteAccount { verified: verified("bob") }),
                to_bob(),
                send(2, "alice", "still there?"),
                create("bob"),
                to_bob(),
            ],
        ),
        (
            "a password that was changed, which ends the other sessions",
            vec![
                login(alice, "alice", 3),
                to_bob(),
                send(3, "bob", "from the other session"),
                signed(
                    3,
                    SignedAction::ChangePassword { verified: verified("alice"), password: verified("new") },
                ),
                to_bob(),
                send(3, "bob", "from the other session"),
                signed(3, SignedAction::DeleteAccount { verified: verified("alice") }),
                login(alice, "alice", 4),
                login(alice, "new", 4),
                send(4, "bob", "with the new password"),
            ],
        ),
        (
            "a login too many, which closes the oldest session",
            std::iter::once(to_bob())
                .chain(
                    (0..SESSIONS_AN_ACCOUNT_MAX)
                        .map(|n| login(alice, "alice", 100 + u8::try_from(n).unwrap())),
                )
                .chain([to_bob(), send(100, "bob", "from the second oldest")])
                .collect(),
        ),
        (
            "what was acknowledged",
            vec![
                to_bob(),
                signed(2, SignedAction::Acknowledge { up_to: MessageId(7) }),
                signed(2, SignedAction::Acknowledge { up_to: MessageId(5) }),
                signed(2, SignedAction::Acknowledge { up_to: MessageId(7) }),
            ],
        ),
        (
            "a name that no account had",
            vec![
                send(1, "dave", "are you there?"),
                create("dave"),
                send(1, "dave", "now you are"),
                login(carol, "carol", 5),
                send(5, "dave", "from me too"),
            ],
        ),
    ]
}

fn people() -> Pair {
    let mut pair = Pair::new();
    let begun = pair.run(&[request(Action::BeginHistory), create("alice"), create("bob"), create("carol")]);
    let (alice, bob) = (account(&begun[1]), account(&begun[2]));
    for outcome in pair.run(&[open_session(alice, "alice", 1), open_session(bob, "bob", 2)]) {
        outcome.unwrap();
    }
    pair
}

fn in_batches(
    pair: &mut Pair,
    requests: &[Request],
    size: usize,
    context: &Context,
) -> Vec<Result<Answer, Refusal>> {
    let mut outcomes = Vec::new();
    for batch in requests.chunks(size) {
        let executed = decide(&mut pair.primary, batch, context);
        pair.secondary.apply(&executed.entries).unwrap();
        outcomes.extend(executed.outcomes.into_iter().map(Option::unwrap));
    }
    pair.assert_same();
    outcomes
}

#[test]
fn a_batch_comes_to_what_its_requests_come_to_one_by_one() {
    for (what, requests) in stories() {
        // Later than all that each pair was set up with: entries get the time of the batch.
        let context = Context { now: context().now.plus(Duration::from_mins(1)), ..context() };
        let one_by_one = in_batches(&mut people(), &requests, 1, &context);
        let refused = one_by_one.iter().filter(|outcome| outcome.is_err()).count();
        assert!(refused > 0 || what == "what was acknowledged", "{what}: something in it is refused");
        for size in [2, requests.len()] {
            let together = in_batches(&mut people(), &requests, size, &context);
            assert_eq!(together, one_by_one, "{what}, {size} at once");
        }
    }
}
