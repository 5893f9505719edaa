//! The page, in real browsers: what people see and do there, while replicas die.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use chat::ServiceState;
use client::Reason;
use serde_json::json;
use whole_process_tests::browser::{Browser, Driver, Look};
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::people::{PASSWORD, Person};
use whole_process_tests::screen::Screen;
use whole_process_tests::wait;

const ENTER: &str = "\u{e007}";
const DOWN: &str = "\u{e015}";
const SHIFT_ENTER: &str = "\u{e008}\u{e007}\u{e008}";

fn page(cluster: &Cluster, i: usize) -> String {
    format!("http://{}/", cluster.address(i))
}

/// Waits until these messages, and no others, are in sight, in this order.
async fn until_messages(browser: &Browser, wanted: &[String]) {
    let last = wanted.last().unwrap().split_once(": ").unwrap().1;
    let shown = format!(
        "document.querySelectorAll('#messages .message:not(.pending)').length >= {} && \
         [...document.querySelectorAll('#messages .text')].at(-1).textContent === {}",
        wanted.len(),
        json!(last)
    );
    browser.until(&shown).await;
    assert_eq!(browser.messages().await, wanted);
}

/// What one says, the other sees.
fn seen_by_the_other(messages: &[String]) -> Vec<String> {
    let turn = |line: &String| match line.split_once(": ").unwrap() {
        ("me", text) => format!("they: {text}"),
        (_, text) => format!("me: {text}"),
    };
    messages.iter().map(turn).collect()
}

/// The browser's machine is two days ahead or behind: requests are dated by the service's clock, and everything works.
#[tokio::test]
async fn a_machine_whose_clock_is_wrong_is_as_good_as_any() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let bob = Person::register(&cluster, "bob").await;
    for (name, days) in [("ahead", 2), ("behind", -2)] {
        let browser = driver.browser(Look::LIGHT).await;
        let wrong = format!(
            "{{ const right = Date.now; Date.now = () => right() + {days} * 86_400_000; }} window.isWrong = true;"
        );
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": wrong })).await;
        browser.open(&page(&cluster, 0)).await;
        browser.until("window.isWrong").await;
        browser.registers(name, PASSWORD).await;
        browser.finds("bob").await;
        browser.writes(name).await;
        until_messages(&browser, &[format!("me: {name}")]).await;
        assert_eq!(browser.errors().await, Vec::<String>::new(), "{name}");
    }
    assert_eq!(bob.hear_texts(2).await, ["ahead", "behind"]);
}

#[tokio::test]
async fn two_people_chat_on_while_the_primary_is_killed() {
    let Some(driver) = Driver::start().await else { return };
    let mut cluster = Cluster::serving().await;
    // Bob's page comes from a secondary, and finds the primary by itself.
    let (alice, bob) = (driver.browser(Look::LIGHT).await, driver.browser(Look::DARK).await);
    alice.open(&page(&cluster, 0)).await;
    bob.open(&page(&cluster, 1)).await;
    alice.registers("alice", PASSWORD).await;
    alice.until_shows("No conversations yet.").await;
    bob.registers("bob", PASSWORD).await;
    alice.finds("bob").await;
    alice.until_shows("No messages yet. Say hello to bob.").await;
    alice.until_shows("everything works, with 3 copies of each message").await;
    let mut talk: Vec<String> = Vec::new();
    for text in ["Hello bob", "Are you coming to the harbour?"] {
        alice.writes(text).await;
        talk.push(format!("me: {text}"));
    }
    // The tab says that something is new, until it is looked at.
    bob.until("document.title === '(2) Trialogue'").await;
    bob.opens("alice").await;
    until_messages(&bob, &seen_by_the_other(&talk)).await;
    bob.until("document.title === 'alice · Trialogue'").await;
    alice.until("document.querySelectorAll('.mark.read').length === 2").await;

    for number in 0..12 {
        if number == 4 {
            cluster.kill(0);
        }
        let text = format!("message {number}");
        alice.writes(&text).await;
        talk.push(format!("me: {text}"));
        if number % 3 == 0 {
            until_messages(&alice, &talk).await;
            let answer = format!("answer {number}");
            bob.writes(&answer).await;
            talk.push(format!("they: {answer}"));
            until_messages(&alice, &talk).await;
        }
    }
    until_messages(&alice, &talk).await;
    until_messages(&bob, &seen_by_the_other(&talk)).await;
    alice.until_shows("everything works, with 2 of 3 copies of each message").await;
    alice.until_shows("replica 1").await;
    alice.until("document.querySelector('#messages .message:last-child .mark').title === 'read'").await;
    bob.reload().await;
    until_messages(&bob, &seen_by_the_other(&talk)).await;
    for (browser, who) in [(&alice, "alice"), (&bob, "bob")] {
        assert_eq!(browser.errors().await, Vec::<String>::new(), "{who}");
    }

    // The replica that alice's page came from is still down: the copy of the page that her browser keeps will do.
    alice.reload().await;
    until_messages(&alice, &talk).await;
    let errors = alice.errors().await;
    assert!(errors.iter().all(|error| error.contains("ERR_CONNECTION_REFUSED")), "{errors:?}");
    cluster.start(0);
    cluster.until_all_in_sync().await;
    alice.until_shows("everything works, with 3 copies of each message").await;
    cluster.assert_same().await;
}

