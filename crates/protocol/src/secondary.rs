//! The secondary: logs what the primary sends, applies what is committed, and notices when the primary is gone.
//!
//! Everyone who does not lead is a secondary, in sync or not. The difference shows in one place only: who is not in
//! sync never runs for primary, however low its index and however long it hears nothing (invariant 2).
//!
//! It listens to one stream: the one on which it last showed its position. From then on both sides know where its log
//! ends, so that an append that does not match means a broken stream, never a fork (forks are decided by
//! [`crate::log::relation`], when a position is shown).

use crate::common::Common;
use crate::doubt::Doubt;
use crate::event::{Effect, Message, RegisterRead};
use crate::identity::{RegisterId, ReplicaIndex, StreamId, Token, ViewNumber};
use crate::log::{Chain, Entry, Position, Record};
use crate::next::{Next, Patience};
use crate::note::Note;
use crate::time::Time;
use crate::view::View;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Secondary<R> {
    patience: Patience,
    /// The primary of the known view has said that it no longer leads.
    released: bool,
    /// Where the log ends once everything pending is logged.
    accepted: Position,
    /// Accepted entries that wait until the newest view is remembered.
    pending: Vec<Entry<R>>,
    /// A call that is answered once the log is at rest.
    show: Option<ViewNumber>,
    /// Confirmations are held back until the tables have caught up.
    held_back: bool,
    /// The followed primary of the newest known view wants the log to be cut, if it ends here.
    cut_wanted: Option<Position>,
    /// The followed primary of the newest known view wants a snapshot to be taken, once the store is at rest.
    snapshot_wanted: bool,
    /// Reads of the log on behalf of a new primary that fetches the longest tail.
    fetches: BTreeMap<Token, (ReplicaIndex, StreamId, ViewNumber)>,
    /// The register is being read, to learn of views from which this replica was left out.
    polling: Option<Token>,
    /// When it is read next.
    poll_at: Time,
}

/// How an append matches what was accepted before.
enum Match<R> {
    /// These entries are new.
    New(Vec<Entry<R>>, Position),
    /// Everything in it was there already: a repeated message.
    Known,
    /// A hole, or another history.
    Unsound,
}

impl<R: Record> Secondary<R> {
    pub(crate) fn new(common: &Common<R>, patience: Patience, now: Time) -> Self {
        Self {
            patience,
            released: false,
            accepted: common.logged,
            pending: Vec::new(),
            show: None,
            held_back: false,
            cut_wanted: None,
            snapshot_wanted: false,
            fetches: BTreeMap::new(),
            polling: None,
            // Who has followed a first view at once has not heard which register installed it.
            poll_at: if common.register.is_none() { now } else { now + common.timing.grace },
        }
    }

    pub(crate) fn on_message(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        message: Message<R>,
    ) {
        match message {
            Message::Call { base, number, register } => {
                self.on_call(common, now, (peer, stream), &base, number, register);
            }
            Message::Beat { view, sent_at, committed } => {
                if self.heed(common, now, peer, stream, &view) {
                    common.hears_of_commits(committed);
                    common.send(peer, Message::BeatAnswered { number: view.number, sent_at });
                }
            }
            Message::Append { view, previous, entries, committed } => {
                if self.heed(common, now, peer, stream, &view) {
                    common.hears_of_commits(committed);
                    self.on_append(common, now, peer, previous, entries);
                }
            }
            Message::Fetch { view, after } => {
                if self.heed(common, now, peer, stream, &view) {
                    let token = common.read_log(after);
                    self.fetches.insert(token, (peer, stream, view.number));
                }
            }
            Message::Cut { view, position } => {
                // A replica that is in sync never gives up an entry: it may be the last one that has it.
                if self.heed(common, now, peer, stream, &view) && !common.in_sync() {
                    self.cut_wanted = Some(position);
                }
            }
            Message::TakeSnapshot { view } => {
                // A replica that is in sync never gives up its database: it may be the last one that is right.
                if self.heed(common, now, peer, stream, &view) && !common.in_sync() {
                    self.snapshot_wanted = true;
                }
            }
            Message::Resigned { number } => {
                if common.view.as_ref().is_some_and(|view| view.number == number && view.primary() == peer) {
                    self.released = true;
                    // Whatever time its call had asked for, it asks for none any more.
                    self.patience.run_not_before = now;
                }
            }
            Message::HandedOver { view }
            | Message::Refused { known: Some(view), .. }
            | Message::Alive { view: Some(view), .. } => {
                self.learn(common, now, &view);
            }
            Message::Probe
            | Message::Alive { view: None, .. }
            | Message::Refused { known: None, .. }
            | Message::Shown { .. }
            | Message::BeatAnswered { .. }
            | Message::Confirmed { .. }
            | Message::Tail { .. }
            | Message::NeedsSnapshot { .. }
            | Message::Leaving { .. } => {}
        }
    }

