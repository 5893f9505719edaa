//! Seeds: the first few thousand, and every one that ever failed. `SEEDS=100000` in the environment runs more of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

use simulator::{Detail, Report, World, live, prepare};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 5000;

fn run(seed: u64) -> Report {
    let mut world = prepare(seed, Detail::Silent);
    match catch_unwind(AssertUnwindSafe(|| live(&mut world))) {
        Ok(report) => report,
        Err(panic) => {
            eprintln!(
                "seed {seed} failed; replay it with: cargo run --release -p simulator -- --seed {seed} --trace"
            );
            resume_unwind(panic)
        }
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    let last = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (next, sum) = (AtomicU64::new(1), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let report = run(seed);
                    sum.lock().unwrap().add(&report);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("{last} seeds: {sum:?}");
    let enough = |count: u64| count > last;
    assert!(
        enough(sum.acknowledged) && enough(sum.reads) && enough(sum.heard) && enough(sum.views),
        "the runs exercised too little to prove anything: {sum:?}"
    );
    let rare = |count: u64| count > last / 50;
    assert!(rare(sum.kept) && rare(sum.passed_over), "too few runs lacked copies: {sum:?}");
}

#[test]
fn every_seed_that_ever_failed_passes() {
    let list = include_str!("../failed_seeds.txt");
    let seeds =
        list.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').next().unwrap());
    for seed in seeds {
        run(seed.parse().unwrap());
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let trace = |seed| {
        let mut world = prepare(seed, Detail::Events);
        live(&mut world);
        world.trace.text
    };
    let mut lines = 0;
    for seed in 1..20 {
        let (one, other) = (trace(seed), trace(seed));
        lines += one.lines().count();
        assert_eq!(one, other, "seed {seed}");
    }
    assert!(lines > 19 * 50, "the seeds tell something: {lines} lines");
    assert_ne!(trace(1).lines().nth(40), trace(2).lines().nth(40));
}

/// Two suspicions at once: replica 1 calls replica 2 in the very moment in which that one stands by itself. It once left
/// the lead to replica 1 and forgot that it followed it; the new primary then waited a whole confirm limit.
#[test]
fn two_suspicions_at_once_cost_no_time_limit() {
    const GAP_MAX: u64 = 150_000;
    for seed in 0..400 {
        let mut world = World::unfaulty(3, seed);
        world.run_for(400_000);
        assert!(world.write("before"), "seed {seed}: nobody serves");
        world.run_for(50_000);
        world.crash(0);
        let (crashed, before) = (world.now, world.ledger.answers.len());
        let mut word = 0;
        while world.ledger.answers.len() == before {
            world.run_for(5_000);
            word += 1;
            world.write(&format!("after {word}"));
            assert!(
                world.now - crashed < GAP_MAX,
                "seed {seed}: no word for {GAP_MAX} us\n{}",
                world.trace.text
            );
        }
    }
}