#[tokio::test]
async fn what_was_typed_is_sent_once_even_if_the_browser_was_closed_meanwhile() {
    let Some(driver) = Driver::start().await else { return };
    let mut cluster = Cluster::serving().await;
    let bob = Person::register(&cluster, "bob").await;
    let alice = driver.browser(Look::PHONE).await;
    alice.open(&page(&cluster, 0)).await;
    alice.registers("alice", PASSWORD).await;
    alice.finds("bob").await;
    alice.writes("before").await;
    alice.until("document.querySelector('.mark')").await;
    // The primary stops in the middle of everything: it takes what is sent, and answers nothing.
    for i in 0..3 {
        cluster.pause(i);
    }
    for text in ["one", "two", "three"] {
        alice.writes(text).await;
    }
    alice.until("document.querySelectorAll('.pending').length === 3").await;
    alice.until_shows("reconnecting… what you type is kept and sent").await;
    alice.picture("chat-phone-dark-reconnecting").await;
    let alice = driver.again(alice).await;
    cluster.kill_all();
    cluster.start_all();
    cluster.until_all_in_sync().await;
    alice.open(&page(&cluster, 2)).await;
    // Another address, another page to the browser: what waits belongs to the one where it was typed.
    alice.until("document.getElementById('sign-in').checkVisibility()").await;
    alice.open(&page(&cluster, 0)).await;
    alice.until("!document.getElementById('chat').hidden").await;
    assert_eq!(bob.hear_texts(4).await, ["before", "one", "two", "three"]);
    alice.opens("bob").await;
    let talk = ["me: before", "me: one", "me: two", "me: three"].map(str::to_owned);
    until_messages(&alice, &talk).await;
    let left =
        alice.asks("return Object.keys(localStorage).filter((key) => key.includes('outbox')).length;").await;
    assert_eq!(left, 0);
    // Nothing of the account is left behind by a log-out.
    alice.click("#back").await;
    alice.click("#account").await;
    alice.click("#logout-form button").await;
    alice.until_shows("alice is logged out.").await;
    assert_eq!(alice.asks("return Object.keys(localStorage);").await, json!(["trialogue.addresses"]));
    cluster.assert_same().await;
}

/// What has gone wrong in other chats, and must be nothing but text in this one.
const PAYLOADS: [&str; 9] = [
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "\"><svg onload=window.hurt=1>",
    "</p></li></ol><h1>gone</h1>",
    "javascript:window.hurt=1",
    "[x](javascript:window.hurt=1)",
    "{{constructor.constructor('window.hurt=1')()}} ${window.hurt=1}",
    "&lt;b&gt; &amp; &#x41;",
    "\u{202e}gnp.exe \u{200f}مرحبا",
];

