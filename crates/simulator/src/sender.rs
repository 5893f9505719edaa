//! Senders: many messages in flight on one stream, in order, over fail-overs (invariant 8).
//!
//! A sender is what `client::Outbox` is: what has no answer stays in line; another stream begins with the first of it. What
//! is kept on fewer replicas than were asked for has its place already, and is asked for again behind the others.

use crate::agenda::Happening;
use crate::client::Outcome;
use crate::fact::{Request, RequestId};
use crate::node::{Asker, Held, Waiter};
use crate::world::World;
use std::collections::VecDeque;

/// Messages of one sender without an answer.
const UNANSWERED_MAX: usize = 6;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    request: Request,
    min_copies: usize,
}

/// What a stream carries to a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carried {
    /// It begins.
    Opening {
        sender: usize,
    },
    Send(Sending),
    /// The sender has given it up.
    End,
}

/// Something that happens to a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It is given another message to send.
    Give,
    /// It opens a stream, unless it has one.
    Open,
    /// A replica receives something by a stream of this sender.
    Carry { node: usize, stream: u64, carried: Carried },
    /// An answer arrives.
    Answer { stream: u64, request: RequestId, outcome: Outcome },
    /// The sender notices that its stream is over.
    Over { stream: u64 },
    /// It looks whether there was an answer since the last look.
    Look { stream: u64, answers: u64 },
    /// It asks again for what was kept on too few replicas.
    AskAgain(Sending),
}

/// A client that sends.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    unanswered: VecDeque<Sending>,
    /// Kept on fewer replicas than were asked for, and not yet asked for again.
    kept: usize,
    /// Everything sent, in order, but what was refused and given up.
    pub(crate) sent: Vec<RequestId>,
    /// The stream in use, and where it leads.
    stream: u64,
    node: Option<usize>,
    /// Nothing arrives by the stream before that.
    next_arrival: u64,
    /// Counts the answers.
    answers: u64,
}

impl Sender {
    pub(crate) fn waits_for_answers(&self) -> bool {
        !self.unanswered.is_empty() || self.kept > 0
    }
}

/// A sender's stream, at the replica.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: usize,
    stream: u64,
    /// What has no answer yet, in the order in which it came.
    waiting: VecDeque<(RequestId, Option<Outcome>)>,
    /// No answer arrives before that.
    next_arrival: u64,
    /// The stream is broken, and the replica does not know yet.
    lost: bool,
}

impl World {
    pub(crate) fn step(&mut self, sender: usize, step: Step) {
        match step {
            Step::Give => self.give_to_send(sender),
            Step::Open => self.open_stream(sender),
            Step::Carry { node, stream, carried } => self.arrive_by_stream(node, stream, carried),
            Step::Answer { stream, request, outcome } => self.hear_answer(sender, stream, request, outcome),
            Step::Over { stream } => {
                if self.senders[sender].stream == stream {
                    self.abandon_stream(sender);
                }
            }
            Step::Look { stream, answers } => self.look_for_answers(sender, stream, answers),
            Step::AskAgain(sending) => {
                self.senders[sender].kept -= 1;
                self.put_in_line(sender, sending);
            }
        }
    }

    fn later_step(&mut self, delay: u64, sender: usize, step: Step) {
        self.later(delay, Happening::Sender { sender, step });
    }

    fn give_to_send(&mut self, sender: usize) {
        if self.closing {
            return;
        }
        // In bursts: many in flight is what this is about.
        let pause =
            if self.random.percent(70) { 200 } else { self.random.within(self.profile.think.clone()) };
        self.later_step(pause, sender, Step::Give);
        if self.senders[sender].unanswered.len() + self.senders[sender].kept >= UNANSWERED_MAX {
            return;
        }
        let to = u8::try_from(self.random.index(self.listeners.len())).expect("few listeners");
        let action = self.sends_or_turns(to);
        let request = self.new_request(action);
        let sending = Sending { request, min_copies: self.draw_min_copies() };
        self.senders[sender].sent.push(request.id);
        self.put_in_line(sender, sending);
    }

    fn put_in_line(&mut self, sender: usize, sending: Sending) {
        self.senders[sender].unanswered.push_back(sending);
        if self.senders[sender].node.is_some() {
            self.carry(sender, Carried::Send(sending));
        } else {
            self.open_stream(sender);
        }
    }

    fn open_stream(&mut self, sender: usize) {
        if self.senders[sender].node.is_some() || self.senders[sender].unanswered.is_empty() {
            return;
        }
        self.streams += 1;
        let node = self.random.index(self.nodes.len());
        let outbox = &mut self.senders[sender];
        (outbox.stream, outbox.node, outbox.next_arrival) = (self.streams, Some(node), 0);
        let (stream, answers) = (outbox.stream, outbox.answers);
        self.carry(sender, Carried::Opening { sender });
        for sending in self.senders[sender].unanswered.clone() {
            self.carry(sender, Carried::Send(sending));
        }
        let patience = self.micros(300_000, 1_500_000);
        self.later_step(patience, sender, Step::Look { stream, answers });
    }

    /// Gives something to the stream in use, which keeps its order.
    fn carry(&mut self, sender: usize, carried: Carried) {
        let at = self.now + self.micros(50, 800);
        let outbox = &mut self.senders[sender];
        let Some(node) = outbox.node else { return };
        let at = at.max(outbox.next_arrival);
        outbox.next_arrival = at + 1;
        let step = Step::Carry { node, stream: outbox.stream, carried };
        self.later_step(at - self.now, sender, step);
    }

    /// The sender leaves its stream; the replica hears of it after all that is under way.
    fn abandon_stream(&mut self, sender: usize) {
        self.carry(sender, Carried::End);
        if self.senders[sender].node.take().is_some() {
            let pause = self.micros(500, 40_000);
            self.later_step(pause, sender, Step::Open);
        }
    }

