//! Fills the databases of a service with accounts and messages.
//!
//! Start the service once and stop it, then:
//!
//! `cargo run --release -p whole-process-tests --example fill -- DATA ACCOUNTS MESSAGES`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark: what fails here is a failed measurement"
)]

use chat::Millis;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;
use whole_process_tests::filling::fill;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, accounts, messages] = arguments.as_slice() else {
        eprintln!("usage: fill DATA ACCOUNTS MESSAGES");
        return ExitCode::from(2);
    };
    let now = Millis::of(SystemTime::now());
    for index in 0.. {
        let database = Path::new(data).join(format!("replica-{index}/chat.db"));
        if !database.exists() {
            break;
        }
        let end = fill(&database, now, accounts.parse().unwrap(), messages.parse().unwrap());
        println!("{}: {end}", database.display());
    }
    ExitCode::SUCCESS
}
