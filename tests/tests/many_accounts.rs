//! More accounts than one page of a listing looks at: clients go on over pages on which there is no account.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::Millis;
use std::time::SystemTime;
use whole_process_tests::browser::{Browser, Driver, Look};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::filling::fill;
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::screen::Screen;

/// By the order of names the last one of all: on the second page, while the first has none that fits.
const LAST: &str = "filled-9999";

/// Three replicas with 11,000 accounts.
async fn filled() -> Cluster {
    let mut cluster = Cluster::serving().await;
    cluster.end_all().await;
    let now = Millis::of(SystemTime::now());
    for index in 0..3 {
        fill(&cluster.database(index), now, 11_000, 0);
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    cluster
}

#[tokio::test]
async fn a_name_on_a_later_page_is_found_by_the_library_and_on_the_chat_screen() {
    let cluster = filled().await;
    let alice = Person::register(&cluster, "alice").await;
    let first = alice.session.accounts(&format!("^{LAST}$"), "").await.unwrap();
    assert!(first.accounts.is_empty() && !first.next_page_token.is_empty(), "{first:?}");
    let second = alice.session.accounts(&format!("^{LAST}$"), &first.next_page_token).await.unwrap();
    assert_eq!((&*second.accounts[0].name, &*second.next_page_token), (LAST, ""));

    let home = tempfile::tempdir().unwrap();
    let mut screen = Screen::start(home.path(), &cluster.servers(), &["chat", "alice"]);
    screen.until_shows("Password").await;
    screen.types(&format!("{PASSWORD}\r"));
    screen.until_shows("No conversations yet").await;
    screen.types(&format!("/to {LAST}\r"));
    screen.until_shows(&format!("Say hello to {LAST}.")).await;
    screen.types("/to zoe\r");
    screen.until_shows("there is no account named").await;
}

#[tokio::test]
async fn a_name_on_a_later_page_is_found_in_the_browser() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = filled().await;
    let alice: Browser = driver.browser(Look::LIGHT).await;
    alice.open(&format!("http://{}/", cluster.address(0))).await;
    alice.registers("alice", PASSWORD).await;
    alice.finds(LAST).await;
}
