//! The chat screen, by its users' hands: the real program on pseudo-terminals, real replicas, and a primary that dies.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use client::{Reason, Session};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::screen::Screen;
use whole_process_tests::wait;

const CTRL_R: &str = "\x12";
const CTRL_C: &str = "\x03";

/// Everything that was ever said in a conversation, as the service has it.
async fn texts(session: &Session, with: &str) -> Vec<String> {
    let page = session.conversation(with, None, 500).await.unwrap();
    assert!(!page.more);
    page.messages.into_iter().rev().map(|message| message.text).collect()
}

#[tokio::test]
async fn two_people_chat_on_while_the_primary_dies_and_nothing_is_lost_or_doubled() {
    let mut cluster = Cluster::serving().await;
    let home = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = cluster.servers();

    // Alice is new here: she makes an account on the first screen that she sees.
    let mut alice = Screen::start(home[0].path(), &servers, &["chat"]);
    alice.until_shows("sign in").await;
    alice.types(&format!("{CTRL_R}alice\r{PASSWORD}\r{PASSWORD} not\r"));
    alice.until_shows("not the same twice").await;
    alice.types(&format!("{PASSWORD}\r{PASSWORD}\r"));
    alice.until_shows("No conversations yet").await;
    assert!(!alice.text().contains(PASSWORD));
    // Bob has an account, and mistypes his password once.
    cluster.client().create_account("bob", PASSWORD).await.unwrap();
    let mut bob = Screen::start(home[1].path(), &servers, &["chat", "bob"]);
    bob.until_shows("Password").await;
    bob.types("a wrong one\r");
    bob.until_shows("wrong name or password").await;
    bob.types(&format!("{PASSWORD}\r"));
    bob.until_shows("No conversations yet").await;

    alice.types("/to bob\r");
    alice.until_shows("Say hello to bob.").await;
    alice.types("hello bob\r");
    bob.until_shows("alice: hello bob").await;
    alice.until_shows("✓✓ read").await;
    bob.types("hello alice\r");
    alice.until_shows("bob: hello alice").await;

    // The primary dies. Both type on, as if nothing were.
    cluster.kill(0);
    for number in 1..=5 {
        alice.types(&format!("from alice {number}\r"));
        bob.types(&format!("from bob {number}\r"));
    }
    alice.until_shows("bob: from bob 5").await;
    bob.until_shows("alice: from alice 5").await;
    alice.until_shows("replica 1: everything works, with 2 of 3 copies").await;
    let person = Person::register(&cluster, "carol").await;
    drop(person);
    let session = cluster.client().login("alice", PASSWORD).await.unwrap().session;
    wait::until("all ten are there", async || texts(&session, "bob").await.len() == 12).await;
    let said = texts(&session, "bob").await;
    for who in ["alice", "bob"] {
        let theirs: Vec<&String> =
            said.iter().filter(|text| text.starts_with(&format!("from {who}"))).collect();
        let expected: Vec<String> = (1..=5).map(|number| format!("from {who} {number}")).collect();
        assert_eq!(theirs, expected.iter().collect::<Vec<_>>(), "in order, each once");
    }
    for screen in [&alice, &bob] {
        for text in &said {
            let times = screen.text().matches(&format!(": {text}")).count();
            assert_eq!(times, 1, "{text:?} is on the screen once:\n{screen:?}");
        }
    }

    // A smaller window, and back.
    alice.resize(12, 50);
    wait::until("there is no list beside it", async || !alice.text().contains("│ bob")).await;
    alice.until_shows("alice: from alice 5").await;
    alice.resize(24, 80);
    alice.until_shows("hello bob").await;
    // So briefly that the program sees the same size as before.
    alice.resize(12, 50);
    alice.resize(24, 80);
    alice.until_shows("hello bob").await;

    // Leaving leaves the terminals as they were.
    alice.types("/quit\r");
    bob.types(CTRL_C);
    for screen in [&mut alice, &mut bob] {
        assert!(screen.ended().await.success());
        wait::until("the terminal is as it was", async || screen.is_sane()).await;
    }
    // Whoever comes back is still signed in, and sees what was said.
    let mut again = Screen::start(home[0].path(), &servers, &["chat"]);
    again.until_shows("from bob 5").await;
    // Ended by its supervisor: the terminal is as it was, too.
    kill_process(Pid::from_raw(i32::try_from(again.pid()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(again.ended().await.success());
    wait::until("the terminal is as it was", async || again.is_sane()).await;
}

/// A terminal may go without a signal, as that of `docker exec` does: nothing is left to be read from it, for ever.
#[tokio::test]
async fn a_terminal_that_goes_away_without_a_word_ends_the_chat() {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || {
        let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        File::options().read(true).write(true).custom_flags(flags).open(&name).unwrap()
    };
    let mut command = shell.command(&["chat"]);
    command.env("TERM", "xterm-256color").stdin(terminal()).stdout(terminal()).stderr(terminal());
    let mut child = command.spawn().unwrap();
    drop(command);
    let (mut output, mut shown) = (File::from(master), Vec::new());
    while !String::from_utf8_lossy(&shown).contains("Trialogue") {
        let mut bytes = [0; 4096];
        let count = output.read(&mut bytes).unwrap();
        shown.extend_from_slice(&bytes[..count]);
    }
    drop(output);
    let mut status = None;
    wait::until("it ends by itself", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().code().is_some(), "it ended by {status:?}");
}

/// As Ctrl-Z and `fg` in a shell: stopped, the terminal is the shell's; going on, the screen is drawn anew.
#[tokio::test]
async fn a_chat_can_be_stopped_and_goes_on() {
    let cluster = Cluster::serving().await;
    let (home, alice) = (tempfile::tempdir().unwrap(), Person::register(&cluster, "alice").await);
    let mut screen = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    screen.until_shows("Password").await;
    screen.types(&format!("{PASSWORD}\r"));
    screen.until_shows("No conversations yet").await;
    let pid = Pid::from_raw(i32::try_from(screen.pid()).unwrap()).unwrap();
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", screen.pid())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    };
    kill_process(pid, Signal::TSTP).unwrap();
    wait::until("it is stopped", async || is_stopped()).await;
    wait::until("the terminal is the shell's", async || screen.is_sane()).await;
    alice.send("alice", "meanwhile").await;
    kill_process(pid, Signal::CONT).unwrap();
    screen.until_shows("meanwhile").await;
    assert!(!screen.is_sane(), "the whole screen is the chat's again");
    screen.types("typed after\r");
    screen.until_shows("alice: typed after").await;
    // Ctrl-C lets go of what was begun, and then of the chat.
    screen.types("begun");
    screen.until_shows("begun").await;
    screen.types(CTRL_C);
    screen.until_shows("Ctrl-C again quits").await;
    wait::until("it is let go of", async || !screen.text().contains("begun")).await;
    screen.types(CTRL_C);
    assert!(screen.ended().await.success());
    wait::until("the terminal is as it was", async || screen.is_sane()).await;
}

#[tokio::test]
async fn what_was_typed_while_no_replica_served_outlives_a_crash_of_the_program_and_is_sent_once() {
    let mut cluster = Cluster::serving().await;
    let home = tempfile::tempdir().unwrap();
    let servers = cluster.servers();
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    bob.send("alice", "are you there?").await;
    let mut screen = Screen::start(home.path(), &servers, &["--timeout", "2s", "chat", "alice"]);
    screen.until_shows("Password").await;
    screen.types(&format!("{PASSWORD}\r"));
    screen.until_shows("bob: are you there?").await;

    cluster.kill_all();
    screen.types("typed while nobody served\r");
    screen.until_shows("typed while nobody served").await;
    screen.until_shows("nobody serves").await;
    screen.types("and something more\r");
    screen.until_shows("2 on the way").await;
    screen.kill();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let mut screen = Screen::start(home.path(), &servers, &["chat"]);
    screen.until_shows("and something more").await;
    let expected = ["are you there?", "typed while nobody served", "and something more"];
    wait::until("both are sent", async || texts(&alice.session, "bob").await.len() >= 3).await;
    assert_eq!(texts(&alice.session, "bob").await, expected);
    wait::until("nothing is on the way any more", async || !screen.text().contains("on the way")).await;

    // A second program for the same account on this machine would send twice: it says so.
    let mut second = Screen::start(home.path(), &servers, &["chat"]);
    second.until_shows("another trialogue chat uses it").await;
    assert!(!second.ended().await.success());

    // Logging out forgets the session and the outbox.
    screen.types("/logout\r");
    assert!(screen.ended().await.success());
    screen.until_shows("alice is logged out").await;
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap()).collect();
    for entry in left.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("outbox")) {
        assert_eq!(entry.metadata().unwrap().len(), 0);
    }
    let mut fresh = Screen::start(home.path(), &servers, &["chat"]);
    fresh.until_shows("sign in").await;
    fresh.types("\x1b");
    assert!(fresh.ended().await.success());
    cluster.assert_same().await;
}

/// The outbox in a home, in which a chat has run.
fn outbox(home: &Path) -> PathBuf {
    let mut all = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    all.find(|path| {
        let named = path.file_name().unwrap().to_string_lossy().starts_with("outbox");
        named && path.extension().is_some_and(|extension| extension == "jsonl")
    })
    .unwrap()
}

/// A line of the outbox, as it was written `hours` ago.
fn typed(hours: u64, with: u64, text: &str, tried: bool) -> String {
    let date = SystemTime::now() - Duration::from_hours(hours);
    let date = date.duration_since(UNIX_EPOCH).unwrap();
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, date.as_secs(), 0));
    let letter = json!({
        "request_id": id, "with": with, "to": "bob", "text": text,
        "typed_at": u64::try_from(date.as_millis()).unwrap(), "tried": tried,
    });
    format!("{}\n", json!({ "typed": letter }))
}

