//! The view register is believed only while it is the one that the databases remember: emptied, put back from an older copy,
//! copied or damaged, it makes nobody serve, and `recover` is the way on.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1;
use client::{ClientError, Heard, MessageId, Reason, Start};
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::people::Person;
use whole_process_tests::wait;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

fn recover(cluster: &Cluster, options: &[&str]) -> Output {
    Command::new(program()).arg("recover").args(options).arg("--data").arg(cluster.data()).output().unwrap()
}

fn accept_loss(cluster: &Cluster) {
    let recovered = recover(cluster, &["--accept-data-loss"]);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
}

/// Each of these replicas says a sentence with this in it, and nobody serves.
async fn assert_halted(cluster: &Cluster, replicas: &[usize], why: &str) {
    wait::until("they say so", async || {
        for index in replicas {
            let said = cluster.heartbeat(*index).await;
            if said.is_none_or(|said| !said.fault.contains(why)) {
                return false;
            }
        }
        true
    })
    .await;
    let client = cluster.client_within(Duration::from_secs(1));
    assert!(client.ready().await.is_err(), "somebody serves by a register that is not what it was");
}

/// Replica 2 falls out, a message is acknowledged without it, and the register is put back as it was before.
#[tokio::test]
async fn a_register_that_is_put_back_makes_no_replica_serve_without_what_was_acknowledged() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "before").await;
    let (register, older) = (cluster.data().join("register"), cluster.data().join("older"));
    copy(&register, &older);
    cluster.kill(2);
    cluster.until_in_sync(&[0, 1]).await;
    alice.send("alice", "without replica 2").await;
    cluster.kill_all();
    let right = cluster.data().join("right");
    std::fs::rename(&register, &right).unwrap();
    copy(&older, &register);
    // The one that was long out of sync first, alone: by the older register it is in sync.
    cluster.start(2);
    assert_halted(&cluster, &[2], "not the one that this database remembers").await;
    cluster.start(0);
    cluster.start(1);
    assert_halted(&cluster, &[0, 1, 2], "see `trialogue recover`").await;
    cluster.kill_all();
    let said = String::from_utf8_lossy(&recover(&cluster, &[]).stderr).into_owned();
    assert!(said.contains("nobody knows") && !said.contains("no acknowledged message is lost"), "{said}");

    // The right one, moved away and back: everything is as it was.
    std::fs::remove_dir_all(&register).unwrap();
    std::fs::rename(&right, &register).unwrap();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    assert_eq!(alice.hear_texts(2).await, ["before", "without replica 2"]);
    cluster.kill_all();

    // Removed and copied back at once, it may get the same numbers of inodes; it is another register all the same.
    copy(&register, &right);
    std::fs::remove_dir_all(&register).unwrap();
    copy(&right, &register);
    cluster.start_all();
    assert_halted(&cluster, &[0, 1, 2], "not the one that this database remembers").await;
    cluster.kill_all();
    accept_loss(&cluster);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}

/// The newest view is damaged; by the one before it, replica 2 was in sync.
#[tokio::test]
async fn after_a_damaged_view_recover_goes_on_with_what_the_databases_remember_and_promises_nothing() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    cluster.kill(2);
    cluster.until_in_sync(&[0, 1]).await;
    alice.send("alice", "without replica 2").await;
    cluster.kill_all();
    let views = std::fs::read_dir(cluster.data().join("register")).unwrap();
    let newest = views.map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::write(&newest, "damaged").unwrap();
    let said = String::from_utf8_lossy(&recover(&cluster, &[]).stderr).into_owned();
    assert!(said.contains("nobody knows") && !said.contains("replica 2"), "{said}");
    accept_loss(&cluster);
    let number =
        |path: &Path| path.file_name().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
    let views = std::fs::read_dir(cluster.data().join("register")).unwrap();
    let installed = views.map(|entry| entry.unwrap().path()).max().unwrap();
    assert!(number(&installed) > number(&newest), "a number is given twice");
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}

/// The newest view, in the file in which the version without identities wrote it.
fn rewrite_as_before_identities(register: &Path) {
    let newest = std::fs::read_dir(register).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let view = v1::View::decode(&std::fs::read(&newest).unwrap()[32..]).unwrap().encode_to_vec();
    std::fs::write(&newest, [Sha256::digest(&view).as_slice(), &view].concat()).unwrap();
}

/// Neither the register has an identity nor does any database remember one: they get it at the first start, and only there.
#[tokio::test]
async fn a_folder_of_the_version_before_gets_the_identity_of_its_register_once() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "before").await;
    cluster.kill_all();
    let register = cluster.data().join("register");
    rewrite_as_before_identities(&register);
    for index in 0..cluster.replicas() {
        let forget = "DELETE FROM remembered; DELETE FROM remembered_members";
        rusqlite::Connection::open(cluster.database(index)).unwrap().execute_batch(forget).unwrap();
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    alice.send("alice", "after").await;
    assert_eq!(alice.hear_texts(2).await, ["before", "after"]);
    cluster.kill_all();

    // From now on one without an identity is another register.
    rewrite_as_before_identities(&register);
    cluster.start_all();
    assert_halted(&cluster, &[0, 1, 2], "not the one that this database remembers").await;
}

/// Moved, a folder is what it was; a copy of it does not serve until an operator accepts it, and then it is another service:
/// the sessions and the cursors of the first are not valid in it.
#[tokio::test]
async fn a_copy_of_the_whole_folder_is_another_service_and_a_moved_one_is_the_same() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    alice.send("alice", "in the first").await;
    let heard = alice.session.listen(Start::default()).next().await.unwrap().unwrap();
    let Heard::Listening { history } = heard else { panic!("a stream begins with its history: {heard:?}") };
    let aside = tempfile::tempdir_in(cluster.data().parent().unwrap()).unwrap();
    let names: Vec<_> =
        std::fs::read_dir(cluster.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let move_all = |from: &Path, to: &Path| {
        for name in &names {
            std::fs::rename(from.join(name), to.join(name)).unwrap();
        }
    };
    cluster.kill_all();
    move_all(cluster.data(), aside.path());
    move_all(aside.path(), cluster.data());
    cluster.start_all();
    cluster.until_all_in_sync().await;
    assert_eq!(alice.session.account().await.unwrap().name, "alice");

    cluster.kill_all();
    move_all(cluster.data(), aside.path());
    for name in &names {
        copy(&aside.path().join(name), &cluster.data().join(name));
    }
    cluster.start_all();
    assert_halted(&cluster, &[0, 1, 2], "not the one that this database remembers").await;
    cluster.kill_all();
    accept_loss(&cluster);
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let reason = |error: ClientError| match error {
        ClientError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(reason(alice.session.account().await.unwrap_err()), Reason::SessionInvalid);
    let alice = alice.again().await;
    let start = Start { after: Some(MessageId(1)), history, ..Start::default() };
    let mut listening = alice.session.listen(start);
    let error = loop {
        if let Err(error) = listening.next().await.expect("the stream ends with its reason") {
            break error;
        }
    };
    assert_eq!(reason(error), Reason::HistoryReplaced);
    assert_eq!(alice.hear_texts(1).await, ["in the first"]);
}
