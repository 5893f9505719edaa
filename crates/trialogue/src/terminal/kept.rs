//! What is kept for its owner: messages that were refused, until the owner decides, and drafts, each with its conversation.

use super::app::App;
use super::conversation::{Conversation, Pending};
use super::vocabulary::{Connection, Effect};
use chat::RequestId;
use client::{Progress, Waiting};
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
    pub(crate) fn take_waiting(&mut self, waiting: &[Waiting]) {
        for message in waiting {
            let conversation = self.conversation(message.with.0, &message.to);
            conversation.pending.push(Pending {
                request_id: message.request_id,
                text: message.text.clone(),
                typed_at: message.typed_at,
                refused: message.refused.clone(),
                on_disk: true,
                arrived: None,
                kept: None,
            });
        }
    }

    /// What was typed with this request id.
    pub(super) fn pending(&mut self, request_id: RequestId) -> impl Iterator<Item = &mut Pending> {
        let all = self.conversations.iter_mut().flat_map(|conversation| &mut conversation.pending);
        all.filter(move |pending| pending.request_id == request_id)
    }

    /// What became of a message in the outbox.
    pub(super) fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Sent { request_id, sent } => {
                for conversation in &mut self.conversations {
                    conversation.sent(request_id, sent);
                }
                self.sort();
            }
            Progress::KeptOnFewer { request_id, copies, replicas } => {
                for conversation in &mut self.conversations {
                    conversation.kept(request_id, copies, replicas);
                }
            }
            Progress::Renewed { request_id, by } => {
                for pending in self.pending(request_id) {
                    pending.request_id = by;
                }
            }
            Progress::Refused { request_id, why } => {
                for pending in self.pending(request_id) {
                    pending.refused = Some(why.clone());
                }
            }
            Progress::NobodyServes => self.connection = Connection::NobodyServes,
            Progress::Unwritable { why } => {
                self.notice = Some(format!("nothing is sent, as the outbox can't be written: {why}"));
            }
            Progress::Unsettled { why } => {
                self.notice = Some(format!("the outbox could not be written: {why}"));
            }
            // The task that hears of it tells it as the end of the session.
            Progress::SessionEnded(_) => {}
        }
    }

    /// What is said of messages without an answer when the program ends, over all conversations.
    pub(crate) fn parting_lines(&self) -> Vec<String> {
        let count = |of: fn(&Pending) -> bool| {
            let all = self.conversations.iter().flat_map(|conversation| &conversation.pending);
            all.filter(|pending| of(pending)).count()
        };
        let lines = [
            (
                count(|pending| pending.refused.is_none()),
                "message has no answer yet; the next chat sends it",
                "messages have no answer yet; the next chat sends them",
            ),
            (
                count(|pending| pending.refused.is_some() && pending.on_disk),
                "message was refused; the next chat shows it: /again or /drop",
                "messages were refused; the next chat shows them: /again or /drop",
            ),
            (
                count(|pending| !pending.on_disk),
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
        let place = conversation.pending.iter().position(|pending| pending.refused.is_some())?;
        Some((conversation.pending.remove(place), open, conversation.name.clone()))
    }

    /// Sends it once more, as a new message: whether the first try took effect was for its owner to find out.
    pub(super) fn send_again(&mut self, now: u64) -> Vec<Effect> {
        let Some((refused, with, to)) = self.take_refused() else {
            self.notice = Some(NOTHING_REFUSED.into());
            return Vec::new();
        };
        let (request_id, text) = ((self.new_request_id)(), refused.text.clone());
        let pending = Pending { request_id, typed_at: now, refused: None, on_disk: true, ..refused.clone() };
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
        let text = |conversation: &Conversation| {
            if Some(conversation.with) == self.open { self.text() } else { conversation.draft.clone() }
        };
        let all = self.conversations.iter().map(|conversation| Draft {
            with: conversation.with,
            to: conversation.name.clone(),
            text: text(conversation),
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
