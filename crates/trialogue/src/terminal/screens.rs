//! Screens: a script of what the person does and what the service sends, and under `----` what is wanted of the service and
//! what is on the screen. `REWRITE=1 cargo test --release -p trialogue screens` writes what happens now; a reviewer reads
//! the difference. The steps are explained in `tests/README.md`.

use super::app::App;
use super::screen;
use super::vocabulary::{Connection, Effect, Event, Me};
use chat::{MessageId, Replication, RequestId, ServiceState};
use client::Progress;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr;

/// 25 November 2026, noon, in milliseconds since 1970; messages come a minute apart, by their ids.
const NOON: u64 = 1_795_608_000_000;
const MINUTE: u64 = 60_000;
const ME: u64 = 1;

fn numbered() -> RequestId {
    use std::cell::Cell;
    thread_local! { static DRAWN: Cell<u8> = const { Cell::new(0) }; }
    DRAWN.with(|drawn| {
        drawn.set(drawn.get().wrapping_add(1));
        RequestId(uuid::Uuid::from_bytes([drawn.get(); 16]))
    })
}

struct Stage {
    app: App,
    terminal: Terminal<TestBackend>,
    /// The request id of the last message that was to be sent.
    last_sent: RequestId,
}

impl Stage {
    fn new(size: &str) -> Self {
        let (width, height) = size.split_once('x').unwrap();
        let backend = TestBackend::new(width.parse().unwrap(), height.parse().unwrap());
        let me = Me { id: ME, name: "alice".into() };
        let app = App::new(me, false, TimeZone::UTC, numbered);
        Self { app, terminal: Terminal::new(backend).unwrap(), last_sent: RequestId(uuid::Uuid::nil()) }
    }

    fn step(&mut self, line: &str) -> String {
        let (head, text) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let text = text.replace("\\n", "\n").replace("\\e", "\u{1b}").replace("\\r", "\u{202e}");
        let words: Vec<&str> = head.split_whitespace().collect();
        let effects = match words[0] {
            "show" => return self.show(),
            "parting" => {
                return self
                    .app
                    .parting_lines()
                    .iter()
                    .fold(String::new(), |all, line| all + "parting: " + line + "\n");
            }
            "title" => return format!("title: {} unread\n", self.app.unread()),
            "type" => {
                text.chars().flat_map(|c| self.app.key(KeyEvent::from(KeyCode::Char(c)), NOON)).collect()
            }
            "paste" => {
                self.app.paste(&text);
                Vec::new()
            }
            "fill" => {
                self.app.paste(&"x".repeat(number(words[1])));
                Vec::new()
            }
            "key" => {
                words[1..].iter().flat_map(|name| self.app.key(key(name), NOON + 600 * MINUTE)).collect()
            }
            "resize" => {
                self.terminal.backend_mut().resize(number(words[1]), number(words[2]));
                Vec::new()
            }
            _ => {
                let event = self.event(&words, text);
                self.app.on_event(event)
            }
        };
        // As between any two events of the program.
        self.terminal.draw(|frame| screen::draw(frame, &mut self.app)).unwrap();
        let mut said = String::new();
        for effect in effects {
            if let Effect::Send { request_id, .. } = &effect {
                self.last_sent = *request_id;
            }
            let _ = writeln!(said, "→ {}", brief(&effect));
        }
        said
    }

