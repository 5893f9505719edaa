//! The checker of histories: it can fail, it can pass, and it agrees with another checker on small random histories.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use proptest::prelude::*;
use simulator::zones::{Operation, Violation, What, check};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

fn write(value: u32, begun: u64, ended: u64) -> Operation {
    Operation { what: What::Write(value), begun, ended: Some(ended) }
}

fn read(value: Option<u32>, begun: u64, ended: u64) -> Operation {
    Operation { what: What::Read(value), begun, ended: Some(ended) }
}

#[test]
fn histories_that_a_register_can_have_pass_and_others_do_not() {
    let unknown = |value, begun| Operation { what: What::Write(value), begun, ended: None };
    let cases: [(&str, Vec<Operation>, Result<(), Violation>); 9] = [
        ("nothing", vec![], Ok(())),
        (
            "one after the other",
            vec![write(1, 1, 2), read(Some(1), 3, 4), write(2, 5, 6), read(Some(2), 7, 8)],
            Ok(()),
        ),
        (
            "a read beside a write may see either",
            vec![write(1, 1, 6), read(None, 2, 3), read(Some(1), 4, 5)],
            Ok(()),
        ),
        (
            "a read from the past",
            vec![write(1, 1, 2), write(2, 3, 4), read(Some(1), 5, 6)],
            Err(Violation::Both(Some(1), Some(2))),
        ),
        (
            "the first value after a write",
            vec![write(1, 1, 2), read(None, 3, 4)],
            Err(Violation::Both(None, Some(1))),
        ),
        (
            "back and forth",
            vec![
                write(1, 1, 8),
                write(2, 2, 9),
                read(Some(1), 3, 4),
                read(Some(2), 5, 6),
                read(Some(1), 7, 10),
            ],
            Err(Violation::Both(Some(1), Some(2))),
        ),
        ("from nowhere", vec![read(Some(7), 1, 2)], Err(Violation::FromNowhere(7))),
        ("from the future", vec![read(Some(1), 1, 2), write(1, 3, 4)], Err(Violation::FromTheFuture(1))),
        (
            "a write of unknown fate may be seen late",
            vec![unknown(1, 1), write(2, 2, 3), read(Some(2), 4, 5), read(Some(1), 6, 7)],
            Ok(()),
        ),
    ];
    for (case, history, expected) in cases {
        assert_eq!(check(&history), expected, "{case}");
    }
}

/// What one of a few threads does, before anyone says when.
#[derive(Clone, Debug)]
struct Step {
    thread: usize,
    /// A write, or a read of the n-th value written (0 is the first value).
    value: Option<u32>,
    ends: bool,
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_usize, prop_oneof![Just(None), (0..4_u32).prop_map(Some)], any::<bool>())
        .prop_map(|(thread, value, ends)| Step { thread, value, ends });
    proptest::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random histories of three threads, most of them not linearizable, as both checkers see them.
    #[test]
    fn it_agrees_with_the_tester_of_stateright(steps in histories()) {
        let mut tester = LinearizabilityTester::new(Register(0_u32));
        let mut mine: Vec<Operation> = Vec::new();
        let mut open: [Option<usize>; 3] = [None; 3];
        let (mut moment, mut written) = (0, 0);
        for step in steps {
            moment += 1;
            if let Some(place) = open[step.thread] {
                if !step.ends {
                    continue;
                }
                open[step.thread] = None;
                mine[place].ended = Some(moment);
                let returned = match mine[place].what {
                    What::Write(_) => RegisterRet::WriteOk,
                    What::Read(value) => RegisterRet::ReadOk(value.unwrap_or(0)),
                };
                tester.on_return(step.thread, returned).unwrap();
                continue;
            }
            open[step.thread] = Some(mine.len());
            let what = match step.value {
                None => {
                    written += 1;
                    tester.on_invoke(step.thread, RegisterOp::Write(written)).unwrap();
                    What::Write(written)
                }
                Some(value) => {
                    tester.on_invoke(step.thread, RegisterOp::Read).unwrap();
                    What::Read((value > 0).then_some(value))
                }
            };
            mine.push(Operation { what, begun: moment, ended: None });
        }
        prop_assert_eq!(check(&mine).is_ok(), tester.is_consistent(), "{:?}", mine);
    }
}
