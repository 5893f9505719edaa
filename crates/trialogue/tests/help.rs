//! Every command explains itself.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::process::Command;

#[test]
fn every_command_has_help_and_wrong_usage_has_exit_code_2() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_trialogue")).args(arguments).output().unwrap();
    let commands = [
        "up",
        "replica",
        "status",
        "create-account",
        "login",
        "logout",
        "delete-account",
        "change-password",
        "send",
        "listen",
        "accounts",
        "history",
        "verify",
        "recover",
        "demo",
    ];
    let overview = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(overview.contains("Examples:"));
    for command in commands {
        assert!(overview.contains(command), "{command} is not in the overview");
        let help = run(&[command, "--help"]);
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Usage:") && text.contains("--servers"), "{command}: {text}");
        assert_eq!(run(&[command, "--no-such-option"]).status.code(), Some(2), "{command}");
    }
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(run(&["up", "--replicas", "8"]).status.code(), Some(2));
    assert_eq!(run(&["status", "--servers", "nonsense"]).status.code(), Some(2));
}
