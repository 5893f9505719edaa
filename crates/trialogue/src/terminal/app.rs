//! The whole state of the chat screen, and what each event makes of it. Nothing here touches a terminal, a network, a file
//! or a clock: what is to be done outside is returned as [`Effect`]s, so that tests can tell stories about it.

use super::commands::Command;
use super::conversation::{Conversation, Older, Pending};
use super::layout::{self, Viewer};
use super::question::{Answered, Question};
use super::vocabulary::{Connection, Effect, Event, Me};
use super::wording;
use chat::MessageText;
use client::RequestId;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui_textarea::{TextArea, WrapMode};

/// Lines that were typed before and can be fetched back.
const HISTORY_MAX: usize = 100;

/// What the screen is about.
pub(crate) struct App {
    pub(crate) me: Me,
    /// The one with the newest message first.
    pub(crate) conversations: Vec<Conversation>,
    /// The account with which the conversation on the screen is.
    pub(crate) open: Option<u64>,
    pub(crate) input: TextArea<'static>,
    pub(crate) connection: Connection,
    /// One sentence above the input, until the next key.
    pub(crate) notice: Option<String>,
    /// Lines in the place of the messages, until a key.
    pub(crate) lines: Option<(String, Vec<String>)>,
    pub(crate) question: Option<Question>,
    pub(crate) colours: bool,
    /// Where times are shown.
    pub(crate) zone: TimeZone,
    /// How many lines of messages fit, and how wide they are; as of the last drawing.
    pub(crate) room: (usize, usize),
    bell: bool,
    pub(super) typed: Vec<String>,
    /// Which of `typed` is in the input.
    pub(super) recalled: Option<usize>,
    /// Draws a request id; the one thing that is random.
    pub(super) new_request_id: Box<dyn Fn() -> RequestId + Send + Sync>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("me", &self.me).field("open", &self.open).finish_non_exhaustive()
    }
}

