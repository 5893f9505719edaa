//! What each replica's `SQLite` file holds, read with plain SQL.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;

/// Asks every replica's database the same question, until the secondaries have caught up with the commit.
fn ask(cluster: &Cluster, question: &str) -> String {
    let answers: Vec<String> = (0..cluster.replicas())
        .map(|i| {
            let connection = cluster.sql(i);
            let mut rows = connection.prepare(question).unwrap();
            let rows = rows.query_map([], |row| {
                let cell: rusqlite::types::Value = row.get(0)?;
                Ok(match cell {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
            });
            rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap().join(",")
        })
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{question}: {answers:?}");
    answers[0].clone()
}

#[tokio::test]
async fn every_acknowledged_change_is_in_every_database_the_moment_it_is_acknowledged() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "Alice").await;
    let bob = Person::register(&cluster, "bob").await;
    assert_eq!(ask(&cluster, "SELECT name FROM accounts WHERE deleted_at IS NULL ORDER BY id"), "Alice,bob");
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions"), "2");
    let passwords = ask(&cluster, "SELECT password FROM accounts");
    assert!(passwords.starts_with("$argon2id$") && !passwords.contains("horse"));
    let tokens = ask(&cluster, "SELECT hex(token) FROM sessions");
    assert!(!tokens.contains(&alice.token), "a token is stored as its hash only");

    let first = alice.send("bob", "it's \"one\"").await;
    let second = alice.send("bob", "two").await;
    assert_eq!(ask(&cluster, "SELECT id FROM messages ORDER BY id"), format!("{first},{second}"));
    assert_eq!(ask(&cluster, "SELECT text FROM messages ORDER BY id"), "it's \"one\",two");

    bob.client.acknowledge(&bob.token, first, &[]).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT acknowledged FROM accounts WHERE name = 'bob'"), first.to_string());

    let again = bob.client.login("bob", whole_process_tests::people::PASSWORD).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions"), "3");
    bob.client.logout(&again.token).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions"), "2");

    bob.client.delete_account(&bob.token, whole_process_tests::people::PASSWORD).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT name FROM accounts WHERE deleted_at IS NULL"), "Alice");
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions"), "1");
    // Delivered stays, undelivered is gone and marked.
    assert_eq!(ask(&cluster, "SELECT text FROM messages ORDER BY id"), "it's \"one\",");
    assert_eq!(ask(&cluster, "SELECT undeliverable FROM messages ORDER BY id"), "0,1");
    let ops = ask(&cluster, "SELECT max(op) FROM log");
    assert_eq!(ask(&cluster, "SELECT count(*) FROM log"), ops, "the log has no holes");
}