#[tokio::test]
async fn a_text_is_never_markup_or_script() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving_with(3, "illegal_name_characters = ''").await;
    let bob = driver.browser(Look::LIGHT).await;
    bob.open(&page(&cluster, 0)).await;
    // A name may hold such characters too, where the operator lets it.
    let hurtful = Person::register(&cluster, "<img/src=x/onerror=hurt=1>").await;
    bob.registers("bob", PASSWORD).await;
    for text in PAYLOADS {
        hurtful.send("bob", text).await;
    }
    bob.until("document.title === '(9) Trialogue'").await;
    bob.opens("<img/src=x/onerror=hurt=1>").await;
    let seen: Vec<String> = PAYLOADS.iter().map(|text| format!("they: {text}")).collect();
    until_messages(&bob, &seen).await;
    let made = "return [window.hurt ?? null, document.querySelectorAll('#chat script, #chat svg, #chat h1:not(.logo), #chat a:not([href=\"/cluster\"]):not(.skip)').length, \
         document.querySelectorAll('#chat img').length];";
    assert_eq!(bob.asks(made).await, json!([null, 0, 1]), "only the sign of the page itself is a picture");
    // Nor does one that is typed here.
    for text in &PAYLOADS[..4] {
        bob.writes(text).await;
    }
    bob.until("document.querySelectorAll('#messages .message:not(.pending)').length === 13").await;
    assert_eq!(bob.asks(made).await, json!([null, 0, 1]));
    assert_eq!(bob.errors().await, Vec::<String>::new());
    // Were it tried all the same, the browser itself refuses.
    let blocked =
        "try { document.body.innerHTML = '<b>x</b>'; return 'done'; } catch (error) { return error.name; }";
    assert_eq!(bob.asks(blocked).await, "TypeError");
}

#[tokio::test]
async fn everything_can_be_reached_by_keyboard_and_read_aloud() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let bob = Person::register(&cluster, "bob").await;
    for look in [Look::LIGHT, Look::DARK] {
        let name = if look.dark { "amina" } else { "alice" };
        let scheme = if look.dark { "dark" } else { "light" };
        let alice = driver.browser(look).await;
        alice.open(&page(&cluster, 0)).await;
        alice.until("document.activeElement?.id === 'name'").await;
        alice.picture(&format!("sign-in-{scheme}")).await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "signing in, {scheme}");
        alice.presses(name).await;
        alice.presses("\u{e004}").await;
        alice.presses(PASSWORD).await;
        // Enter signs in, and says that there is no such account; Tab leads on to the other button.
        alice.presses(ENTER).await;
        alice.until_shows("wrong name or password").await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "refused, {scheme}");
        alice.presses("\u{e004}\u{e004}").await;
        alice.presses(ENTER).await;
        alice.until("!document.getElementById('chat').hidden").await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "nothing there yet, {scheme}");
        alice.types("#find", "/^BO/").await;
        alice.until_shows("bob").await;
        alice.until("document.querySelector('#found button')").await;
        alice.presses(DOWN).await;
        alice.presses(ENTER).await;
        alice.until("document.activeElement?.id === 'text'").await;
        alice.presses("Two").await;
        alice.presses(SHIFT_ENTER).await;
        alice.presses("lines").await;
        alice.presses(ENTER).await;
        until_messages(&alice, &["me: Two\nlines".to_owned()]).await;
        bob.send(name, "شكرا جزيلا، أراك غدا في الميناء").await;
        bob.send(name, &format!("a long word: {}", "tick".repeat(60))).await;
        bob.send(name, "See you at eight.").await;
        alice.until_shows("See you at eight.").await;
        assert_eq!(alice.messages().await[0], "me: Two\nlines");
        alice.until("document.getElementById('announcer').textContent === 'bob: See you at eight.'").await;
        alice.picture(&format!("chat-{scheme}")).await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "a conversation, {scheme}");
        alice.click("#account").await;
        alice.until("document.getElementById('account-dialog').open && !document.getElementById('marks').disabled").await;
        alice.picture(&format!("account-{scheme}")).await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "the account, {scheme}");
        alice.presses("\u{e00c}").await;
        alice.until("!document.getElementById('account-dialog').open").await;
        alice.open(&format!("{}cluster", page(&cluster, 1))).await;
        alice.until("document.querySelectorAll('.replica-card').length === 3").await;
        alice.until_shows("everything works, with 3 copies of each message").await;
        assert_eq!(alice.violations().await, Vec::<String>::new(), "the cluster, {scheme}");
        assert_eq!(alice.errors().await, Vec::<String>::new(), "{scheme}");
    }
}

