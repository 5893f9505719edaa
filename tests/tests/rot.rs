//! Rot: bytes of a stopped replica's files change, are cut off, change places, or are those of an older day.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use client::{MessageId, Start};
use std::path::{Path, PathBuf};
use std::process::Command;
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::people::Person;
use whole_process_tests::wait;

const PAGE: usize = 4096;
/// `ROT_ROUNDS=200 cargo test --release -p whole-process-tests --test rot` does it more often.
const ROUNDS: u64 = 12;

/// Numbers that are the same for the same round.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

/// What happens to a file. Gives its name.
fn damage(draw: &mut Draw, path: &Path, older: &[u8]) -> &'static str {
    let mut bytes = std::fs::read(path).unwrap();
    let pages = bytes.len() / PAGE;
    let what = match draw.below(4) {
        0 => {
            for _ in 0..=draw.below(8) {
                let place = draw.below(bytes.len());
                bytes[place] ^= 1 << draw.below(8);
            }
            "bits flipped"
        }
        1 => {
            bytes.truncate(draw.below(bytes.len()));
            "its tail cut"
        }
        2 if pages > 2 => {
            let (one, other) = (1 + draw.below(pages - 1), 1 + draw.below(pages - 1));
            for place in 0..PAGE {
                bytes.swap(one * PAGE + place, other * PAGE + place);
            }
            "two pages swapped"
        }
        _ => {
            let old_pages = (older.len() / PAGE).min(pages);
            let page = draw.below(old_pages);
            let (from, to) = (page * PAGE, (page + 1) * PAGE);
            if to <= older.len() && to <= bytes.len() {
                bytes[from..to].copy_from_slice(&older[from..to]);
            }
            "an older page put back"
        }
    };
    std::fs::write(path, bytes).unwrap();
    what
}

