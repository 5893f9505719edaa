//! The effects of every replica, performed after a while drawn from the seed; and what clients are told of their batches.
//! Like the server's driver it decides nothing: no role and no view is looked at here.

use crate::agenda::Happening;
use crate::checks;
use crate::client::Outcome;
use crate::fact::Fact;
use crate::node::{Asker, Decided, Node, Read, Waiter};
use crate::world::World;
use protocol::{Effect, Event, Message, Op, ReplicaIndex, StreamId, Token};

/// How many entries one read of the log gives.
const LOG_READ_MAX: usize = 3;

impl World {
    pub(crate) fn perform(&mut self, i: usize, effect: Effect<Fact>) {
        match effect {
            Effect::Send { peer, stream, message } => {
                self.look_at_what_is_said(i, (peer, stream), &message);
                self.send(i, stream, message);
            }
            Effect::Disconnect { stream, .. } => self.close(stream),
            Effect::ReadRegister { token } => self.ask_register(i, token),
            Effect::Swap { token, register, view } => {
                checks::hands_over_at_rest(self, i, &view);
                checks::proposes_who_holds_everything(self, &view);
                checks::keeps_no_member_that_lost_something(self, i, &view);
                self.ask_swap(i, token, register, view);
            }
            Effect::ProveDeath { token, peer, incarnation: process } => {
                let incarnation = self.incarnation(i);
                let delay = self.micros(50, 300);
                let peer = usize::from(peer.0);
                self.later(delay, Happening::ProveDeath { by: i, incarnation, token, peer, process });
            }
            Effect::ReadLog { token, after } => {
                let incarnation = self.incarnation(i);
                let disk = &self.disks[i];
                let chain = disk.chain_at(after);
                let entries = if chain.is_some() { disk.after(after, LOG_READ_MAX) } else { Vec::new() };
                let delay = self.micros(50, 1000);
                let event = Box::new(Event::LogRead { token, chain, entries });
                self.later(delay, Happening::Tell { to: i, incarnation, event });
            }
            Effect::Answer { token, copies } => self.answer(i, token, copies),
            Effect::AnswerRead { read, at_least } => {
                checks::reads_while_no_newer_view_is_served(self, i);
                let read = self.node(i).take_read(read);
                self.look_later(i, Read { at_least, ..read });
            }
            Effect::RefuseRead { read } => {
                let read = self.node(i).take_read(read);
                self.refuse_read(read);
            }
            Effect::RefuseRequests => self.drop_requests(i),
            Effect::Serve { view } => {
                checks::serves_with_complete_tables(self, i);
                let executed = self.disks[i].position();
                let node = self.node(i);
                node.executed = executed;
                node.barrier = Op(0);
                node.serving = true;
                node.primacy += 1;
                node.overlay.clear();
                self.trace.write(self.now, i, &format!("serves view {view}"));
            }
            Effect::StopServing => {
                let node = self.node(i);
                node.serving = false;
                node.forgetting = None;
                // No client receives an outcome of what was in flight: its fate is unknown.
                node.batches.clear();
                node.overlay.clear();
                node.broken.clear();
                let subscriptions = std::mem::take(&mut node.subscriptions);
                let feeds = std::mem::take(&mut node.feeds);
                self.drop_requests(i);
                self.hang_up(subscriptions);
                self.end_feeds(feeds);
            }
            Effect::PowerFailureOver => self.whole_in[i] = Some(self.boot),
            Effect::Note(note) => self.trace.write(self.now, i, &note),
            Effect::Halt { reason } => self.trace.write(self.now, i, &format!("halts: {reason}")),
            Effect::Log { token, entries, committed } => self.log_later(i, token, entries, committed),
            execute @ Effect::Execute { .. } => {
                checks::executes_within_the_lag(self, i);
                checks::executes_past_no_barrier(self, i);
                self.store_later(i, execute);
            }
            cut @ Effect::Cut { .. } => {
                checks::cut_is_wanted(self, i);
                self.store_later(i, cut);
            }
            install @ Effect::InstallSnapshot { .. } => {
                checks::snapshot_is_wanted(self, i);
                self.store_later(i, install);
            }
            store @ (Effect::Apply { .. } | Effect::Remember { .. } | Effect::RepairStore { .. }) => {
                self.store_later(i, store);
            }
            Effect::End { reason } => {
                self.trace.write(self.now, i, &format!("ends: {reason}"));
                self.crash(i);
                let pause = self.micros(100, 1_500_000);
                self.later(pause, Happening::Start { node: i });
            }
        }
    }

    fn look_at_what_is_said(
        &mut self,
        i: usize,
        (peer, stream): (ReplicaIndex, StreamId),
        message: &Message<Fact>,
    ) {
        match message {
            Message::Shown { number, position, .. } => {
                checks::shows_where_its_log_ends(self, i, *position);
                self.node(i).listens(peer, stream, Some((*number, *position)));
            }
            Message::Confirmed { position, .. } => {
                checks::confirms_what_is_durable(self, i, *position);
                checks::confirms_within_the_lag(self, i);
            }
            Message::NeedsSnapshot { .. } => self.node(i).listens(peer, stream, None),
            _ => {}
        }
    }

    fn node(&mut self, i: usize) -> &mut Node {
        self.nodes[i].as_mut().expect("only a living process has effects")
    }

    fn drop_requests(&mut self, i: usize) {
        let waiting = std::mem::take(&mut self.node(i).queue);
        for waiter in waiting {
            self.tell(i, &waiter, Outcome::NotServing);
        }
    }

    fn answer(&mut self, i: usize, token: Token, copies: usize) {
        let Some(batch) = self.node(i).take_batch(token) else { return };
        checks::answered_is_in_every_required_log(self, i, batch.end);
        if batch.end.op > self.ledger.acknowledged.op {
            checks::follows_what_was_acknowledged(self, i);
            self.ledger.acknowledged = batch.end;
            let led = self.node(i).replica.leads().map(|view| view.number);
            self.ledger.acted_in = self.ledger.acted_in.max(led.unwrap_or_default());
        }
        for (waiter, decided, op) in &batch.waiters {
            match decided {
                Decided::Placed => {}
                Decided::TooFewInSync => {
                    self.tell(i, waiter, Outcome::TooFewInSync);
                    continue;
                }
                Decided::OutOfDate => {
                    self.tell(i, waiter, Outcome::OutOfDate);
                    continue;
                }
                Decided::PassedOver => {
                    self.ledger.passed_over += 1;
                    continue;
                }
            }
            let request = waiter.request.id;
            let op = op.expect("what has its place has an op");
            if !self.ledger.answers.contains_key(&request) {
                self.trace.acknowledged(self.now, i, request, copies);
            }
            checks::same_answer(self, request, op);
            let wanted = self.wanted(waiter);
            if copies < wanted {
                self.ledger.kept += 1;
                self.tell(i, waiter, Outcome::KeptOnFewer);
            } else {
                checks::as_many_copies(self, i, batch.end, wanted);
                self.tell(i, waiter, Outcome::Done);
            }
        }
        self.publish(i, &batch.messages);
    }

    /// Gives the asker that waits for a request its outcome.
    fn tell(&mut self, i: usize, waiter: &Waiter, outcome: Outcome) {
        match waiter.asker {
            Asker::Client { client, attempt } => self.answer_client(client, attempt, outcome),
            Asker::Stream(stream) => self.answer_stream(i, stream, waiter.request.id, outcome),
            Asker::NoOne => {}
        }
    }
}
