//! Clients: one operation at a time, each retried with the same request id until it is answered or given up.

use crate::agenda::Happening;
use crate::fact::{Action, KEYS, Request, RequestId};
use crate::node::{Asker, Held, Read, ReadFor, Waiter};
use crate::sender::Sender;
use crate::world::World;
use crate::zones::{Operation, What};
use protocol::{Event, Op, ReadId};

/// What a client asks of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// Carry this out, and have it on `min_copies` replicas.
    Write { request: Request, min_copies: usize },
    /// What does this register hold?
    Read(u8),
}

/// What a replica answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Not done here: try another.
    NotServing,
    /// Refused without effect: too few replicas are in sync.
    TooFewInSync,
    /// It has its place, on fewer replicas than were asked for.
    KeptOnFewer,
    /// Done.
    Done,
    /// Refused because of its date: it may have had its effect long ago.
    OutOfDate,
    /// The register holds this.
    Value(Option<RequestId>),
}

/// An operation that has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    call: Call,
    /// When it began, by the counter that orders operations.
    begun: u64,
    /// When it began, in the world's time.
    since: u64,
}

/// A client that writes and reads.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pending: Option<Pending>,
    /// Counts every try of every operation.
    attempt: u64,
    target: usize,
    pub(crate) done: u64,
}

/// An operation that has no answer after this is given up at times; its fate is unknown.
const GIVES_UP_AFTER: u64 = 3_000_000;