    /// A candidate or a primary wants to know where this log ends, and to be the only one it listens to.
    fn on_call(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        (peer, stream): (ReplicaIndex, StreamId),
        base: &View,
        number: ViewNumber,
        register: RegisterId,
    ) {
        self.learn(common, now, base);
        let another_register = common.register.is_some_and(|mine| mine != register);
        let by_primary = number == base.number && base.primary() == peer;
        let by_candidate = number == base.number.next() && base.in_sync.contains(peer);
        if base.number < common.view_number()
            || number < common.promised
            || !(by_primary || by_candidate)
            || another_register
        {
            common.refuse(peer);
            return;
        }
        let asks_for_snapshot = by_primary && !common.in_sync() && common.store.wants_snapshot();
        if !common.healthy(now) && !asks_for_snapshot {
            // In sync it would be a member that can't log; with the lowest index it would be handed a lead that it
            // can't take up (story full_disk).
            common.send(peer, Message::Leaving { number });
            return;
        }
        common.believe_the_register(register);
        common.promised = number;
        self.unfollow(common);
        self.patience.following = Some((peer, stream));
        if asks_for_snapshot {
            common.send(peer, Message::NeedsSnapshot { number });
        } else {
            self.show = Some(number);
        }
        self.patience.heard_at = now;
        // The caller is about to lead, and is left the time for that while its stream lives.
        self.patience.run_not_before = now + common.timing.grace;
    }

    /// Whether a message of the leader of `view` counts: not from an older view than promised, and only on the stream
    /// on which this replica has shown its position.
    fn heed(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
        view: &View,
    ) -> bool {
        if view.number < common.promised {
            common.refuse(peer);
            return false;
        }
        self.learn(common, now, view);
        let heeded = self.patience.following == Some((peer, stream))
            && self.show.is_none()
            && view.primary() == peer
            && view.number >= common.view_number();
        if heeded {
            self.patience.heard_at = now;
            self.released = false;
        }
        heeded
    }

    fn learn(&mut self, common: &mut Common<R>, now: Time, view: &View) {
        if common.adopt(view) {
            // The primary of that view judges anew what this replica lacks, which may be in sync by it.
            self.cut_wanted = None;
            self.snapshot_wanted = false;
            // The new primary can only hold a lease that this replica has granted, so a shorter wait would do; a whole grace
            // is simpler to prove.
            self.patience.heard_at = now;
            self.released = false;
            if view.primary() == common.me {
                // Handed over: the primary before this one has resigned.
                self.patience.run_not_before = now;
            }
        }
    }

    fn on_append(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        previous: Position,
        entries: Vec<Entry<R>>,
    ) {
        match self.compare(previous, entries) {
            Match::New(entries, end) => {
                self.pending.extend(entries);
                self.accepted = end;
                common.commit_point.ends_at(end);
                self.pump(common, now);
            }
            Match::Known => self.confirm(common),
            Match::Unsound => {
                common.note(Note::StreamUnsound { peer });
                common.disconnect(peer);
                self.unfollow(common);
            }
        }
    }

    fn compare(&self, previous: Position, entries: Vec<Entry<R>>) -> Match<R> {
        let mut known_end = previous;
        let mut new = Vec::new();
        for entry in entries {
            if entry.op <= self.accepted.op {
                known_end = entry.position();
            } else {
                new.push(entry);
            }
        }
        if new.is_empty() && known_end.op <= self.accepted.op {
            return Match::Known;
        }
        if known_end != self.accepted {
            return Match::Unsound;
        }
        match self.accepted.extend(&new) {
            Some(end) => Match::New(new, end),
            None => Match::Unsound,
        }
    }

    fn pump(&mut self, common: &mut Common<R>, now: Time) {
        if !self.pending.is_empty() && common.remembers() && common.store.is_sound() && common.work.may_log()
        {
            let entries = core::mem::take(&mut self.pending);
            common.log(entries, self.accepted, now);
        }
    }

    /// Tells the primary how far the log is durable, unless the tables lag: a replica that takes over must apply what they lack.
    fn confirm(&mut self, common: &mut Common<R>) {
        self.held_back = common.apply_lag() > common.bounds.apply_lag;
        if self.held_back {
            return;
        }
        if let (Some((peer, _)), None) = (self.patience.following, self.show) {
            let message = Message::Confirmed { number: common.view_number(), position: common.logged };
            common.send(peer, message);
        }
    }

    fn unfollow(&mut self, common: &mut Common<R>) {
        self.patience.following = None;
        self.show = None;
        self.held_back = false;
        self.cut_wanted = None;
        self.snapshot_wanted = false;
        // What was accepted and not yet given to the log was never confirmed by this replica.
        self.pending.clear();
        common.commit_point.cut(common.log_end().op);
    }

