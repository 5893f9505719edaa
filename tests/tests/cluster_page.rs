//! The cluster page of a playground, in real browsers: a person kills replicas there, and watches what follows.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use whole_process_tests::browser::{Driver, Look};
use whole_process_tests::up::Up;

#[tokio::test]
async fn a_fail_over_can_be_watched_and_made() {
    let Some(driver) = Driver::start().await else { return };
    let up = Up::start(&["--playground"]);
    for (look, scheme) in
        [(Look { height: 900, ..Look::LIGHT }, "light"), (Look { height: 900, ..Look::DARK }, "dark")]
    {
        let browser = driver.browser(look).await;
        browser.open(&format!("http://127.0.0.1:{}/", up.port + 3)).await;
        browser.until_shows("everything works, with 3 copies of each message").await;
        browser
            .until("Number(document.querySelector('[data-fact=heard] dd').textContent.replace(',', '')) > 20")
            .await;
        assert_eq!(browser.errors().await, Vec::<String>::new(), "{scheme}");
        assert_eq!(browser.violations().await, Vec::<String>::new(), "{scheme}");
        browser.click("[aria-label='Kill replica 0']").await;
        browser
            .until("document.querySelector('.replica-card:nth-child(2) .role').textContent === 'primary'")
            .await;
        browser
            .until("document.querySelector('.replica-card:nth-child(1) .role').textContent === 'down'")
            .await;
        browser.until_shows("everything works, with 2 of 3 copies of each message").await;
        // The new primary tells how long no replica served, and the ledger how long no message was acknowledged.
        browser.until("document.querySelector('#views tr .gap').textContent.endsWith(' ms')").await;
        browser
            .until("document.querySelector('[data-fact=\"last gap\"] dd').textContent.endsWith(' ms')")
            .await;
        browser.until_shows("since replica 0 was killed").await;
        browser.picture(&format!("cluster-fail-over-{scheme}")).await;
        browser.click("[aria-label='Pause replica 2']").await;
        browser
            .until("document.querySelector('.replica-card:nth-child(3) .role').textContent === 'paused'")
            .await;
        browser.until_shows("works on one replica alone: each new message has 1 of 3 copies").await;
        browser.click("[aria-label='Resume replica 2']").await;
        browser.click("[aria-label='Restart replica 0']").await;
        browser.until_shows("everything works, with 3 copies of each message").await;
        browser
            .until("document.querySelector('.replica-card:nth-child(1) .role').textContent === 'primary'")
            .await;
        let ledger = "['lost', 'twice'].every((fact) => document.querySelector(`[data-fact=${fact}] dd`).textContent === '0')";
        browser.until(&format!("{ledger} && document.querySelectorAll('#latest li').length === 8")).await;
        // The page of a replica has the buttons too.
        browser.open(&format!("http://127.0.0.1:{}/cluster", up.port + 1)).await;
        browser.until("document.querySelectorAll('.orders').length === 3").await;
        println!("{scheme}: {}", browser.asks("return document.getElementById('views').innerText;").await);
    }
}
