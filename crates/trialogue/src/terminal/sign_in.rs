//! Signing in, or making an account, before there is anything to chat about.

use super::palette::palette;
use super::question::Field;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

/// The form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignIn {
    fields: [Field; 3],
    focus: usize,
    /// A new account is wanted, and its password asked for twice.
    registering: bool,
    pub(crate) problem: Option<String>,
    /// Something is on its way; nothing is typed meanwhile.
    pub(crate) busy: bool,
    pub(crate) colours: bool,
}

/// What the person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Quit,
    SignIn { name: String, password: String },
    Register { name: String, password: String },
}

impl SignIn {
    pub(crate) fn new(name: Option<&str>, colours: bool) -> Self {
        let name = Field { text: name.unwrap_or_default().to_owned(), hidden: false };
        let focus = usize::from(!name.text.is_empty());
        let fields = [name, Field::hidden(), Field::hidden()];
        Self { fields, focus, registering: false, problem: None, busy: false, colours }
    }

    fn labels(&self) -> &'static [&'static str] {
        if self.registering { &["Name", "Password", "Once more"] } else { &["Name", "Password"] }
    }

    pub(crate) fn paste(&mut self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        self.fields[self.focus].text.push_str(&line.replace(char::is_control, ""));
    }

    pub(crate) fn key(&mut self, key: KeyEvent) -> Wanted {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.code == KeyCode::Esc || (ctrl && matches!(key.code, KeyCode::Char('c' | 'd'))) {
            return Wanted::Quit;
        }
        if self.busy {
            return Wanted::Nothing;
        }
        self.problem = None;
        let count = self.labels().len();
        match key.code {
            KeyCode::Char('r') if ctrl => {
                self.registering = !self.registering;
                self.focus = self.focus.min(self.labels().len() - 1);
            }
            KeyCode::Tab | KeyCode::Down => self.focus = (self.focus + 1) % count,
            KeyCode::BackTab | KeyCode::Up => self.focus = (self.focus + count - 1) % count,
            KeyCode::Enter if self.focus + 1 < count => self.focus += 1,
            KeyCode::Enter => return self.enter(),
            _ => self.fields[self.focus].key(key),
        }
        Wanted::Nothing
    }

    fn enter(&mut self) -> Wanted {
        let [name, password, again] = self.fields.clone().map(|field| field.text);
        if name.is_empty() {
            self.focus = 0;
            self.problem = Some("whose name? write it, or choose one".into());
            return Wanted::Nothing;
        }
        if self.registering && password != again {
            self.fields[2].text.clear();
            self.focus = 1;
            self.fields[1].text.clear();
            self.problem = Some("the password was not the same twice; write it again".into());
            return Wanted::Nothing;
        }
        self.busy = true;
        if self.registering { Wanted::Register { name, password } } else { Wanted::SignIn { name, password } }
    }

    /// It did not work: says why, and asks again.
    pub(crate) fn refused(&mut self, why: &str, wrong_credentials: bool) {
        self.busy = false;
        self.fields[1].text.clear();
        self.fields[2].text.clear();
        self.focus = usize::from(!self.fields[0].text.is_empty());
        let hint = if wrong_credentials { "; try again, or press Ctrl-R to make a new account" } else { "" };
        self.problem = Some(format!("{why}{hint}"));
    }

    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (area.width.min(56), area.height.min(14));
        let area = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        let title = if self.registering { " Trialogue: a new account " } else { " Trialogue: sign in " };
        let block = Block::bordered().title(title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let labels = self.labels();
        let rows = Layout::vertical(
            labels.iter().map(|_| Constraint::Length(2)).chain([Constraint::Length(3), Constraint::Min(1)]),
        )
        .split(inner);
        for (place, label) in labels.iter().enumerate() {
            let [name, field] =
                Layout::horizontal([Constraint::Length(12), Constraint::Min(1)]).areas(rows[place]);
            let bold = if place == self.focus { Modifier::BOLD } else { Modifier::empty() };
            let style = Style::default().add_modifier(bold);
            frame.render_widget(Paragraph::new(Line::styled(format!(" {label}"), style)), name);
            draw_field(frame, field, &self.fields[place], place == self.focus && !self.busy);
        }
        let (text, style) = match (&self.problem, self.busy) {
            (_, true) => ("asking…", Style::default()),
            (Some(problem), false) => (problem.as_str(), palette(self.colours).problem),
            (None, false) => ("", Style::default()),
        };
        let problem = Paragraph::new(text).style(style).wrap(Wrap { trim: true });
        frame.render_widget(problem, rows[labels.len()]);
        let keys = if self.registering {
            "Enter: register and sign in\nCtrl-R: I have an account   Esc: quit"
        } else {
            "Enter: sign in\nCtrl-R: make a new account   Esc: quit"
        };
        let dim = Style::default().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(keys).style(dim), rows[labels.len() + 1]);
    }
}

/// One line to type in, its end in sight, with the cursor behind it.
pub(crate) fn draw_field(frame: &mut Frame<'_>, area: Rect, field: &Field, focused: bool) {
    let room = usize::from(area.width.saturating_sub(1));
    let mut shown = chat::harmless(&field.shown());
    while shown.width() > room {
        shown.remove(0);
    }
    let end = area.x + u16::try_from(shown.width()).unwrap_or(0);
    frame.render_widget(Paragraph::new(shown), area);
    if focused && area.height > 0 {
        frame.set_cursor_position(Position::new(end, area.y));
    }
}