    pub(crate) fn on_stream_closed(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        peer: ReplicaIndex,
        stream: StreamId,
    ) {
        if self.patience.following == Some((peer, stream)) {
            self.unfollow(common);
            self.patience.run_not_before = now;
        }
        self.fetches.retain(|_, (_, reader, _)| *reader != stream);
    }

    pub(crate) fn on_logged(&mut self, common: &mut Common<R>, now: Time) {
        self.confirm(common);
        self.pump(common, now);
    }

    pub(crate) fn on_applied(&mut self, common: &mut Common<R>) {
        if self.held_back {
            self.confirm(common);
        }
    }

    /// The store failed: the primary hears of it at once, so that it does not wait for a confirmation.
    pub(crate) fn on_store_failed(&mut self, common: &mut Common<R>) {
        if let Some((peer, _)) = self.patience.following {
            common.send(peer, Message::Leaving { number: common.view_number() });
        }
        self.unfollow(common);
    }

    pub(crate) fn on_log_read(
        &mut self,
        common: &mut Common<R>,
        token: Token,
        chain: Option<Chain>,
        entries: Vec<Entry<R>>,
    ) {
        let Some((peer, stream, number)) = self.fetches.remove(&token) else { return };
        if common.streams.get(&peer) == Some(&stream) {
            common.send(peer, Message::Tail { number, chain, entries });
        }
    }

    pub(crate) fn on_register_read(
        &mut self,
        common: &mut Common<R>,
        now: Time,
        token: Token,
        outcome: &RegisterRead,
    ) {
        if self.polling != Some(token) {
            return;
        }
        self.polling = None;
        if let RegisterRead::Current { view, .. } = outcome {
            self.learn(common, now, view);
        }
    }

    /// Does what is due, and says whether it is time to run for primary.
    pub(crate) fn advance(&mut self, common: &mut Common<R>, now: Time) -> Next<R> {
        self.pump(common, now);
        if common.log_is_certain()
            && common.remembers()
            && let (Some(number), Some((peer, _))) = (self.show.take(), self.patience.following)
        {
            self.accepted = common.logged;
            common.commit_point.ends_at(common.logged);
            let message = Message::Shown { number, database: common.database, position: common.logged };
            common.send(peer, message);
        }
        self.give_up_its_own(common, now);
        if common.doubt.is_none() && self.should_run(common, now) {
            return Next::Run { patience: self.patience, released: self.released };
        }
        let unknown = common.register.is_none();
        if (unknown || !common.in_sync()) && now >= self.poll_at && self.polling.is_none() {
            self.polling = Some(common.read_register());
            let pause = if unknown { common.timing.retry_every } else { common.timing.grace };
            self.poll_at = now + pause;
        }
        Next::Stay
    }

    /// Cuts the log or takes a snapshot, where the followed primary wants that and the store is at rest.
    fn give_up_its_own(&mut self, common: &mut Common<R>, now: Time) {
        let Some((from, _)) = self.patience.following else { return };
        if !common.work.is_idle() || !common.remembers() || common.in_sync() {
            return;
        }
        if let Some(position) = self.cut_wanted.take()
            && position == common.logged
            && common.store.is_sound()
        {
            if common.cut_to() == common.logged {
                // The fork lies below what this replica knows to be committed: its rows are others.
                common.send(from, Message::NeedsSnapshot { number: common.view_number() });
            } else {
                common.cut(now);
            }
        } else if core::mem::take(&mut self.snapshot_wanted) {
            let token = common.token();
            common.work.install(token);
            common.remembering = common.snapshot_memory();
            common.emit(Effect::InstallSnapshot { token, from, memory: common.remembering.clone() });
        }
    }

    fn should_run(&self, common: &Common<R>, now: Time) -> bool {
        let Some(view) = &common.view else { return false };
        if !common.in_sync() || !common.healthy(now) || !common.work.log_at_rest() || !common.remembers() {
            return false;
        }
        let primary = view.primary();
        if primary == common.me {
            // Handed over to me, or I led before a restart. Wait for the others for a moment: my disk may have lost entries
            // that they still have, and running at once would leave them out of the view.
            let others = view.in_sync.without(common.me);
            return others.difference(common.connected()).is_empty() || now >= self.patience.run_not_before;
        }
        let lost = self.released
            || !common.streams.contains_key(&primary)
            || now >= self.patience.heard_at + common.timing.grace;
        lost && now >= self.patience.run_not_before
    }

    pub(crate) fn deadlines(&self, common: &Common<R>) -> [Option<Time>; 5] {
        [
            Some(self.patience.heard_at + common.timing.grace),
            Some(self.patience.run_not_before),
            Some(self.poll_at),
            common.store.stuck_until(),
            common.doubt.as_ref().map(Doubt::ask_again_at),
        ]
    }
}
