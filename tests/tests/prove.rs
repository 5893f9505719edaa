//! The proof that everybody can run, for a minute: real processes under every fault that it knows.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use serde_json::Value;
use std::process::Command;
use whole_process_tests::cluster::program;

/// `PROVE_MINUTES=30 cargo test --release --workspace --test prove` lasts longer.
#[test]
fn a_minute_of_faults_loses_doubles_and_disorders_nothing() {
    let minutes = std::env::var("PROVE_MINUTES").unwrap_or_else(|_| "1".to_owned());
    let output = Command::new(program()).args(["prove", "--json", "--minutes", &minutes]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let counts: Value = serde_json::from_str(&said).unwrap();
    for nothing in ["lost", "twice", "disordered", "never_sent"] {
        assert_eq!(counts[nothing], 0, "{nothing}");
    }
    let struck: u64 =
        counts["faults"].as_object().unwrap().values().map(|times| times.as_u64().unwrap()).sum();
    for first in ["kill the primary", "pause one", "wipe one", "cut off one"] {
        assert!(counts["faults"][first].as_u64() >= Some(1), "every proof begins with these: {first}");
    }
    assert!(struck >= 5, "{struck} faults are too few to prove anything");
    assert!(counts["acknowledged"].as_u64().unwrap() > 100);
    assert!(counts["heard"].as_u64() >= counts["acknowledged"].as_u64());
}