fn verify(cluster: &Cluster) -> Result<(), String> {
    let output = Command::new(program()).args(["verify", "--data"]).arg(cluster.data()).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[tokio::test]
async fn a_damaged_database_or_log_is_noticed_or_named_and_costs_no_client_a_message() {
    let rounds = std::env::var("ROT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut sent = Vec::new();
    let (mut healed, mut named) = (0, 0);
    for round in 0..rounds {
        let mut draw = Draw(round * 7919 + 1);
        let victim = draw.below(3);
        for number in 0..30 {
            let text = format!("round {round} number {number} {}", "x".repeat(draw.below(300)));
            alice.send("alice", &text).await;
            sent.push(text);
        }
        let path = match draw.below(3) {
            0 => cluster.database(victim),
            1 => cluster.replica_folder(victim).join("chat.db-wal"),
            _ => cluster.newest_segment(victim),
        };
        let file = path.strip_prefix(cluster.replica_folder(victim)).unwrap().display();
        let older = std::fs::read(&path).unwrap_or_default();
        for number in 0..10 {
            let text = format!("round {round} later {number}");
            alice.send("alice", &text).await;
            sent.push(text);
        }
        if draw.below(2) == 0 {
            // All of it in the database, nothing in its write-ahead log.
            let sql = cluster.sql(victim);
            drop(sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        }
        cluster.kill(victim);
        if !std::fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            cluster.start(victim);
            cluster.until_all_in_sync().await;
            continue;
        }
        let what = damage(&mut draw, &path, &older);
        cluster.start(victim);
        cluster.until_all_in_sync().await;
        // Whatever came of it: everything is there, and the service goes on.
        let heard = alice.hear(sent.len(), Start { after: Some(MessageId(0)), ..Start::default() }).await;
        let heard: Vec<&str> = heard.iter().map(|message| &*message.text).collect();
        assert_eq!(heard, sent, "round {round}: {file} of replica {victim}, {what}");
        match verify(&cluster) {
            Ok(()) => healed += 1,
            Err(difference) => {
                // Only a row's content changed, and it is named.
                assert!(difference.contains("table "), "round {round}: {what}: {difference}");
                println!("round {round}: {file} of replica {victim}, {what}: {}", difference.trim());
                named += 1;
                cluster.kill(victim);
                cluster.wipe(victim);
                cluster.start(victim);
                cluster.until_all_in_sync().await;
                verify(&cluster).unwrap();
            }
        }
    }
    println!("{rounds} rounds: {healed} healed, in {named} a row was named");
}

/// What happens to the files of replica 0 while it is down.
type Damage = fn(&Cluster);

fn sql(cluster: &Cluster, damage: &str) {
    cluster.sql(0).execute(damage, []).unwrap();
}

/// Changes the bytes of the newest segment of the log of replica 0.
fn change_log(cluster: &Cluster, change: impl FnOnce(&mut Vec<u8>)) {
    let path = cluster.newest_segment(0);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// How many of the bytes are not zeros to the end.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

const DAMAGES: [(&str, Damage); 6] = [
    ("a text", |cluster| sql(cluster, "UPDATE messages SET text = 'what was not'")),
    ("no message", |cluster| sql(cluster, "DELETE FROM messages")),
    ("an entry", |cluster| {
        change_log(cluster, |bytes| {
            let said = bytes.windows(4).position(|word| word == b"said").unwrap();
            bytes[said..said + 4].copy_from_slice(b"sung");
        });
    }),
    ("the last entry is gone", |cluster| {
        change_log(cluster, |bytes| {
            let used = used(bytes);
            bytes[used - 20..].fill(0);
        });
    }),
    ("the log has lost its end", |cluster| change_log(cluster, |bytes| bytes.truncate(bytes.len() / 2))),
    ("there is no log", |cluster| std::fs::remove_dir_all(cluster.log_folder(0)).unwrap()),
];

#[tokio::test]
async fn what_the_log_says_is_compared_with_the_tables_at_each_start() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let mut said = Vec::new();
    for (what, damage) in DAMAGES {
        // In the newest segment, whatever became of the ones before.
        said.push("what was said");
        alice.send("alice", "what was said").await;
        cluster.until_all_applied().await;
        cluster.kill(0);
        let told = cluster.log_text(0).len();
        damage(&cluster);
        cluster.start(0);
        cluster.until_all_in_sync().await;
        assert_eq!(alice.hear_texts(said.len()).await, said, "{what}");
        cluster.assert_same().await;
        assert!(cluster.log_text(0)[told..].contains("was damaged"), "{what}: it says so");
    }
}

/// A disk that has lost its newest commits, and nothing else, looks like a whole one that is older.
#[tokio::test]
async fn a_primary_whose_log_was_cut_short_gets_it_back_from_the_others() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    cluster.until_all_applied().await;
    cluster.kill_all();
    let older = cluster.data().join("older");
    let files = ["chat.db", "chat.db-wal"];
    std::fs::create_dir(&older).unwrap();
    for file in files {
        std::fs::copy(cluster.replica_folder(0).join(file), older.join(file)).unwrap();
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    for number in 0..20 {
        alice.send("alice", &number.to_string()).await;
    }
    cluster.kill_all();
    for file in files {
        std::fs::copy(older.join(file), cluster.replica_folder(0).join(file)).unwrap();
    }
    // The last group is torn.
    change_log(&cluster, |bytes| {
        let used = used(bytes);
        bytes[used - 20..].fill(0);
    });
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(alice.hear_texts(20).await, all);
    cluster.assert_same().await;
    assert!(!cluster.log_text(0).contains("was damaged"), "{}", cluster.log_text(0));
}

fn newest_view(cluster: &Cluster) -> PathBuf {
    let views = std::fs::read_dir(cluster.data().join("register")).unwrap();
    views.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[tokio::test]
async fn a_damaged_view_or_key_stops_no_running_replica_and_is_named() {
    let mut cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let view = newest_view(&cluster);
    let whole = std::fs::read(&view).unwrap();
    std::fs::write(&view, &whole[..whole.len() / 2]).unwrap();
    let key = cluster.data().join("cluster.key");
    let whole_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    alice.send("alice", "goes on").await;
    cluster.kill(2);
    cluster.start(2);
    assert!(!cluster.until_ended(2).await.success());
    assert!(cluster.log_text(2).contains("does not hold a cluster key"), "{}", cluster.log_text(2));
    std::fs::write(&key, whole_key).unwrap();
    // All stop: nobody can tell who was in sync, and nobody serves until a person has decided.
    cluster.kill(0);
    cluster.kill(1);
    cluster.start_all();
    wait::until("it is said", async || cluster.log_text(0).contains("is damaged")).await;
    let client = cluster.client_within(std::time::Duration::from_secs(1));
    assert!(client.ready().await.is_err(), "somebody serves by a view that nobody can read");
    cluster.kill_all();
    let recover = |accept: bool| {
        let mut command = Command::new(program());
        command.args(["recover", "--data"]).arg(cluster.data());
        if accept {
            command.arg("--accept-data-loss");
        }
        command.output().unwrap()
    };
    let said = String::from_utf8_lossy(&recover(false).stderr).into_owned();
    assert!(said.contains("is damaged"), "{said}");
    let recovered = recover(true);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    cluster.start_all();
    cluster.until_all_in_sync().await;
    assert_eq!(alice.again().await.hear_texts(1).await, ["goes on"]);
    cluster.assert_same().await;
}
