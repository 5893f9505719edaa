//! A person at a browser: the real page in a headless Chromium, driven through its own driver (W3C `WebDriver`).
//!
//! `tests/install` puts a browser and the accessibility checker where a machine has none.

use crate::cluster::free_ports;
use crate::skipped::skipped;
use crate::wait::{self, GENEROUS};
use crate::workspace::root;
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where Debian, and most others, have them.
const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const DRIVERS: [&str; 2] = ["/usr/bin/chromedriver", "/usr/lib/chromium-browser/chromedriver"];

/// The driver's process, from which browsers are had.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    port: u16,
    browser: &'static str,
}

impl Driver {
    /// Starts the driver. `None`, loudly, where there is no browser; where CI runs, that is a failure.
    pub async fn start() -> Option<Self> {
        let there = |paths: &[&'static str]| paths.iter().find(|path| Path::new(path).exists()).copied();
        let (Some(browser), Some(driver)) = (there(&BROWSERS), there(&DRIVERS)) else {
            skipped("no chromium and chromedriver on this machine");
            return None;
        };
        let port = free_ports(1);
        let child = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let driver = Self { child, port, browser };
        wait::until("the driver of the browser listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Some(driver)
    }

    /// A browser of its own, with nothing kept from anybody else.
    pub async fn browser(&self, look: Look) -> Browser {
        let profile = tempfile::Builder::new().prefix("trialogue-browser-").tempdir().unwrap();
        let client = self.session(profile.path(), look).await;
        Browser { client, profile: Some(profile), look }
    }

    /// The browser was closed and is opened again: what it kept is there.
    pub async fn again(&self, mut browser: Browser) -> Browser {
        let (profile, look) = (browser.close().await, browser.look);
        let client = self.session(profile.path(), look).await;
        Browser { client, profile: Some(profile), look }
    }

    async fn session(&self, profile: &Path, look: Look) -> Client {
        let mut arguments = vec![
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            // A test machine may have no network at all: the browser shall not look for one.
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-quic".into(),
            "--hide-scrollbars".into(),
        ];
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let capabilities = json!({
            "goog:chromeOptions": { "binary": self.browser, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let url = format!("http://127.0.0.1:{}", self.port);
        let client = builder.capabilities(capabilities).connect(&url).await.unwrap();
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }]);
        devtools(&client, "Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let size =
            json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false });
        devtools(&client, "Emulation.setDeviceMetricsOverride", size).await;
        devtools(&client, "Emulation.setTimezoneOverride", json!({ "timezoneId": "UTC" })).await;
        client
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself. Its browsers end with it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How a browser looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub dark: bool,
    pub width: u32,
    pub height: u32,
}

impl Look {
    pub const LIGHT: Self = Self { dark: false, width: 1000, height: 640 };
    pub const DARK: Self = Self { dark: true, ..Self::LIGHT };
    pub const PHONE: Self = Self { dark: true, width: 390, height: 780 };
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    /// Its own folder, until it is closed.
    profile: Option<tempfile::TempDir>,
    look: Look,
}

impl Browser {
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// What a script returns.
    pub async fn asks(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What a script hands to its first argument, sooner or later.
    pub async fn asks_later(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script's expression is true.
    pub async fn until(&self, expression: &str) {
        let holds = wait::until("it holds", async || {
            // A page that is being loaded anew has no answer.
            let answer = self.client.execute(&format!("return Boolean({expression});"), Vec::new()).await;
            matches!(answer, Ok(Value::Bool(true)))
        });
        if tokio::time::timeout(GENEROUS / 2, holds).await.is_err() {
            let text = self.asks("return document.body.innerText;").await;
            panic!(
                "{expression} does not become true; the page says: {text}; its log: {:?}",
                self.errors().await
            );
        }
    }

    pub async fn until_shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    pub async fn text(&self, css: &str) -> String {
        self.client.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }

    /// Waits until there is such an element, in sight and enabled, and clicks it.
    pub async fn click(&self, css: &str) {
        let shown = format!(
            "document.querySelector({0})?.checkVisibility() && !document.querySelector({0}).disabled",
            json!(css)
        );
        self.until(&shown).await;
        let clicked =
            wait::until("it can be clicked", async || match self.client.find(Locator::Css(css)).await {
                // It may have been drawn anew between the two.
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            });
        clicked.await;
    }

    /// Types into a field, as a person would, key by key.
    pub async fn types(&self, css: &str, keys: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Types where the focus is.
    pub async fn presses(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// A method of the browser's own protocol.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        devtools(&self.client, method, parameters).await
    }

    /// Opens another tab and goes there; gives both, the old one first.
    pub async fn another_tab(&self) -> [WindowHandle; 2] {
        let old = self.client.window().await.unwrap();
        let new = self.client.new_window(true).await.unwrap().handle;
        self.client.switch_to_window(new.clone()).await.unwrap();
        [old, new]
    }

    pub async fn goes_to(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Puts a text into the message field at once, as a paste does.
    pub async fn pastes(&self, text: &str) {
        let paste = "const [text] = arguments; const field = document.getElementById('text'); \
            const data = new DataTransfer(); data.setData('text/plain', text); \
            const paste = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }); \
            if (!field.dispatchEvent(paste)) return; \
            field.value = text; field.dispatchEvent(new Event('input', { bubbles: true }));";
        self.client.execute(paste, vec![json!(text)]).await.unwrap();
    }

    /// Makes an account on the page, and is signed in.
    pub async fn registers(&self, name: &str, password: &str) {
        self.types("#name", name).await;
        self.types("#password", password).await;
        self.click("#register").await;
        self.until("!document.getElementById('chat').hidden").await;
    }

    /// Signs in with an account that there is.
    pub async fn signs_in(&self, name: &str, password: &str) {
        self.types("#name", name).await;
        self.types("#password", password).await;
        self.click("#log-in").await;
        self.until("!document.getElementById('chat').hidden").await;
    }

    /// Finds somebody by name and opens the conversation.
    pub async fn finds(&self, name: &str) {
        self.types("#find", name).await;
        self.until(&format!(
            "[...document.querySelectorAll('#found .name')].some((name) => name.textContent === {})",
            json!(name)
        ))
        .await;
        self.click("#found button").await;
        self.until(&format!("document.getElementById('with').textContent === {}", json!(name))).await;
    }

    pub async fn opens(&self, name: &str) {
        let find = format!(
            "[...document.querySelectorAll('#people button')].find((button) => button.querySelector('.name').textContent === {})",
            json!(name)
        );
        self.until(&find).await;
        self.asks(&format!("{find}.click();")).await;
    }

    pub async fn writes(&self, text: &str) {
        self.types("#text", text).await;
        self.presses("\u{e007}").await;
    }

    /// The messages in sight: who wrote, and what; each as often as it stands there.
    pub async fn messages(&self) -> Vec<String> {
        let script = "return [...document.querySelectorAll('#messages .message')].map((message) => \
            `${message.classList.contains('mine') ? 'me' : 'they'}: ${message.querySelector('.text').textContent}`);";
        serde_json::from_value(self.asks(script).await).unwrap()
    }

    /// What the browser's console says is wrong, since it was last asked.
    pub async fn errors(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Log).await.unwrap();
        let entries = log.as_array().unwrap().iter();
        let severe = entries.filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// What the accessibility checker (axe-core) finds to be a serious violation. Nothing, loudly, where it is not there.
    pub async fn violations(&self) -> Vec<String> {
        let checker = root().join("target/browser/node_modules/axe-core/axe.min.js");
        let Ok(checker) = std::fs::read_to_string(&checker) else {
            skipped("no axe-core on this machine");
            return Vec::new();
        };
        self.asks(&checker).await;
        let script = "const done = arguments[0]; axe.run().then((found) => done(found.violations\
            .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')\
            .map((violation) => `${violation.id}: ${violation.help}: ${violation.nodes.map((node) => node.html).join(' ')}`)));";
        let found = self.asks_later(script).await;
        serde_json::from_value(found).unwrap()
    }

    /// Keeps a picture of the page under `target/pictures`.
    pub async fn picture(&self, name: &str) {
        keep(name, self.client.screenshot().await.unwrap());
    }

    /// Keeps a picture of another page, which is made for that.
    pub async fn picture_of(&self, page: &str, name: &str) {
        let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
        std::fs::write(file.path(), page).unwrap();
        self.open(&format!("file://{}", file.path().display())).await;
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        keep(name, body.screenshot().await.unwrap());
    }

    /// Closes the browser in order, as its user does; what it keeps is in the folder.
    async fn close(&mut self) -> tempfile::TempDir {
        self.client.clone().close().await.unwrap();
        self.profile.take().expect("a browser is closed once")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.profile.is_none() {
            return;
        }
        // Its driver would leave it running.
        let process = self.client.capabilities().and_then(|said| said.get("goog:processID")?.as_i64());
        let process = process.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let process = process.expect("Chromium's driver says which process the browser is");
        // It may have ended by itself.
        let _ = kill_process(process, Signal::KILL);
    }
}

fn keep(name: &str, picture: Vec<u8>) {
    let folder = root().join("target/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}

async fn devtools(client: &Client, method: &str, parameters: Value) -> Value {
    client.issue_cmd(Devtools(json!({ "cmd": method, "params": parameters }))).await.unwrap()
}

/// The console's log, which Chromium's driver tells.
#[derive(Debug)]
struct Log;

impl WebDriverCompatibleCommand for Log {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// A command of the Chrome `DevTools` protocol.
#[derive(Debug)]
struct Devtools(Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}