    /// What the service says.
    fn event(&self, words: &[&str], text: String) -> Event {
        match words[0] {
            "serving" => Event::Connection(Connection::Serving {
                replica: number(words[1]),
                address: format!("127.0.0.1:510{}", words[1]),
                state: ServiceState::of(Replication {
                    in_sync: after(words, "sync").unwrap_or(3),
                    replicas: 3,
                    min_in_sync: after(words, "min").unwrap_or(1),
                    unreachable: 3 - after(words, "sync").unwrap_or(3),
                    disk_full: words.contains(&"full"),
                }),
            }),
            "reconnecting" => Event::Connection(Connection::Reconnecting),
            "nobody" => Event::Connection(Connection::NobodyServes),
            "conversation" => Event::Conversations(vec![client::Conversation {
                with: words[1].into(),
                with_id: number(words[2]),
                deleted: words.contains(&"deleted"),
                last: after(words, "last").map(|id| message(id, number(words[2]), ME, &text)),
                unread: after(words, "unread").unwrap_or(0),
                read_up_to: after(words, "read").unwrap_or(0),
                delivered_up_to: after(words, "delivered").unwrap_or(0),
                seen_up_to: after(words, "seen").unwrap_or(0),
                ..client::Conversation::default()
            }]),
            "page" => {
                let with = number(words[1]);
                let message_of = |part: &str| {
                    let at = part.find(['<', '>']).unwrap();
                    let (from, to) = if &part[at..=at] == "<" { (with, ME) } else { (ME, with) };
                    message(number(part[..at].trim()), from, to, &part[at + 1..])
                };
                let messages = text.rsplit(" | ").filter(|text| !text.is_empty()).map(message_of).collect();
                Event::Page { with, messages, more: words.contains(&"more") }
            }
            "no-page" => Event::NoPage { with: number(words[1]) },
            "message" => {
                let heard = message(number(words[3]), number(words[2]), ME, &text);
                Event::Message(client::Message { from: words[1].into(), ..heard })
            }
            "own" => {
                let heard = message(number(words[3]), ME, number(words[2]), &text);
                Event::Message(client::Message { to: words[1].into(), ..heard })
            }
            "receipt" => Event::Receipt(client::Receipt {
                with_id: number(words[1]),
                delivered_up_to: after(words, "delivered").unwrap_or(0),
                seen_up_to: after(words, "seen").unwrap_or(0),
                read_up_to: after(words, "read").unwrap_or(0),
                ..client::Receipt::default()
            }),
            "sent" => {
                let (id, copies) = (number(words[1]), after(words, "on").unwrap_or(3));
                let sent_at = NOON + id * MINUTE;
                let sent = client::Sent { id: MessageId(id), sent_at, copies, replicas: 3 };
                Event::Outbox(Progress::Sent { request_id: self.last_sent, sent })
            }
            "kept" => {
                let copies = u32::try_from(after(words, "on").unwrap_or(1)).unwrap();
                Event::Outbox(Progress::KeptOnFewer { request_id: self.last_sent, copies, replicas: 3 })
            }
            "not-kept" => Event::NotKept { request_id: self.last_sent, why: text },
            "refused" => Event::Outbox(Progress::Refused { request_id: self.last_sent, why: text }),
            "found" => Event::Found { id: number(words[2]), name: words[1].into() },
            "notice" => Event::Notice(text),
            "over" => Event::Over(text),
            "lines" => {
                let lines = text.split(" | ").map(str::to_owned).collect();
                Event::Lines { heading: words[1].into(), lines }
            }
            other => panic!("no such step: {other}"),
        }
    }

    fn show(&mut self) -> String {
        self.terminal.draw(|frame| screen::draw(frame, &mut self.app)).unwrap();
        let cursor = self.terminal.get_cursor_position().unwrap();
        let buffer = self.terminal.backend().buffer().clone();
        let mut shown = String::new();
        for y in 0..buffer.area.height {
            let mut line = String::new();
            let mut covered = 0;
            for x in 0..buffer.area.width {
                if covered > 0 {
                    covered -= 1;
                    continue;
                }
                let symbol = buffer[(x, y)].symbol();
                covered = symbol.width().saturating_sub(1);
                line.push_str(if (x, y) == (cursor.x, cursor.y) && symbol == " " { "▏" } else { symbol });
            }
            let _ = writeln!(shown, "|{}", line.trim_end());
        }
        shown
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// The number behind a word, if the word is there.
fn after<T: std::str::FromStr>(words: &[&str], word: &str) -> Option<T> {
    let place = words.iter().position(|other| *other == word)?;
    Some(number(words[place + 1]))
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Send { with, to, text, .. } => format!("Send to {to} ({with}): {text:?}"),
        Effect::ChangePassword { old, new } => format!("ChangePassword {old:?} to {new:?}"),
        other => format!("{other:?}"),
    }
}

fn message(id: u64, from: u64, to: u64, text: &str) -> client::Message {
    let name = |id: u64| if id == ME { "alice".to_owned() } else { format!("account {id}") };
    client::Message {
        id,
        from_id: from,
        from: name(from),
        to_id: to,
        to: name(to),
        text: text.to_owned(),
        sent_at: NOON + id * MINUTE,
        ..client::Message::default()
    }
}

fn key(name: &str) -> KeyEvent {
    let (modifiers, name) = match name.split_once('-') {
        Some(("ctrl", rest)) => (KeyModifiers::CONTROL, rest),
        Some(("alt", rest)) => (KeyModifiers::ALT, rest),
        _ => (KeyModifiers::NONE, name),
    };
    let code = match name {
        "enter" => KeyCode::Enter,
        "tab" => KeyCode::Tab,
        "esc" => KeyCode::Esc,
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "pageup" => KeyCode::PageUp,
        "pagedown" => KeyCode::PageDown,
        "end" => KeyCode::End,
        "backspace" => KeyCode::Backspace,
        other if other.chars().count() == 1 => KeyCode::Char(other.chars().next().unwrap()),
        other => panic!("no such key: {other}"),
    };
    KeyEvent::new(code, modifiers)
}

#[test]
fn screens_are_as_they_are_shown() {
    datadriven::walk("tests/screens", |file| {
        let mut stage: Option<Stage> = None;
        file.run(|case| {
            let mut said = String::new();
            for line in case.input.lines() {
                if let Some(size) = line.strip_prefix("screen ") {
                    stage = Some(Stage::new(size));
                    continue;
                }
                said.push_str(&stage.as_mut().expect("a script begins with `screen WxH`").step(line));
            }
            if said.is_empty() { "(nothing)\n".into() } else { said }
        });
    });
}