/// What waited for longer than request ids are good for is sent if it was never tried. Where it may have been, its owner is
/// asked: here one is sent once more, and one is dropped.
#[tokio::test]
async fn what_waited_for_days_is_sent_or_asked_about_and_never_thrown_away() {
    let cluster = Cluster::serving().await;
    let home = tempfile::tempdir().unwrap();
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let with = bob.session.account().await.unwrap().account_id;
    bob.send("alice", "are you there?").await;
    let mut first = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    first.until_shows("Password").await;
    first.types(&format!("{PASSWORD}\r"));
    first.until_shows("are you there?").await;
    first.types("/quit\r");
    assert!(first.ended().await.success());
    let letters = [("never tried", false), ("sent once more", true), ("dropped", true)];
    let lines: String = letters.map(|(text, tried)| typed(26, with, text, tried)).concat();
    std::fs::write(outbox(home.path()), lines).unwrap();

    let mut second = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    second.until_shows("2 not sent").await;
    second.types("/quit\r");
    assert!(second.ended().await.success());
    second.until_shows("2 messages were refused; the next chat shows them").await;

    let mut third = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    third.until_shows("2 not sent").await;
    // The conversation is open.
    third.until_shows("dropped").await;
    third.types("/again\r");
    third.until_shows("1 not sent").await;
    third.types("/drop\r");
    third.until_shows("it is dropped").await;
    third.types("half a sen");
    third.until_shows("half a sen").await;
    wait::until("both are sent", async || texts(&alice.session, "bob").await.len() == 3).await;
    // The program ends in the middle of a sentence, a moment after it was typed.
    let drafts = outbox(home.path()).with_extension("drafts.json");
    wait::until("it is kept", async || {
        std::fs::read_to_string(&drafts).is_ok_and(|text| text.contains("half a sen"))
    })
    .await;
    third.kill();
    third.ended().await;
    let mut fourth = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    fourth.until_shows("half a sen").await;
    assert!(!fourth.text().contains("not sent"), "{fourth:?}");
    fourth.types("tence\r");
    let all = ["are you there?", "never tried", "sent once more", "half a sentence"];
    wait::until("it is sent", async || texts(&alice.session, "bob").await == all).await;
    fourth.types("/logout\r");
    assert!(fourth.ended().await.success());
    cluster.assert_same().await;
}

