//! What is kept for its owner: messages that were refused, until the owner decides, and drafts, each with its conversation.

use super::app::App;
use super::conversation::{Conversation, Pending};
use super::outbox::Letter;
use super::vocabulary::Effect;
use serde::{Deserialize, Serialize};

const NOTHING_REFUSED: &str = "nothing was refused here";

/// What was begun to be written to another account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draft {
    pub(crate) with: u64,
    pub(crate) to: String,
    pub(crate) text: String,
}

impl App {
    /// What waits on disk from the last time.
    pub(crate) fn take_letters(&mut self, letters: &[Letter]) {
        for letter in letters {
            let conversation = self.conversation(letter.with, &letter.to);
            conversation.pending.push(Pending {
                request_id: letter.request_id.as_bytes().to_vec(),
                text: letter.text.clone(),
                typed_at: letter.typed_at,
                refused: letter.refused.clone(),
                on_disk: true,
                arrived: None,
                kept: None,
            });
        }
    }

    /// What was typed with this request id.
    pub(super) fn pending(&mut self, request_id: &[u8]) -> impl Iterator<Item = &mut Pending> {
        let all = self.conversations.iter_mut().flat_map(|one| &mut one.pending);
        all.filter(move |one| one.request_id == request_id)
    }

    /// What is said of messages without an answer when the program ends, over all conversations.
    pub(crate) fn parting_lines(&self) -> Vec<String> {
        let count = |of: fn(&Pending) -> bool| {
            let all = self.conversations.iter().flat_map(|one| &one.pending);
            all.filter(|one| of(one)).count()
        };
        let lines = [
            (
                count(|one| one.refused.is_none()),
                "message has no answer yet; the next chat sends it",
                "messages have no answer yet; the next chat sends them",
            ),
            (
                count(|one| one.refused.is_some() && one.on_disk),
                "message was refused; the next chat shows it: /again or /drop",
                "messages were refused; the next chat shows them: /again or /drop",
            ),
            (
                count(|one| !one.on_disk),
                "message could not be kept on this machine, was not sent, and is gone",
                "messages could not be kept on this machine, were not sent, and are gone",
            ),
        ];
        let lines = lines.into_iter().filter(|(count, ..)| *count > 0);
        lines.map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more })).collect()
    }

    /// Takes the first refused message of the open conversation out of it.
    fn take_refused(&mut self) -> Option<(Pending, u64, String)> {
        let open = self.open?;
        let conversation = self.find(open)?;
        let place = conversation.pending.iter().position(|one| one.refused.is_some())?;
        Some((conversation.pending.remove(place), open, conversation.name.clone()))
    }

    /// Sends it once more, as a new message: whether the first try took effect was for its owner to find out.
    pub(super) fn send_again(&mut self, now: u64) -> Vec<Effect> {
        let Some((refused, with, to)) = self.take_refused() else {
            self.notice = Some(NOTHING_REFUSED.into());
            return Vec::new();
        };
        let (request_id, text) = ((self.new_request_id)(), refused.text.clone());
        let pending = Pending {
            request_id: request_id.clone(),
            typed_at: now,
            refused: None,
            on_disk: true,
            ..refused.clone()
        };
        if let Some(conversation) = self.find(with) {
            conversation.place = None;
            conversation.pending.push(pending);
        }
        vec![Effect::Send { request_id, with, to, text, typed_at: now, instead_of: Some(refused.request_id) }]
    }

    /// Lets go of it.
    pub(super) fn drop_refused(&mut self) -> Vec<Effect> {
        let Some((refused, ..)) = self.take_refused() else {
            self.notice = Some(NOTHING_REFUSED.into());
            return Vec::new();
        };
        self.notice = Some("it is dropped".into());
        vec![Effect::Drop { request_id: refused.request_id }]
    }

    /// What is in the field stays with the conversation that is left, and what was begun in the next one is there again.
    /// What was typed before any conversation was open goes with the one that is opened.
    pub(super) fn change_draft(&mut self, with: u64) {
        let text = self.text();
        let begun = self.find(with).map(|next| std::mem::take(&mut next.draft)).unwrap_or_default();
        match self.open.and_then(|left| self.find(left)) {
            Some(left) => {
                left.draft = text;
                self.set_input(&begun);
            }
            None if text.is_empty() || begun.is_empty() => self.set_input(&(begun + &text)),
            None => self.set_input(&format!("{begun}\n{text}")),
        }
    }

    /// All drafts, with what is in the field.
    pub(crate) fn drafts(&self) -> Vec<Draft> {
        let text = |one: &Conversation| {
            if Some(one.with) == self.open { self.text() } else { one.draft.clone() }
        };
        let all = self.conversations.iter().map(|one| Draft {
            with: one.with,
            to: one.name.clone(),
            text: text(one),
        });
        all.filter(|draft| !draft.text.trim().is_empty()).collect()
    }

    /// What was begun the last time.
    pub(crate) fn take_drafts(&mut self, drafts: Vec<Draft>) {
        for Draft { with, to, text } in drafts {
            self.conversation(with, &to).draft = text;
        }
    }
}