#[tokio::test]
async fn an_account_is_its_owners() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let (here, elsewhere) = (driver.browser(Look::LIGHT).await, driver.browser(Look::LIGHT).await);
    let bob = Person::register(&cluster, "bob").await;
    here.open(&page(&cluster, 0)).await;
    here.registers("alice", PASSWORD).await;
    elsewhere.open(&page(&cluster, 0)).await;
    elsewhere.types("#name", "Alice").await;
    elsewhere.types("#password", PASSWORD).await;
    elsewhere.presses(ENTER).await;
    elsewhere.until("!document.getElementById('chat').hidden").await;

    // What is written, read or hidden with one device is so with the other.
    here.finds("bob").await;
    here.writes("from here").await;
    elsewhere.opens("bob").await;
    until_messages(&elsewhere, &["me: from here".to_owned()]).await;
    bob.send("alice", "an answer").await;
    here.until_shows("an answer").await;
    elsewhere.until_shows("an answer").await;
    elsewhere.until("document.title === 'bob · Trialogue'").await;
    here.click("#account").await;
    here.click("#marks:checked").await;
    here.until("!document.getElementById('marks').disabled").await;

    // A wrong password says so; the right one ends the other session.
    here.types("#old-password", "not the password").await;
    here.types("#new-password", "a better password").await;
    here.presses(ENTER).await;
    here.until_shows("wrong name or password").await;
    here.asks("document.getElementById('old-password').value = '';").await;
    here.types("#old-password", PASSWORD).await;
    here.presses(ENTER).await;
    here.until_shows("The password is changed").await;
    elsewhere.until_shows("the session is not valid any more").await;
    elsewhere.until("document.getElementById('sign-in').checkVisibility()").await;

    // Deleted: gone, and the name is free.
    here.types("#delete-password", "a better password").await;
    here.click("#delete-sure").await;
    here.click("#delete-form button").await;
    here.until_shows("The account alice is deleted.").await;
    let refused = bob.session.send("alice", "anyone there?", 0).await.unwrap_err();
    assert!(refused.is_refused_for(&Reason::NoSuchAccount), "{refused}");
    for browser in [&here, &elsewhere] {
        assert_eq!(browser.errors().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_long_history_is_read_backwards_without_losing_the_place() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let alice = driver.browser(Look::LIGHT).await;
    alice.open(&page(&cluster, 0)).await;
    alice.registers("alice", PASSWORD).await;
    let bob = Person::register(&cluster, "bob").await;
    for number in 0..200 {
        bob.send("alice", &format!("message {number}")).await;
    }
    alice.until("document.title === '(200) Trialogue'").await;
    alice.opens("bob").await;
    // It opens where the new begins, as far as it is loaded; nothing counts as read that was not in sight.
    alice.until("document.querySelectorAll('#messages .message').length >= 60").await;
    // What is older comes in above, and what was in sight stays where it was.
    let where_it_is = "return document.querySelector(\"[data-id='FIRST']\").getBoundingClientRect().top;";
    let first = alice.asks("return document.querySelector('#messages .message').dataset.id;").await;
    let where_it_is = where_it_is.replace("FIRST", first.as_str().unwrap());
    alice.asks("document.getElementById('older').scrollIntoView();").await;
    let count = "document.querySelectorAll('#messages .message').length";
    alice.until(&format!("{count} > 60")).await;
    let before = alice.asks(&where_it_is).await.as_f64().unwrap();
    let known = alice.asks(&format!("return {count};")).await;
    alice.asks("document.getElementById('older').click();").await;
    alice.until(&format!("{count} > {known}")).await;
    let after = alice.asks(&where_it_is).await.as_f64().unwrap();
    assert!((before - after).abs() < 2.0, "it moved from {before} to {after}");
    alice
        .until(&format!(
            "(() => {{ document.getElementById('scroll').scrollTop = 0; return {count} === 200; }})()"
        ))
        .await;
    let all: Vec<String> = (0..200).map(|number| format!("they: message {number}")).collect();
    assert_eq!(alice.messages().await, all);
    assert_eq!(alice.asks("return document.title;").await, "(200) bob · Trialogue");
    // In the middle of it, what comes does not move it; at its end, it is followed, and read.
    alice.asks("document.getElementById('scroll').scrollTop = 2000;").await;
    bob.send("alice", "one more").await;
    alice.until_shows("one more").await;
    assert_eq!(alice.asks("return document.getElementById('scroll').scrollTop;").await, 2000);
    alice.click("#down").await;
    alice.until("document.title === 'bob · Trialogue'").await;
    bob.send("alice", "and another").await;
    alice.until("(() => { const scroll = document.getElementById('scroll'); return scroll.innerText.includes('and another') && scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 2; })()").await;
    assert_eq!(alice.errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_on_too_few_replicas_says_so_until_enough_hold_it() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving_with(2, "min_in_sync = 2").await;
    let bob = Person::register(&cluster, "bob").await;
    let alice = driver.browser(Look::LIGHT).await;
    alice.open(&page(&cluster, 0)).await;
    alice.registers("alice", PASSWORD).await;
    alice.finds("bob").await;
    let kept = "document.body.innerText.includes('kept on 1 of 2')";
    loop {
        alice.types("#text", "on one").await;
        cluster.pause(1);
        alice.presses(ENTER).await;
        alice.until(&format!("{kept} || document.querySelector('.failed')")).await;
        if alice.asks(&format!("return {kept};")).await == true {
            break;
        }
        // The browser was slower than the primary, which had already gone on without the other: refused without effect.
        alice.asks("[...document.querySelectorAll('.refused button')].find((button) => button.textContent === 'Let it go').click();").await;
        cluster.resume(1);
        cluster.until_all_in_sync().await;
    }
    assert_eq!(bob.hear_texts(1).await, ["on one"], "it has its place all the same");
    cluster.resume(1);
    cluster.until_all_in_sync().await;
    alice.until("!document.body.innerText.includes('kept on')").await;
    until_messages(&alice, &["me: on one".to_owned()]).await;
    assert_eq!(alice.errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn how_things_stand_is_said_in_one_voice() {
    let Some(driver) = Driver::start().await else { return };
    let mut cluster = Cluster::serving_with(3, "min_in_sync = 2").await;
    let bob = Person::register(&cluster, "bob").await;
    let alice = driver.browser(Look::LIGHT).await;
    alice.open(&page(&cluster, 2)).await;
    alice.registers("alice", PASSWORD).await;
    alice.finds("bob").await;
    alice.writes("before").await;
    until_messages(&alice, &["me: before".to_owned()]).await;
    alice.until_shows(&ServiceState::Serving { replicas: 3 }.to_string()).await;
    cluster.kill(0);
    alice
        .until_shows(&ServiceState::FewerCopies { in_sync: 2, replicas: 3, unreachable: 1 }.to_string())
        .await;
    alice.writes("with two copies").await;
    // Of this message, not of the last that has a mark: one on its way has none.
    alice
        .until(
            "document.querySelector('#messages .message:last-child .mark')?.textContent.includes('2 of 3')",
        )
        .await;
    cluster.kill(1);
    let read_only = ServiceState::ReadOnly { in_sync: 1, wanted: 2, unreachable: 2 }.to_string();
    alice.until_shows(&read_only).await;
    let (read_only, _) = read_only.split_once(';').unwrap();
    // It is refused with the same words, stays in sight, and goes back into the field to be tried again.
    alice.writes("too early").await;
    alice
        .until(&format!("document.querySelector('.failed')?.textContent.includes({})", json!(read_only)))
        .await;
    alice.picture("chat-light-read-only").await;
    alice.asks("[...document.querySelectorAll('.refused button')].find((button) => button.textContent === 'Edit it').click();").await;
    assert_eq!(alice.asks("return document.getElementById('text').value;").await, "too early");
    cluster.start(0);
    cluster.start(1);
    cluster.until_all_in_sync().await;
    alice.until_shows(&ServiceState::Serving { replicas: 3 }.to_string()).await;
    alice.presses(ENTER).await;
    let talk = ["before", "with two copies", "too early"];
    until_messages(&alice, &talk.map(|text| format!("me: {text}"))).await;
    assert_eq!(bob.hear_texts(3).await, talk);

    cluster.kill_all();
    alice.until_shows(&ServiceState::Reconnecting.to_string()).await;
    alice.until_shows(&ServiceState::NobodyServes.to_string()).await;
    alice.writes("when you are back").await;
    let recovered = std::process::Command::new(program())
        .args(["recover", "--accept-data-loss", "--data"])
        .arg(cluster.data())
        .output()
        .unwrap();
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    cluster.start_all();
    // A new history ends all sessions; what waits is kept for the next one.
    alice.until_shows("the session is not valid any more; log in again").await;
    alice.signs_in("alice", PASSWORD).await;
    alice.opens("bob").await;
    alice.until_shows(&ServiceState::Serving { replicas: 3 }.to_string()).await;
    let all = ["before", "with two copies", "too early", "when you are back"];
    until_messages(&alice, &all.map(|text| format!("me: {text}"))).await;
    cluster.assert_same().await;
}

#[tokio::test]
async fn a_page_and_a_terminal_show_one_conversation() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Screen::start(home.path(), &cluster.servers(), &["chat"]);
    terminal.until_shows("sign in").await;
    terminal.types(&format!("\x12alice\r{PASSWORD}\r{PASSWORD}\r"));
    terminal.until_shows("No conversations yet").await;
    let browser = driver.browser(Look::DARK).await;
    browser.open(&page(&cluster, 0)).await;
    browser.registers("bob", PASSWORD).await;
    let carol = Person::register(&cluster, "carol").await;
    carol.send("alice", "The minutes of Monday are on the table.").await;
    terminal.types("/to bob\r");
    terminal.until_shows("Say hello to bob.").await;
    terminal.types("Did the boat come in?\r");
    browser.opens("alice").await;
    browser.writes("At noon. Nobody noticed that the first engine had stopped.").await;
    terminal.until_shows("bob: At noon.").await;
    terminal.types("Then the second one took over. Good.\r");
    browser.until_shows("Then the second one took over. Good.").await;
    terminal.until_shows("Good.").await;
    wait::until("bob has read it", async || terminal.text().matches("✓✓ read").count() == 2).await;
    browser.picture("chat-dark-with-a-terminal").await;
    for (dark, name) in [(true, "terminal-dark"), (false, "terminal-light")] {
        browser.picture_of(&terminal.page(dark), name).await;
    }
    terminal.types("/quit\r");
    assert!(terminal.ended().await.success());
}

/// What the page knows, told in orders that a test of the whole can't bring about at will.
#[tokio::test]
async fn what_comes_counts_once_in_whatever_order_it_comes() {
    let Some(driver) = Driver::start().await else { return };
    let cluster = Cluster::serving().await;
    let browser = driver.browser(Look::LIGHT).await;
    browser.open(&page(&cluster, 0)).await;
    let story = r#"
        const done = arguments[0];
        import("/model.js").then(({ Model }) => {
            const message = (id, from_id, to_id, text = "x") => ({ id, from_id, from: "?", to_id, to: "?", text, sent_at: id });
            const standing = (last, unread, read_up_to = 0) =>
                [{ with_id: 2, with: "bob", deleted: false, last, unread, read_up_to, delivered_up_to: 0, seen_up_to: 0 }];
            const told = [];
            const unread = new Model({ id: 1, name: "alice" });
            const look = () => { const one = unread.conversation(2); told.push([one.unread, one.last.id]); };
            unread.arrived(message(10, 2, 1)); look();
            // How things stood before it: five others.
            unread.stand(standing(message(9, 2, 1), 5)); look();
            unread.arrived(message(10, 2, 1)); look();
            unread.stand(standing(message(10, 2, 1), 6)); look();
            unread.arrived(message(11, 2, 1)); look();
            // Read on another device, and an older word of how things stood.
            unread.receipt({ with_id: 2, delivered_up_to: 0, seen_up_to: 0, read_up_to: 11 }); look();
            unread.stand(standing(message(10, 2, 1), 6)); look();

            const typed = new Model({ id: 1, name: "alice" });
            const one = typed.conversation(2, "bob");
            typed.page(one, [], false);
            const letter = (request_id) => ({ request_id, place: request_id, with: 2, to: "bob", text: "again", typed_at: 1 });
            const [refused, sent] = [letter("a"), letter("b")];
            typed.typed(refused);
            typed.refused({ ...refused, refused: "why" });
            typed.typed(sent);
            typed.arrived(message(20, 1, 2, "again"));
            told.push([refused.shownAs ?? null, sent.shownAs]);
            typed.sent(sent, { message_id: 20, sent_at: 20, copies: 3, replicas: 3 });
            told.push([one.letters.length, one.messages.length]);
            done(told);
        });"#;
    let told = browser.asks_later(story).await;
    let unread = [[1, 10], [6, 10], [6, 10], [6, 10], [7, 11], [0, 11], [0, 11]];
    assert_eq!(told.as_array().unwrap()[..7], unread.map(|pair| json!(pair)));
    assert_eq!(told.as_array().unwrap()[7..], [json!([null, 20]), json!([1, 1])]);
}
