//! One conversation as this screen knows it: a tail of its messages, what is on its way, and where the reader stands.

use client::Message;
use client::RequestId;
use std::collections::BTreeMap;

/// A message that has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) mine: bool,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) undeliverable: bool,
    /// How many replicas hold it, and how many should, where that is known and not the same.
    pub(crate) copies: Option<(u32, u32)>,
}

/// A message that was typed and has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) request_id: RequestId,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) typed_at: u64,
    /// Why it was refused.
    pub(crate) refused: Option<String>,
    /// Whether it outlives this program: one that could not be written to the outbox does not.
    pub(crate) on_disk: bool,
    /// The listener has brought it already, as this message; only its answer is missing.
    pub(crate) arrived: Option<u64>,
    /// It has its place. How many replicas keep it, and of how many: fewer than were asked for, so it is asked for again.
    pub(crate) kept: Option<(u32, u32)>,
}

/// How much of what came before is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// Nothing was loaded yet.
    Unknown,
    Loading,
    /// There may be more.
    More,
    /// This is the beginning.
    Nothing,
}

/// A place in the conversation: a line of a message, by the message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: u64,
    pub(crate) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The other side's account.
    pub(crate) with: u64,
    pub(crate) name: String,
    pub(crate) deleted: bool,
    /// The newest message, for the list.
    pub(crate) last_id: u64,
    pub(crate) last_at: u64,
    pub(crate) last_text: String,
    pub(crate) unread: u32,
    /// Everything up to here was seen by this account, by the other side's devices, by its people.
    pub(crate) read_up_to: u64,
    pub(crate) delivered_up_to: u64,
    pub(crate) seen_up_to: u64,
    /// By id, without holes from the first on.
    pub(crate) messages: BTreeMap<u64, Shown>,
    pub(crate) older: Older,
    pub(crate) pending: Vec<Pending>,
    /// What was begun to be written in it, while another is on the screen.
    pub(crate) draft: String,
    /// Messages after this one were new when the conversation was opened.
    pub(crate) new_after: Option<u64>,
    /// The last line on the screen, where that is not the newest.
    pub(crate) place: Option<Place>,
}

impl Conversation {
    pub(crate) fn new(with: u64, name: &str) -> Self {
        Self {
            with,
            name: name.to_owned(),
            deleted: false,
            last_id: 0,
            last_at: 0,
            last_text: String::new(),
            unread: 0,
            read_up_to: 0,
            delivered_up_to: 0,
            seen_up_to: 0,
            messages: BTreeMap::new(),
            older: Older::Unknown,
            pending: Vec::new(),
            draft: String::new(),
            new_after: None,
            place: None,
        }
    }

    /// What the service says of it.
    pub(crate) fn update(&mut self, told: &client::Conversation) {
        self.name.clone_from(&told.with);
        self.deleted = told.deleted;
        self.unread = told.unread;
        self.read_up_to = self.read_up_to.max(told.read_up_to);
        self.delivered_up_to = self.delivered_up_to.max(told.delivered_up_to);
        self.seen_up_to = self.seen_up_to.max(told.seen_up_to);
        if let Some(last) = &told.last {
            self.note_last(last);
        }
    }

    /// Takes a message into its place, if what surrounds that is loaded. Says whether it was new.
    pub(crate) fn take(&mut self, message: &Message, me: u64) -> bool {
        let new = message.id > self.last_id;
        self.note_last(message);
        let mine = message.from_id == me;
        let mut copies = None;
        if mine && new {
            // Its answer may still be on its way: the oldest like it is this one.
            let waiting = self.pending.iter_mut().find(|pending| {
                pending.arrived.is_none() && pending.refused.is_none() && pending.text == message.text
            });
            if let Some(pending) = waiting {
                pending.arrived = Some(message.id);
                copies = pending.kept;
            }
        }
        if self.older != Older::Unknown {
            self.insert(message, me);
            self.copies_of(message.id, copies);
        }
        new
    }

    /// A page of older messages, newest first.
    pub(crate) fn take_page(&mut self, messages: &[Message], more: bool, me: u64) {
        for message in messages {
            self.insert(message, me);
            if message.delivered && message.from_id == me {
                self.delivered_up_to = self.delivered_up_to.max(message.id);
            }
        }
        self.older = if more { Older::More } else { Older::Nothing };
    }

    /// Something that was typed here has its place, on fewer replicas than were asked for.
    pub(crate) fn kept(&mut self, request_id: RequestId, copies: u32, replicas: u32) {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.request_id == request_id) else {
            return;
        };
        pending.kept = Some((copies, replicas));
        if let Some(id) = pending.arrived {
            self.copies_of(id, Some((copies, replicas)));
        }
    }

    fn copies_of(&mut self, id: u64, copies: Option<(u32, u32)>) {
        if let (Some(shown), Some(_)) = (self.messages.get_mut(&id), copies) {
            shown.copies = copies;
        }
    }

    /// The answer to something that was typed here.
    pub(crate) fn sent(&mut self, request_id: RequestId, sent: client::Sent) {
        let Some(place) = self.pending.iter().position(|pending| pending.request_id == request_id) else {
            return;
        };
        let pending = self.pending.remove(place);
        let copies = (sent.copies < sent.replicas).then_some((sent.copies, sent.replicas));
        if sent.id.0 > self.last_id {
            (self.last_id, self.last_at) = (sent.id.0, sent.sent_at);
            self.last_text.clone_from(&pending.text);
        }
        let shown = Shown { mine: true, text: pending.text, at: sent.sent_at, undeliverable: false, copies };
        if self.older != Older::Unknown {
            self.messages.insert(sent.id.0, shown);
        }
    }

    /// The first message that is here.
    pub(crate) fn first_id(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(0)
    }

    /// The newest message of the other side.
    pub(crate) fn newest_of_theirs(&self) -> Option<u64> {
        self.messages.iter().rev().find(|(_, message)| !message.mine).map(|(id, _)| *id)
    }

    fn insert(&mut self, message: &Message, me: u64) {
        let mine = message.from_id == me;
        self.messages.entry(message.id).or_insert_with(|| Shown {
            mine,
            text: message.text.clone(),
            at: message.sent_at,
            undeliverable: message.undeliverable,
            copies: None,
        });
    }

    fn note_last(&mut self, message: &Message) {
        if message.id > self.last_id {
            (self.last_id, self.last_at) = (message.id, message.sent_at);
            self.last_text.clone_from(&message.text);
        }
    }
}