#[tokio::test]
async fn an_account_is_deleted_and_a_password_changed_from_the_screen() {
    let cluster = Cluster::serving().await;
    let home = tempfile::tempdir().unwrap();
    let alice = Person::register(&cluster, "alice").await;
    Person::register(&cluster, "bob.b").await;
    let mut screen = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    screen.until_shows("Password").await;
    screen.types(&format!("{PASSWORD}\r"));
    screen.until_shows("No conversations yet").await;
    screen.types("/list b\r");
    screen.until_shows("bob.b").await;
    screen.types("/to BOB.B\r");
    screen.until_shows("Say hello to bob.b.").await;
    screen.types("/to nobody\r");
    screen.until_shows("there is no account named").await;
    screen.types("/status\r");
    screen.until_shows("3 of 3 in sync").await;
    screen.types("/passwd\r");
    screen.until_shows("the password as it is").await;
    screen.types(&format!("{PASSWORD}\r"));
    screen.types("another password\ranother password\r");
    screen.until_shows("the password is changed").await;
    assert!(alice.session.account().await.unwrap_err().is_refused_for(&Reason::SessionInvalid));
    screen.types("/delete-account\r");
    screen.until_shows("the password of the account").await;
    screen.types("another password\ralice\r");
    assert!(screen.ended().await.success());
    screen.until_shows("the account alice is deleted").await;
    assert!(
        alice
            .client
            .login("alice", "another password")
            .await
            .unwrap_err()
            .is_refused_for(&Reason::WrongCredentials)
    );
}
