//! The field that a person types into: pasting, completing a command, and what was typed before.

use super::app::{App, empty_input};
use super::commands::complete;
use ratatui_textarea::CursorMove;

impl App {
    pub(crate) fn text(&self) -> String {
        self.input.lines().join("\n")
    }

    /// What was pasted: whole, with its lines, whatever they are. Control characters of a coloured terminal are left out: the
    /// field can't show them, and no message may have them.
    pub(crate) fn paste(&mut self, text: &str) {
        if let Some(question) = &mut self.question {
            question.paste(text);
            return;
        }
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        self.input.insert_str(lines.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), ""));
    }

    pub(super) fn complete(&mut self) {
        let text = self.text();
        let names = self.conversations.iter().map(|conversation| conversation.name.as_str());
        if let Some(completed) = complete(&text, names) {
            self.set_input(&completed);
        }
    }

    /// Fetches back what was typed before, or after.
    pub(super) fn recall(&mut self, earlier: bool) {
        let place = match (self.recalled, earlier) {
            (None, true) if self.input.is_empty() => self.typed.len().checked_sub(1),
            (Some(place), true) => Some(place.saturating_sub(1)),
            (Some(place), false) => Some(place + 1).filter(|place| *place < self.typed.len()),
            (None, _) => {
                let to = if earlier { CursorMove::Head } else { CursorMove::End };
                self.input.move_cursor(to);
                return;
            }
        };
        let text = place.map(|place| self.typed[place].clone()).unwrap_or_default();
        self.set_input(&text);
        self.recalled = place;
    }

    pub(super) fn clear_input(&mut self) {
        self.set_input("");
    }

    pub(super) fn set_input(&mut self, text: &str) {
        self.input = empty_input();
        self.input.insert_str(text);
        self.recalled = None;
    }
}
