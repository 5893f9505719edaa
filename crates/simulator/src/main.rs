//! `simulator`: runs seeds in parallel, or replays one.

use clap::Parser;
use simulator::{Detail, Report, live, prepare};
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs clusters of the protocol under faults, each from a seed, and checks the invariants after every step.
#[derive(Debug, Parser)]
#[command(
    name = "simulator",
    after_help = "\
Examples:
  simulator --seeds 1..10000        run these seeds on all cores
  simulator --seed 42 --trace       replay one, with a line an event

Exit codes: 0 nothing was found, 1 an invariant was broken, 2 wrong usage."
)]
struct Arguments {
    /// Which seeds: the first, two dots, and the last
    #[arg(long, default_value = "1..10000", value_name = "A..B", value_parser = seeds, conflicts_with = "seed")]
    seeds: (u64, u64),
    /// Replay one seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print a line for every event of the replayed seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; by default one a core
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Go on after a seed that failed, and list them all
    #[arg(long)]
    keep_going: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("write the first and the last seed, such as 1..10000")?;
    let number =
        |text: &str| text.replace('_', "").parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    if first > last { Err("the first seed comes before the last".into()) } else { Ok((first, last)) }
}

thread_local! {
    /// What the panic of this thread said, and where.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs one seed; a broken invariant is an error with its message, and the trace up to there.
fn attempt(seed: u64, detail: Detail) -> (Result<Report, String>, String) {
    let mut world = prepare(seed, detail);
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    (outcome.map_err(|_| SAID.with(|said| said.borrow().clone())), std::mem::take(&mut world.trace.text))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|panic| {
        SAID.with(|said| *said.borrow_mut() = panic.to_string());
    }));
    match arguments.seed {
        Some(seed) => replay(seed, arguments.trace),
        None => search(&arguments),
    }
}

/// Prints a line; a reader that has closed the pipe (`| head`) is no reason to fail.
fn tell(line: &str) {
    drop(writeln!(std::io::stdout(), "{}", line.trim_end()));
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    let detail = if trace { Detail::Events } else { Detail::Notes };
    let (outcome, text) = attempt(seed, detail);
    tell(&text);
    match outcome {
        Ok(report) => {
            tell(&format!("seed {seed}: nothing was found; {}", counts(&report)));
            ExitCode::SUCCESS
        }
        Err(what) => {
            drop(writeln!(std::io::stderr(), "seed {seed}: {what}"));
            ExitCode::FAILURE
        }
    }
}

fn counts(report: &Report) -> String {
    format!(
        "{} events, {} views, {} requests and {} reads answered, {} messages heard",
        report.events, report.views, report.acknowledged, report.reads, report.heard
    )
}

/// What the threads share.
struct Search {
    next: AtomicU64,
    done: AtomicU64,
    over: AtomicBool,
    found: Mutex<(Report, Vec<(u64, String)>)>,
}

fn search(arguments: &Arguments) -> ExitCode {
    let (first, last) = arguments.seeds;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let search = Search {
        next: AtomicU64::new(first),
        done: AtomicU64::new(0),
        over: AtomicBool::new(false),
        found: Mutex::new((Report::default(), Vec::new())),
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..jobs).map(|_| scope.spawn(|| work(&search, last, arguments.keep_going))).collect();
        let progress = std::io::stderr().is_terminal();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if progress {
                let done = search.done.load(Ordering::Relaxed);
                let rate = a_second(done, began.elapsed());
                let all = last - first + 1;
                drop(write!(std::io::stderr(), "\r{done} of {all} seeds, {rate} a second "));
            }
        }
        if progress {
            drop(write!(std::io::stderr(), "\r\u{1b}[K"));
        }
    });
    let done = search.done.load(Ordering::Relaxed);
    let (report, mut failed) = search.found.into_inner().expect("no thread has died");
    let rate = a_second(done, began.elapsed());
    tell(&format!("{done} seeds on {jobs} threads, {rate} a second: {}", counts(&report)));
    tell(&format!(
        "slowest return of service after the faults: {:.1?}",
        Duration::from_micros(report.healed_after)
    ));
    failed.sort();
    for (seed, what) in &failed {
        drop(writeln!(std::io::stderr(), "seed {seed}: {what}"));
        drop(writeln!(
            std::io::stderr(),
            "replay with: cargo run --release -p simulator -- --seed {seed} --trace"
        ));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many a second, so far.
fn a_second(done: u64, elapsed: Duration) -> u128 {
    u128::from(done) * 1000 / elapsed.as_millis().max(1)
}

fn work(search: &Search, last: u64, keep_going: bool) {
    let mut sum = Report::default();
    loop {
        let seed = search.next.fetch_add(1, Ordering::Relaxed);
        if seed > last || search.over.load(Ordering::Relaxed) {
            break;
        }
        match attempt(seed, Detail::Silent).0 {
            Ok(report) => sum.add(&report),
            Err(what) => {
                search.found.lock().expect("no thread has died").1.push((seed, what));
                search.over.fetch_or(!keep_going, Ordering::Relaxed);
            }
        }
        search.done.fetch_add(1, Ordering::Relaxed);
    }
    search.found.lock().expect("no thread has died").0.add(&sum);
}