    fn look_for_answers(&mut self, sender: usize, stream: u64, answers: u64) {
        let outbox = &self.senders[sender];
        if outbox.stream != stream || outbox.node.is_none() {
            return;
        }
        if outbox.answers == answers && !outbox.unanswered.is_empty() {
            return self.abandon_stream(sender);
        }
        let answers = outbox.answers;
        let patience = self.micros(300_000, 1_500_000);
        self.later_step(patience, sender, Step::Look { stream, answers });
    }

    fn hear_answer(&mut self, sender: usize, stream: u64, request: RequestId, outcome: Outcome) {
        let outbox = &mut self.senders[sender];
        if outbox.stream != stream || outbox.node.is_none() {
            return;
        }
        outbox.answers += 1;
        let first = *outbox.unanswered.front().expect("only what was sent is answered");
        assert_eq!(first.request.id, request, "sender {sender} is answered out of order");
        match outcome {
            Outcome::Done | Outcome::Value(_) => {
                outbox.unanswered.pop_front();
            }
            Outcome::KeptOnFewer => {
                outbox.unanswered.pop_front();
                outbox.kept += 1;
                let pause = self.micros(10_000, 200_000);
                self.later_step(pause, sender, Step::AskAgain(first));
            }
            Outcome::OutOfDate => {
                // Whether it took effect long ago is not known any more.
                outbox.unanswered.pop_front();
                outbox.sent.retain(|sent| *sent != request);
            }
            Outcome::TooFewInSync if self.random.percent(50) => {
                // Refused is refused: it is not sent again.
                let outbox = &mut self.senders[sender];
                outbox.unanswered.pop_front();
                outbox.sent.retain(|sent| *sent != request);
            }
            // It must be sent, before anything behind it.
            Outcome::TooFewInSync | Outcome::NotServing => self.abandon_stream(sender),
        }
    }

    /// Something reaches a replica by a sender's stream.
    pub(crate) fn arrive_by_stream(&mut self, i: usize, stream: u64, carried: Carried) {
        let Some(node) = &mut self.nodes[i] else {
            if let Carried::Opening { sender } = carried {
                self.stream_over(sender, stream);
            }
            return;
        };
        if node.paused {
            node.held.push_back(Held::Carried { stream, carried });
            return;
        }
        match carried {
            Carried::Opening { sender } if node.serving => {
                let waiting = VecDeque::new();
                node.feeds.push(Feed { sender, stream, waiting, next_arrival: 0, lost: false });
            }
            Carried::Opening { sender } => self.stream_over(sender, stream),
            Carried::Send(Sending { request, min_copies }) => {
                // Without a feed the stream is over, and its sender is told, or knows.
                let Some(feed) = node.feeds.iter_mut().find(|feed| feed.stream == stream) else { return };
                feed.waiting.push_back((request.id, None));
                self.submit(i, Waiter { asker: Asker::Stream(stream), request, min_copies });
            }
            Carried::End => node.feeds.retain(|feed| feed.stream != stream),
        }
    }

    /// An outcome is known; answers go out in the order of the stream.
    pub(crate) fn answer_stream(&mut self, i: usize, stream: u64, request: RequestId, outcome: Outcome) {
        let jitter = self.micros(50, 800);
        let Some(node) = &mut self.nodes[i] else { return };
        let Some(feed) = node.feeds.iter_mut().find(|feed| feed.stream == stream) else { return };
        let place = feed.waiting.iter().position(|(id, known)| *id == request && known.is_none());
        let Some(place) = place else { return };
        feed.waiting[place].1 = Some(outcome);
        let (sender, mut given) = (feed.sender, Vec::new());
        while let Some((request, Some(outcome))) = feed.waiting.front().copied() {
            feed.waiting.pop_front();
            let at = (self.now + jitter).max(feed.next_arrival);
            feed.next_arrival = at + 1;
            given.push((at, request, outcome));
        }
        for (at, request, outcome) in given {
            self.send_answer(i, sender, stream, at, request, outcome);
            if matches!(outcome, Outcome::TooFewInSync | Outcome::OutOfDate) {
                // What may be accepted later ends the stream: the sender decides what comes next.
                self.end_after_refusal(i, stream);
                return;
            }
        }
    }

    fn send_answer(
        &mut self,
        i: usize,
        sender: usize,
        stream: u64,
        at: u64,
        request: RequestId,
        outcome: Outcome,
    ) {
        let breaks = self.random.percent(self.profile.replies_lost);
        let delay = at - self.now;
        let Some(node) = &mut self.nodes[i] else { return };
        let Some(feed) = node.feeds.iter_mut().find(|feed| feed.stream == stream) else { return };
        if breaks && !feed.lost {
            feed.lost = true;
            self.later_step(delay, sender, Step::Over { stream });
        } else if !feed.lost {
            self.later_step(delay, sender, Step::Answer { stream, request, outcome });
        }
    }

    fn end_after_refusal(&mut self, i: usize, stream: u64) {
        let Some(node) = &mut self.nodes[i] else { return };
        let Some(place) = node.feeds.iter().position(|feed| feed.stream == stream) else { return };
        let feed = node.feeds.swap_remove(place);
        self.later_step(feed.next_arrival - self.now, feed.sender, Step::Over { stream });
    }

    /// Streams end with the primacy, or with the process.
    pub(crate) fn end_feeds(&mut self, feeds: Vec<Feed>) {
        for feed in feeds {
            self.stream_over(feed.sender, feed.stream);
        }
    }

    fn stream_over(&mut self, sender: usize, stream: u64) {
        let delay = self.micros(500, 60_000);
        self.later_step(delay, sender, Step::Over { stream });
    }
}