impl App {
    /// For whom the messages are laid out.
    pub(crate) fn viewer(&self) -> Viewer<'_> {
        Viewer { me: &self.me, zone: &self.zone, colours: self.colours }
    }

    pub(crate) fn new(
        me: Me,
        colours: bool,
        zone: TimeZone,
        new_request_id: impl Fn() -> RequestId + Send + Sync + 'static,
    ) -> Self {
        Self {
            me,
            conversations: Vec::new(),
            open: None,
            input: empty_input(),
            connection: Connection::Connecting,
            notice: None,
            lines: None,
            question: None,
            colours,
            zone,
            room: (20, 50),
            bell: true,
            typed: Vec::new(),
            recalled: None,
            new_request_id: Box::new(new_request_id),
        }
    }

    pub(crate) fn current(&self) -> Option<&Conversation> {
        self.conversations.iter().find(|conversation| Some(conversation.with) == self.open)
    }

    /// The sentence above the input: what is asked for, or what happened.
    pub(crate) fn sentence(&self) -> Option<&str> {
        self.question.as_ref().map(Question::prompt).or(self.notice.as_deref())
    }

    /// How many of the other side's messages are new, over all conversations.
    pub(crate) fn unread(&self) -> u32 {
        self.conversations.iter().map(|conversation| conversation.unread).sum()
    }

    pub(crate) fn on_event(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Connection(connection) => self.connection = connection,
            Event::Conversations(conversations) => {
                for conversation in &conversations {
                    self.conversation(conversation.with_id, &conversation.with).update(conversation);
                }
                self.sort();
                // What is open may still lack its page: without an answer it is asked for again here.
                return match self.open {
                    Some(open) => self.show(open),
                    None if self.input.is_empty() => self.show_first(),
                    None => Vec::new(),
                };
            }
            Event::NoPage { with } => {
                if let Some(conversation) = self.find(with) {
                    conversation.older =
                        if conversation.messages.is_empty() { Older::Unknown } else { Older::More };
                }
            }
            Event::Page { with, messages, more } => {
                let me = self.me.id;
                if let Some(conversation) = self.find(with) {
                    conversation.take_page(&messages, more, me);
                }
                return self.mark_seen();
            }
            Event::Message(message) => return self.take_message(&message),
            Event::Receipt(receipt) => {
                let is_open = self.open == Some(receipt.with_id);
                let Some(conversation) = self.find(receipt.with_id) else { return Vec::new() };
                conversation.delivered_up_to = conversation.delivered_up_to.max(receipt.delivered_up_to);
                conversation.seen_up_to = conversation.seen_up_to.max(receipt.seen_up_to);
                conversation.read_up_to = conversation.read_up_to.max(receipt.read_up_to);
                // Another device has read it all, or more than this one knows of yet.
                if receipt.read_up_to >= conversation.last_id && !is_open {
                    conversation.unread = 0;
                }
            }
            Event::Outbox(progress) => self.progress(progress),
            Event::NotKept { request_id, why } => {
                for pending in self.pending(request_id) {
                    (pending.refused, pending.on_disk) = (Some(why.clone()), false);
                }
            }
            Event::Found { id, name } => {
                self.conversation(id, &name);
                return self.show(id);
            }
            Event::Lines { heading, lines } => self.lines = Some((heading, lines)),
            Event::Notice(notice) => self.notice = Some(notice),
            Event::Over(why) => {
                self.notice = Some(why);
                return vec![Effect::Quit];
            }
            Event::Left(why) => {
                self.conversations.clear();
                self.notice = Some(why);
                return vec![Effect::Quit];
            }
        }
        Vec::new()
    }

    fn take_message(&mut self, message: &client::Message) -> Vec<Effect> {
        let me = self.me.id;
        let mine = message.from_id == me;
        let (with, name) = if mine { (message.to_id, &message.to) } else { (message.from_id, &message.from) };
        let is_open = self.open == Some(with);
        let conversation = self.conversation(with, name);
        let new = conversation.take(message, me);
        let mut effects = Vec::new();
        if new && !mine {
            conversation.unread += 1;
            if !is_open && self.bell {
                effects.push(Effect::Bell);
            }
        }
        self.sort();
        // What is being typed without a conversation is not meant for the first person who writes.
        if self.open.is_none() && self.input.is_empty() {
            effects.extend(self.show(with));
        }
        effects.extend(self.mark_seen());
        effects
    }

    /// What is on the screen, down to the newest message, was seen.
    fn mark_seen(&mut self) -> Vec<Effect> {
        let covered = self.lines.is_some();
        let Some(open) = self.open else { return Vec::new() };
        let Some(conversation) = self.find(open) else { return Vec::new() };
        if conversation.place.is_some() || covered {
            return Vec::new();
        }
        let Some(up_to) = conversation.newest_of_theirs() else { return Vec::new() };
        conversation.unread = 0;
        if up_to <= conversation.read_up_to {
            return Vec::new();
        }
        conversation.read_up_to = up_to;
        vec![Effect::MarkSeen { with: open, up_to }]
    }

    fn show_first(&mut self) -> Vec<Effect> {
        let first = self.conversations.first().map(|first| first.with);
        first.map_or_else(Vec::new, |first| self.show(first))
    }

    /// Opens a conversation.
    fn show(&mut self, with: u64) -> Vec<Effect> {
        let stays = self.open == Some(with);
        if !stays {
            self.lines = None;
            self.change_draft(with);
        }
        if let Some(before) = self.open.filter(|open| *open != with)
            && let Some(left) = self.find(before)
        {
            left.new_after = None;
        }
        self.open = Some(with);
        let Some(conversation) = self.find(with) else { return Vec::new() };
        if conversation.unread > 0 && !stays {
            conversation.new_after = Some(conversation.read_up_to);
        }
        let mut effects = Vec::new();
        if conversation.older == Older::Unknown {
            conversation.older = Older::Loading;
            effects.push(Effect::LoadPage { with, before: 0 });
        }
        effects.extend(self.mark_seen());
        effects
    }

    pub(super) fn find(&mut self, with: u64) -> Option<&mut Conversation> {
        self.conversations.iter_mut().find(|conversation| conversation.with == with)
    }

    pub(super) fn conversation(&mut self, with: u64, name: &str) -> &mut Conversation {
        let known = self.conversations.iter().position(|conversation| conversation.with == with);
        let place = known.unwrap_or_else(|| {
            self.conversations.push(Conversation::new(with, name));
            self.conversations.len() - 1
        });
        &mut self.conversations[place]
    }

    pub(super) fn sort(&mut self) {
        self.conversations.sort_by_key(|conversation| std::cmp::Reverse(conversation.last_id));
    }

    /// A key. `now` in milliseconds since 1970.
    pub(crate) fn key(&mut self, key: KeyEvent, now: u64) -> Vec<Effect> {
        self.notice = None;
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        if ctrl && matches!(key.code, KeyCode::Char('c' | 'd')) {
            // As in a shell, where Ctrl-C lets go of the line, and Ctrl-D does nothing in the middle of one.
            if self.question.is_none() && !self.input.is_empty() {
                if key.code == KeyCode::Char('c') {
                    self.clear_input();
                    self.notice = Some("Ctrl-C again quits".into());
                }
                return Vec::new();
            }
            return vec![Effect::Quit];
        }
        if let Some(question) = self.question.take() {
            return match question.key(key) {
                Answered::NotYet(question) => {
                    self.question = Some(question);
                    Vec::new()
                }
                Answered::Given(effect) => vec![effect],
                Answered::TakenBack(why) => {
                    self.notice = Some(why);
                    Vec::new()
                }
            };
        }
        if self.lines.take().is_some() && key.code == KeyCode::Esc {
            return self.mark_seen();
        }
        match key.code {
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => {
                self.input.insert_newline();
            }
            KeyCode::Char('j') if ctrl => self.input.insert_newline(),
            KeyCode::Char('u') if ctrl => {
                self.input.delete_line_by_head();
            }
            KeyCode::Char('z') if ctrl => {
                self.input.undo();
            }
            KeyCode::Enter => return self.enter(now),
            KeyCode::Tab => self.complete(),
            KeyCode::PageUp => return self.scroll(-(self.room.0.saturating_sub(2).max(1).cast_signed())),
            KeyCode::PageDown => return self.scroll(self.room.0.saturating_sub(2).max(1).cast_signed()),
            KeyCode::End if ctrl => return self.scroll(isize::MAX),
            KeyCode::Up if alt => return self.neighbour(false),
            KeyCode::Down if alt => return self.neighbour(true),
            KeyCode::Up if self.input.cursor().0 == 0 => self.recall(true),
            KeyCode::Down if self.input.cursor().0 + 1 == self.input.lines().len() => self.recall(false),
            _ => {
                self.input.input(key);
            }
        }
        Vec::new()
    }

    /// Moves over the messages by this many lines: up (negative) or down.
    pub(crate) fn scroll(&mut self, lines: isize) -> Vec<Effect> {
        let (height, width) = self.room;
        let Some(current) = self.current() else { return Vec::new() };
        let rows = layout::rows(current, self.viewer(), width);
        let lowest = height.min(rows.len());
        let end = layout::end(&rows, current.place).saturating_add_signed(lines).clamp(lowest, rows.len());
        let place = (end < rows.len()).then(|| rows[end.saturating_sub(1)].place);
        let Some(open) = self.open else { return Vec::new() };
        let Some(conversation) = self.find(open) else { return Vec::new() };
        conversation.place = place;
        if end == lowest && lines < 0 && conversation.older == Older::More {
            conversation.older = Older::Loading;
            let before = conversation.first_id();
            return vec![Effect::LoadPage { with: open, before }];
        }
        self.mark_seen()
    }

    /// The conversation above or below in the list.
    fn neighbour(&mut self, below: bool) -> Vec<Effect> {
        let count = self.conversations.len();
        let Some(here) =
            self.conversations.iter().position(|conversation| Some(conversation.with) == self.open)
        else {
            return self.show_first();
        };
        let there = if below { (here + 1).min(count - 1) } else { here.saturating_sub(1) };
        let with = self.conversations[there].with;
        self.show(with)
    }

    fn enter(&mut self, now: u64) -> Vec<Effect> {
        let text = self.text();
        if text.trim().is_empty() {
            return Vec::new();
        }
        if text.starts_with('/') && !text.starts_with("//") {
            self.clear_input();
            return match Command::parse(&text) {
                Ok(command) => self.command(command, now),
                Err(why) => {
                    self.notice = Some(why);
                    self.set_input(&text);
                    Vec::new()
                }
            };
        }
        // A message that begins with a slash begins with two.
        let text = text.strip_prefix('/').unwrap_or(&text).to_owned();
        let Some(open) = self.open else {
            self.notice = Some("to whom? say /to NAME first".into());
            return Vec::new();
        };
        if let Err(refusal) = MessageText::parse(&text) {
            self.notice = Some(refusal.to_string());
            return Vec::new();
        }
        let request_id = (self.new_request_id)();
        let Some(conversation) = self.find(open) else { return Vec::new() };
        let to = conversation.name.clone();
        conversation.place = None;
        conversation.new_after = None;
        conversation.pending.push(Pending {
            request_id,
            text: text.clone(),
            typed_at: now,
            refused: None,
            on_disk: true,
            arrived: None,
            kept: None,
        });
        self.clear_input();
        self.typed.push(text.clone());
        if self.typed.len() > HISTORY_MAX {
            self.typed.remove(0);
        }
        vec![Effect::Send { request_id, with: open, to, text, typed_at: now, instead_of: None }]
    }

    fn command(&mut self, command: Command, now: u64) -> Vec<Effect> {
        match command {
            Command::To(name) => {
                let known = self.conversations.iter().find(|conversation| {
                    !conversation.deleted && conversation.name.to_lowercase() == name.to_lowercase()
                });
                return match known.map(|conversation| conversation.with) {
                    Some(with) => self.show(with),
                    None => vec![Effect::Find(name)],
                };
            }
            Command::List(pattern) => return vec![Effect::List(pattern)],
            Command::History => return self.scroll(isize::MIN + 1),
            Command::Password => self.question = Some(Question::change_password()),
            Command::DeleteAccount => self.question = Some(Question::delete_account(&self.me.name)),
            Command::Logout => return vec![Effect::Logout],
            Command::Marks(on) => return vec![Effect::ShowSeen(on)],
            Command::Bell(on) => {
                self.bell = on;
                self.notice = Some(if on { "the bell is on".into() } else { "the bell is off".into() });
            }
            Command::Again => return self.send_again(now),
            Command::Drop => return self.drop_refused(),
            Command::Status => return vec![Effect::Status],
            Command::Help => self.lines = Some(wording::help()),
            Command::Quit => return vec![Effect::Quit],
        }
        Vec::new()
    }
}

pub(super) fn empty_input() -> TextArea<'static> {
    let mut input = TextArea::default();
    input.set_wrap_mode(WrapMode::WordOrGlyph);
    input.set_cursor_line_style(ratatui::style::Style::default());
    input.set_hard_tab_indent(true);
    input
}
