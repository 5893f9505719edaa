//! What people and browsers do to the page: broken texts, input methods, two people in two tabs, site data that is blocked,
//! messages that are refused.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use serde_json::json;
use whole_process_tests::browser::{Browser, Driver, Look};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::people::{PASSWORD, Person};

const ENTER: &str = "\u{e007}";

fn page(cluster: &Cluster) -> String {
    format!("http://{}/", cluster.address(0))
}

/// Alice is signed in on a new page, and looks at her conversation with bob.
async fn alice_and_bob(driver: &Driver, cluster: &Cluster) -> (Browser, Person) {
    let bob = Person::register(cluster, "bob").await;
    let alice = driver.browser(Look::LIGHT).await;
    alice.open(&page(cluster)).await;
    alice.registers("alice", PASSWORD).await;
    alice.finds("bob").await;
    (alice, bob)
}

async fn until_in_field(browser: &Browser, text: &str) {
    browser.until(&format!("document.getElementById('text').value === {}", json!(text))).await;
}

/// Half an emoji once stopped everything that was typed after it, for ever.
#[tokio::test]
async fn what_no_frame_can_carry_stops_nothing() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let (alice, bob) = alice_and_bob(&driver, &cluster).await;
    alice
        .asks(
            "const field = document.getElementById('text'); field.value = 'half an emoji \\ud83d here'; \
                field.dispatchEvent(new Event('input', { bubbles: true })); field.focus();",
        )
        .await;
    alice.presses(ENTER).await;
    alice.writes("after it").await;
    assert_eq!(bob.hear_texts(2).await, ["half an emoji \u{fffd} here", "after it"]);
    // Megabytes are no message: they are not put in, and the page goes on.
    alice.pastes(&"x".repeat(5_000_000)).await;
    alice.until_shows("What you pasted has 5000000 characters").await;
    until_in_field(&alice, "").await;
    alice.pastes(&"y".repeat(20_000)).await;
    alice.until_shows("3616 bytes too long").await;
    assert_eq!(alice.errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_key_of_an_input_method_sends_nothing_and_the_skip_link_leads_to_the_field() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let (alice, bob) = alice_and_bob(&driver, &cluster).await;
    alice.types("#text", "にほんご").await;
    for composing in ["keyCode: 229, isComposing: false", "keyCode: 13, isComposing: true"] {
        alice
            .asks(&format!(
                "document.getElementById('text').dispatchEvent(new KeyboardEvent('keydown', \
                 {{ key: 'Enter', {composing}, bubbles: true, cancelable: true }}));"
            ))
            .await;
    }
    until_in_field(&alice, "にほんご").await;
    alice.asks("document.getElementById('find').focus();").await;
    alice.asks("document.querySelector('.skip').click();").await;
    alice.until("document.activeElement?.id === 'text'").await;
    assert_eq!(alice.text("#with").await, "bob", "the conversation stays open");
    alice.presses(ENTER).await;
    assert_eq!(bob.hear_texts(1).await, ["にほんご"]);
    // The page as a whole never scrolls.
    alice.until("document.scrollingElement.scrollHeight <= innerHeight").await;
}

#[tokio::test]
async fn people_are_found_by_what_is_typed_whatever_signs_are_in_it() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    for name in ["bob(work)", "c++", "[bot]"] {
        Person::register(&cluster, name).await;
    }
    let (alice, _) = alice_and_bob(&driver, &cluster).await;
    for (typed, found) in [
        ("bob(", &["bob(work)"][..]),
        ("C++", &["c++"]),
        ("[b", &["[bot]"]),
        ("/^bob/", &["bob", "bob(work)"]),
        ("OB", &["bob", "bob(work)"]),
    ] {
        alice.asks("document.getElementById('find').value = '';").await;
        alice.types("#find", typed).await;
        let names =
            "JSON.stringify([...document.querySelectorAll('#found .name')].map((name) => name.textContent))";
        alice.until(&format!("{names} === {}", json!(json!(found).to_string()))).await;
    }
}

#[tokio::test]
async fn a_draft_belongs_to_its_conversation_and_outlives_the_page() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let carol = Person::register(&cluster, "carol").await;
    let (alice, bob) = alice_and_bob(&driver, &cluster).await;
    bob.send("alice", "hello").await;
    carol.send("alice", "hello").await;
    alice.types("#text", "for bob alone").await;
    alice.opens("carol").await;
    until_in_field(&alice, "").await;
    alice.until_shows("Draft: for bob alone").await;
    alice.reload().await;
    alice.opens("bob").await;
    until_in_field(&alice, "for bob alone").await;
    alice.types("#text", "\u{e00f}").await;
    alice.presses(ENTER).await;
    assert_eq!(bob.hear_texts(1).await, ["for bob alone"]);
}

#[tokio::test]
async fn two_people_in_two_tabs_stay_who_they_are() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let browser = driver.browser(Look::LIGHT).await;
    browser.open(&page(&cluster)).await;
    let [first, second] = browser.another_tab().await;
    browser.open(&page(&cluster)).await;
    browser.goes_to(&first).await;
    browser.registers("alice", PASSWORD).await;
    browser.goes_to(&second).await;
    browser.registers("carol", PASSWORD).await;
    for (tab, name) in [(&first, "alice"), (&second, "carol"), (&first, "alice")] {
        browser.goes_to(tab).await;
        browser.reload().await;
        browser.until("!document.getElementById('chat').hidden").await;
        assert_eq!(browser.text("#me").await, name);
    }
}

/// The browser gives the page no storage, no worker and no locks: the chat works, and says what it can't keep.
#[tokio::test]
async fn where_site_data_is_blocked_the_chat_works_for_this_visit() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let bob = Person::register(&cluster, "bob").await;
    let alice = driver.browser(Look::LIGHT).await;
    let blocked = "const deny = () => { throw new DOMException('denied', 'SecurityError'); }; \
        for (const name of ['localStorage', 'sessionStorage', 'caches']) Object.defineProperty(window, name, { get: deny }); \
        for (const name of ['serviceWorker', 'locks']) Object.defineProperty(Navigator.prototype, name, { get: deny });";
    alice.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": blocked })).await;
    alice.open(&page(&cluster)).await;
    alice.until_shows("This browser lets the page keep nothing").await;
    alice.registers("alice", PASSWORD).await;
    alice.finds("bob").await;
    alice.writes("hello").await;
    assert_eq!(bob.hear_texts(1).await, ["hello"]);
    assert_eq!(alice.errors().await, Vec::<String>::new());
}

/// A refused message stays, with its reason, over a new start of the page, until its owner decides.
#[tokio::test]
async fn what_was_refused_stays_until_its_owner_decides() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let (alice, bob) = alice_and_bob(&driver, &cluster).await;
    bob.send("alice", "goodbye").await;
    alice.until_shows("goodbye").await;
    bob.session.delete_account(PASSWORD).await.unwrap();
    alice.writes("wait").await;
    alice.until("document.querySelector('#messages .failed')").await;
    alice.reload().await;
    alice.until_shows("Not sent: ").await;
    alice.until("document.querySelector('#messages .failed .text').textContent === 'wait'").await;
    let press = |what: &str| {
        format!(
            "[...document.querySelectorAll('.refused button')].find((button) => button.textContent === '{what}').click();"
        )
    };
    alice.asks(&press("Send it anew")).await;
    alice.until("document.querySelector('#messages .failed')").await;
    alice.asks(&press("Let it go")).await;
    alice.until("!document.querySelector('#messages .failed')").await;
    alice.reload().await;
    alice.until_shows("goodbye").await;
    alice.until("!document.querySelector('#messages .failed')").await;
}
