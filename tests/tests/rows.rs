//! What each replica's `SQLite` file holds, read with plain SQL.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use files::RealFiles;
use protocol::Op;
use store::AtRest;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::Person;

/// Asks every replica's database the same question, once each shows all that was acknowledged.
async fn ask(cluster: &Cluster, question: &str) -> String {
    cluster.until_all_applied().await;
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
async fn every_acknowledged_change_is_in_every_database_as_soon_as_what_is_logged_is_applied() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "Alice").await;
    let bob = Person::register(&cluster, "bob").await;
    assert_eq!(
        ask(&cluster, "SELECT name FROM accounts WHERE deleted_at IS NULL ORDER BY id").await,
        "Alice,bob"
    );
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions").await, "2");
    let passwords = ask(&cluster, "SELECT password FROM accounts").await;
    assert!(passwords.starts_with("$argon2id$") && !passwords.contains("horse"));
    let tokens = ask(&cluster, "SELECT hex(token) FROM sessions").await;
    assert!(!tokens.contains(alice.session.token()), "a token is stored as its hash only");

    let first = alice.send("bob", "it's \"one\"").await;
    let second = alice.send("bob", "two").await;
    assert_eq!(ask(&cluster, "SELECT id FROM messages ORDER BY id").await, format!("{first},{second}"));
    assert_eq!(ask(&cluster, "SELECT text FROM messages ORDER BY id").await, "it's \"one\",two");

    bob.acknowledge(first).await;
    assert_eq!(
        ask(&cluster, "SELECT acknowledged FROM accounts WHERE name = 'bob'").await,
        first.to_string()
    );

    let again = bob.client.login("bob", whole_process_tests::people::PASSWORD).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions").await, "3");
    again.session.logout().await.unwrap();
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions").await, "2");

    bob.session.delete_account(whole_process_tests::people::PASSWORD).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT name FROM accounts WHERE deleted_at IS NULL").await, "Alice");
    assert_eq!(ask(&cluster, "SELECT count(*) FROM sessions").await, "1");
    // Delivered stays, undelivered is gone and marked.
    assert_eq!(ask(&cluster, "SELECT text FROM messages ORDER BY id").await, "it's \"one\",");
    assert_eq!(ask(&cluster, "SELECT undeliverable FROM messages ORDER BY id").await, "0,1");
    for i in 0..cluster.replicas() {
        let log = AtRest::open(&cluster.database(i)).unwrap();
        let folder = replica_log::look(&RealFiles, &cluster.log_folder(i)).unwrap();
        assert_eq!(folder.entries_after(Op(0)).count() as u64, log.end().op.0, "the log has no holes");
    }
}
