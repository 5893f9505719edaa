//! Two builds of the program, measured in turn on one machine: each figure of `trialogue bench` as a ratio between them.
//!
//! `tests/compare BEFORE [AFTER]` builds two commits and runs this. By hand:
//!
//! `cargo run --release -p whole-process-tests --example compare -- BEFORE/trialogue AFTER/trialogue [ROUNDS]`
//!
//! One run of a build says little: the same program differs by a fifth within minutes. So the two take turns, the one that
//! begins changing from round to round, and what is compared are medians.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark: what fails here is a failed measurement"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};

const ROUNDS: usize = 5;

/// Every figure that a report holds, by its path in it.
type Figures = BTreeMap<String, Vec<f64>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (programs, rounds) = match arguments.as_slice() {
        [before, after] => ([before, after], ROUNDS),
        [before, after, rounds] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => ([before, after], rounds),
            _ => return usage(),
        },
        _ => return usage(),
    };
    let mut figures = [Figures::new(), Figures::new()];
    for round in 0..rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let name = ["before", "after"][which];
            eprintln!("round {} of {rounds}: {name}", round + 1);
            match measure(programs[which]) {
                Ok(report) => collect("", &report, &mut figures[which]),
                Err(error) => {
                    eprintln!("error: {}: {error}", programs[which]);
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    println!("{:<52}{:>12}{:>12}{:>10}", format!("medians of {rounds}"), "before", "after", "ratio");
    let [mut before, mut after] = figures;
    for (path, values) in &mut before {
        let Some(others) = after.get_mut(path) else { continue };
        let (before, after) = (median(values), median(others));
        let ratio = if before == 0.0 { String::new() } else { format!("{:.2}", after / before) };
        println!("{path:<52}{before:>12.2}{after:>12.2}{ratio:>10}");
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: compare BEFORE/trialogue AFTER/trialogue [ROUNDS]");
    ExitCode::from(2)
}

/// One report of a build.
fn measure(program: &str) -> Result<Value, String> {
    let run = Command::new(program).args(["bench", "--json"]).stderr(Stdio::inherit()).output();
    let run = run.map_err(|error| error.to_string())?;
    if !run.status.success() {
        return Err(format!("bench ends with {}", run.status));
    }
    serde_json::from_slice(&run.stdout).map_err(|error| format!("bench prints no report: {error}"))
}

/// Adds every number of a report to those of the reports before it.
fn collect(path: &str, value: &Value, figures: &mut Figures) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Number(number) => {
            figures.entry(path.to_owned()).or_default().extend(number.as_f64());
        }
        Value::Object(fields) => {
            // The messages around a kill are for a picture.
            let figures_of = fields.iter().filter(|(key, _)| *key != "moments");
            figures_of.for_each(|(key, value)| collect(&below(key), value, figures));
        }
        // Of a list, each is named by the number of its calls or listeners, or by its place.
        Value::Array(values) => {
            for (place, value) in (0..).zip(values) {
                let number = ["calls", "listeners"].iter().find_map(|name| value[name].as_u64());
                collect(&below(&number.unwrap_or(place).to_string()), value, figures);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