impl World {
    /// Whether a client waits for an answer.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.clients.iter().any(|client| client.pending.is_some())
            || self.senders.iter().any(Sender::waits_for_answers)
    }

    pub(crate) fn begin(&mut self, client: usize) {
        if self.clients[client].pending.is_some() || self.closing {
            return;
        }
        let key = u8::try_from(self.random.index(KEYS)).expect("few keys");
        let call = match self.random.below(10) {
            0..=3 => Call::Read(key),
            4..=6 => self.new_write(Action::Set { key }),
            _ => {
                let to = u8::try_from(self.random.index(self.listeners.len())).expect("few listeners");
                let action = self.sends_or_turns(to);
                self.new_write(action)
            }
        };
        self.begin_call(client, call);
    }

    /// The last words of a run: everyone writes once more.
    pub(crate) fn begin_last(&mut self, client: usize) {
        if self.clients[client].pending.is_none() {
            let call = self.new_write(Action::Send { to: 0 });
            self.begin_call(client, call);
        }
    }

    fn begin_call(&mut self, client: usize, call: Call) {
        let begun = self.ledger.moment();
        self.clients[client].pending = Some(Pending { call, begun, since: self.now });
        self.attempt(client);
    }

    fn new_write(&mut self, action: Action) -> Call {
        Call::Write { request: self.new_request(action), min_copies: self.draw_min_copies() }
    }

    /// How many copies a client asks for: most ask for none in particular.
    pub(crate) fn draw_min_copies(&mut self) -> usize {
        let asks = self.profile.asks_for_copies;
        if asks > 0 && self.random.percent(asks) { self.random.index(self.nodes.len()) + 1 } else { 0 }
    }

    /// A message to that listener, or, in some cases, the page is turned.
    pub(crate) fn sends_or_turns(&mut self, to: u8) -> Action {
        if self.turns.percent(self.profile.turns) { Action::TurnPage } else { Action::Send { to } }
    }

    pub(crate) fn new_request(&mut self, action: Action) -> Request {
        self.requests += 1;
        let right = self.right_time();
        // Some are dated by the service's clock, right or wrong.
        let dated = if self.random.percent(self.profile.dated_by_the_service) {
            let replica = self.random.index(self.nodes.len());
            self.wall(replica)
        } else {
            right
        };
        Request { id: self.requests, dated, action }
    }

    fn attempt(&mut self, client: usize) {
        self.clients[client].attempt += 1;
        let Client { pending: Some(pending), attempt, target, .. } = &self.clients[client] else { return };
        let (call, attempt, node) = (pending.call, *attempt, *target);
        let delay = self.micros(50, 800);
        self.later(delay, Happening::Arrive { node, client, attempt, call });
        let patience = self.micros(300_000, 1_500_000);
        self.later(patience, Happening::Overdue { client, attempt });
    }

    fn again(&mut self, client: usize) {
        let given_up = !self.closing
            && self.clients[client]
                .pending
                .is_some_and(|pending| self.now - pending.since > GIVES_UP_AFTER && self.random.percent(30));
        if given_up {
            self.end(client, None);
            return;
        }
        let replicas = self.nodes.len();
        self.clients[client].target = self.random.index(replicas);
        self.attempt(client);
    }

    pub(crate) fn overdue(&mut self, client: usize, attempt: u64) {
        if self.clients[client].attempt == attempt && self.clients[client].pending.is_some() {
            self.again(client);
        }
    }

    pub(crate) fn reply(&mut self, client: usize, attempt: u64, outcome: Outcome) {
        if self.clients[client].attempt != attempt || self.clients[client].pending.is_none() {
            return;
        }
        match outcome {
            Outcome::NotServing | Outcome::TooFewInSync | Outcome::KeptOnFewer => {
                // The attempt is over; the next one is made after a moment.
                let pause = self.micros(1_000, 40_000);
                self.later(pause, Happening::Overdue { client, attempt });
            }
            Outcome::Done | Outcome::Value(_) => self.end(client, Some(outcome)),
            Outcome::OutOfDate => self.end(client, None),
        }
    }

    /// The pending operation is over, with an answer or without.
    fn end(&mut self, client: usize, outcome: Option<Outcome>) {
        let Some(pending) = self.clients[client].pending.take() else { return };
        self.clients[client].done += u64::from(outcome.is_some());
        let ended = outcome.map(|_| self.ledger.moment());
        let (key, what) = match (pending.call, outcome) {
            (Call::Write { request: Request { id, action: Action::Set { key }, .. }, .. }, _) => {
                (key, What::Write(id))
            }
            (Call::Read(key), Some(Outcome::Value(value))) => (key, What::Read(value)),
            (Call::Read(_) | Call::Write { .. }, _) => {
                self.next_operation(client, pending.call, outcome.is_some());
                return;
            }
        };
        self.ledger.history[usize::from(key)].push(Operation { what, begun: pending.begun, ended });
        self.next_operation(client, pending.call, outcome.is_some());
    }

    fn next_operation(&mut self, client: usize, call: Call, answered: bool) {
        if let (Call::Write { .. }, true) = (call, answered)
            && self.random.percent(self.profile.late_retries)
        {
            // A copy that was under way all the time; no client waits for its answer.
            let age_max = self.profile.remembering.age_max.as_micros() as u64;
            let delay = self.micros(1_000, 3_000_000.max(2 * age_max.min(5_000_000)));
            let node = self.random.index(self.nodes.len());
            self.later(delay, Happening::Arrive { node, client, attempt: 0, call });
        }
        if !self.closing {
            let think = self.random.within(self.profile.think.clone());
            self.later(think, Happening::Begin { client });
        }
    }

    pub(crate) fn answer_client(&mut self, client: usize, attempt: u64, outcome: Outcome) {
        if client < self.clients.len() && !self.random.percent(self.profile.replies_lost) {
            let delay = self.micros(50, 800);
            self.later(delay, Happening::Reply { client, attempt, outcome });
        }
    }

    /// A call reaches a node.
    pub(crate) fn arrive(&mut self, i: usize, client: usize, attempt: u64, call: Call) {
        let Some(node) = &mut self.nodes[i] else {
            self.answer_client(client, attempt, Outcome::NotServing);
            return;
        };
        if node.paused {
            node.held.push_back(Held::Call { client, attempt, call });
            return;
        }
        let reaches_the_core = node.serving || self.random.percent(self.profile.stray_calls);
        if !reaches_the_core {
            self.answer_client(client, attempt, Outcome::NotServing);
            return;
        }
        match call {
            Call::Write { request, min_copies } => {
                let asker = Asker::Client { client, attempt };
                self.submit(i, Waiter { asker, request, min_copies });
            }
            Call::Read(key) => self.ask(i, ReadFor::Client { client, attempt, key }),
        }
    }

    pub(crate) fn submit(&mut self, i: usize, waiter: Waiter) {
        let Some(node) = &mut self.nodes[i] else { return };
        node.queue.push_back(waiter);
        if node.queue.len() == 1 {
            self.handle(i, Event::RequestsWaiting);
        }
    }

    pub(crate) fn ask(&mut self, i: usize, purpose: ReadFor) {
        self.reads += 1;
        let id = ReadId(self.reads);
        let acknowledged = self.ledger.acknowledged.op;
        let Some(node) = &mut self.nodes[i] else { return };
        node.reads.push(Read { id, purpose, acknowledged, primacy: node.primacy, at_least: Op(0) });
        self.handle(i, Event::ReadWaiting { read: id });
    }
}
