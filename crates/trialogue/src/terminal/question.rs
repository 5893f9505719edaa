//! Questions that take the place of the input: what is typed is not shown.

use super::vocabulary::Effect;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A line that is typed by hand, shown or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) text: String,
    pub(crate) hidden: bool,
}

impl Field {
    pub(crate) const fn hidden() -> Self {
        Self { text: String::new(), hidden: true }
    }

    /// A key that edits; others are left alone.
    pub(crate) fn key(&mut self, key: KeyEvent) {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if ctrl => self.text.clear(),
            KeyCode::Char(c) if !ctrl => self.text.push(c),
            KeyCode::Backspace => {
                self.text.pop();
            }
            _ => {}
        }
    }

    /// What is shown of it.
    pub(crate) fn shown(&self) -> String {
        if self.hidden { "•".repeat(self.text.chars().count()) } else { self.text.clone() }
    }
}

/// What is asked, one line after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    what: What,
    /// What is asked for now, and what was given before.
    steps: Vec<(String, bool)>,
    given: Vec<String>,
    pub(crate) field: Field,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    ChangePassword,
    DeleteAccount { name: String },
}

/// What a key made of it.
pub(crate) enum Answered {
    NotYet(Question),
    Given(Effect),
    TakenBack(String),
}

impl Question {
    pub(crate) fn change_password() -> Self {
        let steps = ["the password as it is", "the new password", "the new password once more"];
        Self::new(What::ChangePassword, steps.map(|step| (step.to_owned(), true)).into())
    }

    pub(crate) fn delete_account(name: &str) -> Self {
        let confirm = format!("everything of {name} will be gone; type the name to confirm");
        let steps = vec![("the password of the account".to_owned(), true), (confirm, false)];
        Self::new(What::DeleteAccount { name: name.to_owned() }, steps)
    }

    fn new(what: What, steps: Vec<(String, bool)>) -> Self {
        let hidden = steps[0].1;
        Self { what, steps, given: Vec::new(), field: Field { hidden, ..Field::default() } }
    }

    /// What is asked for now.
    pub(crate) fn prompt(&self) -> &str {
        &self.steps[self.given.len()].0
    }

    pub(crate) fn paste(&mut self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        self.field.text.push_str(&line.replace(char::is_control, ""));
    }

    pub(crate) fn key(mut self, key: KeyEvent) -> Answered {
        match key.code {
            KeyCode::Esc => return Answered::TakenBack("nothing was changed".into()),
            KeyCode::Enter => self.given.push(std::mem::take(&mut self.field.text)),
            _ => {
                self.field.key(key);
                return Answered::NotYet(self);
            }
        }
        if let Some((_, hidden)) = self.steps.get(self.given.len()) {
            self.field = Field { hidden: *hidden, ..Field::default() };
            return Answered::NotYet(self);
        }
        let mut given = self.given.into_iter();
        let mut next = || given.next().unwrap_or_default();
        match self.what {
            What::ChangePassword => {
                let (old, new, again) = (next(), next(), next());
                if new != again {
                    return Answered::TakenBack(
                        "the new password was not the same twice; nothing was changed".into(),
                    );
                }
                Answered::Given(Effect::ChangePassword { old, new })
            }
            What::DeleteAccount { name } => {
                let (password, confirmed) = (next(), next());
                if confirmed != name {
                    return Answered::TakenBack(format!("that is not {name}; nothing was deleted"));
                }
                Answered::Given(Effect::DeleteAccount { password })
            }
        }
    }
}
