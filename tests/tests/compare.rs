//! The comparison of two builds: what it makes of what they print. The builds here are scripts that print a report each.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use whole_process_tests::cluster::program;

fn compare(arguments: &[&str]) -> Output {
    let program = program().parent().unwrap().join("examples/compare");
    assert!(
        program.exists(),
        "{} is not built: cargo build --release -p whole-process-tests --examples",
        program.display()
    );
    Command::new(program).args(arguments).output().unwrap()
}

/// A build whose `bench --json` prints this report, with the number of its run in the place of N.
fn build(folder: &Path, name: &str, report: &str) -> PathBuf {
    let (path, runs) = (folder.join(name), folder.join(format!("{name}.runs")));
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'bench --json' ] || exit 9\necho run >> {runs}\nn=$(wc -l < {runs})\necho '{report}' | sed s/N/$((n))/\n",
        runs = runs.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    path
}

#[test]
fn each_figure_is_told_as_the_ratio_of_two_medians() {
    let folder = tempfile::tempdir().unwrap();
    let before = build(
        folder.path(),
        "before",
        r#"{"replicas":3,"one_sender":{"p50_ms":1N},"in_flight":[{"calls":16,"share":0.1},{"calls":64,"share":0.2}],"ladder":[{"p50_ms":1},{"p50_ms":4}],"gaps":{"moments":[{"took_ms":1}]},"gone":1,"cost":null}"#,
    );
    let after = build(
        folder.path(),
        "after",
        r#"{"replicas":3,"one_sender":{"p50_ms":2N},"in_flight":[{"calls":16,"share":0.3},{"calls":64,"share":0.1}],"ladder":[{"p50_ms":2},{"p50_ms":4}],"gaps":{"moments":[{"took_ms":1}]},"new":1}"#,
    );
    let compared = compare(&[before.to_str().unwrap(), after.to_str().unwrap(), "3"]);
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
    let told = String::from_utf8(compared.stdout).unwrap();
    let told: Vec<Vec<&str>> = told.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        told,
        [
            ["in_flight.16.calls", "16.00", "16.00", "1.00"],
            ["in_flight.16.share", "0.10", "0.30", "3.00"],
            ["in_flight.64.calls", "64.00", "64.00", "1.00"],
            ["in_flight.64.share", "0.20", "0.10", "0.50"],
            ["ladder.0.p50_ms", "1.00", "2.00", "2.00"],
            ["ladder.1.p50_ms", "4.00", "4.00", "1.00"],
            ["one_sender.p50_ms", "12.00", "22.00", "1.83"],
            ["replicas", "3.00", "3.00", "1.00"],
        ]
    );
}

#[test]
fn what_can_not_be_compared_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mute = build(folder.path(), "mute", "no report");
    let mute = mute.to_str().unwrap();
    for (arguments, code, expected) in [
        (vec!["one"], 2, "usage"),
        (vec![mute, mute, "no number"], 2, "usage"),
        (vec!["/nowhere/trialogue", mute], 1, "No such file"),
        (vec![mute, mute, "1"], 1, "bench prints no report"),
    ] {
        let compared = compare(&arguments);
        let said = String::from_utf8_lossy(&compared.stderr).into_owned();
        assert_eq!(compared.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/compare");
    let unknown = Command::new(script).arg("no-such-commit").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no commit no-such-commit"));
    let help = Command::new(script).arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("tests/compare BEFORE"));
}
