//! What the command keeps at its user's home, and how it treats what it is given.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use client::Reason;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::people::{PASSWORD, Person};

#[tokio::test]
async fn sessions_belong_to_a_service_and_no_token_is_shown_to_another() {
    let (here, there) = (Cluster::serving().await, Cluster::serving().await);
    let shell = Shell::new(&here);
    let (at_here, at_there) = (here.servers(), there.servers());
    let at = |servers: &str, arguments: &[&str], code: i32, why: &str| {
        let mut all = vec!["--servers", servers];
        all.extend(arguments);
        shell.fails(&all, code, why);
    };
    shell.register("alice");
    at(&at_there, &["send", "--as", "alice", "alice", "x"], 1, "alice is not logged in at this service");
    let register = ["--servers", &at_there, "create-account", "alice", "--password-stdin"];
    let done = shell.run_with_input(&register, format!("{PASSWORD}\n").as_bytes());
    assert_eq!(done.code, 0, "{}", done.stderr);
    // By whatever address, and with either account, each service finds its own session.
    shell.ok(&["send", "alice", "here"]);
    let address = at_here.split(',').next_back().unwrap();
    let address = if address.contains(':') { address.to_owned() } else { format!("127.0.0.1:{address}") };
    shell.ok(&["--servers", &address, "send", "alice", "here too"]);
    shell.ok(&["--servers", &at_there, "send", "alice", "there"]);
    assert_eq!(shell.ok(&["history", "alice"]).lines().count(), 2);
    shell.ok(&["logout"]);
    at(&at_here, &["send", "alice", "x"], 1, "not logged in");
    shell.ok(&["--servers", &at_there, "send", "alice", "still there"]);
}

#[tokio::test]
async fn what_an_earlier_version_kept_is_taken_over_by_the_service_that_knows_it() {
    let (here, there) = (Cluster::serving().await, Cluster::serving().await);
    let alice = Person::register(&here, "alice").await;
    let shell = Shell::new(&here);
    let before = serde_json::json!({
        "last": "alice",
        "sessions": { "alice": { "name": "alice", "token": alice.session.token() } },
    });
    std::fs::write(shell.home().join("sessions.json"), before.to_string()).unwrap();
    let elsewhere = there.servers();
    shell.fails(&["--servers", &elsewhere, "send", "alice", "x"], 1, "not logged in");
    let untouched = std::fs::read_to_string(shell.home().join("sessions.json")).unwrap();
    assert_eq!(untouched, before.to_string(), "a service that was only named is not shown a token");
    shell.ok(&["send", "alice", "still logged in"]);
    shell.ok(&["--servers", &here.servers(), "send", "alice", "and by any name"]);
    let after = std::fs::read_to_string(shell.home().join("sessions.json")).unwrap();
    let after: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert!(after.get("sessions").is_none() && after["services"].as_object().unwrap().len() == 1, "{after}");
}

#[tokio::test]
async fn of_several_accounts_one_has_to_be_named_in_any_spelling() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("jos\u{e9}");
    shell.ok(&["send", "jos\u{e9}", "the only one need not be named"]);
    shell.register("bob");
    for command in [&["send", "bob", "x"][..], &["accounts"], &["listen"], &["history", "bob"], &["logout"]] {
        shell.fails(command, 2, "several accounts are logged in: bob, jos\u{e9}; say which, by --as NAME");
    }
    shell.ok(&["send", "--as", "jose\u{301}", "BOB", "by another spelling"]);
    shell.ok(&["logout", "--as", "JOSE\u{301}"]);
    shell.ok(&["send", "jose\u{301}", "bob is the only one now"]);
}

#[tokio::test]
async fn where_no_session_can_be_kept_no_account_is_made_and_what_was_done_is_said() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    // In the way of the lock, as a folder that can't be written is, for root too.
    let lock = shell.home().join("sessions.lock");
    std::fs::create_dir(&lock).unwrap();
    let input = format!("{PASSWORD}\n");
    let done = shell.run_with_input(&["create-account", "eve", "--password-stdin"], input.as_bytes());
    assert_eq!(done.code, 1, "{done:?}");
    let refused = cluster.client().login("eve", PASSWORD).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::WrongCredentials), "there is no such account: {refused}");
    std::fs::remove_dir(&lock).unwrap();
    shell.register("eve");
    // What is printed goes to a full disk.
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = shell.command(&["send", "eve", "sent"]).stdout(full()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("the message was sent as ") && said.contains("could not be written"), "{said}");
    assert_eq!(shell.ok(&["history", "eve"]).lines().count(), 1);
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let done = shell.run(&["logout"]);
    assert!(done.code == 1 && done.stderr.contains("eve is logged out, but"), "{done:?}");
}
