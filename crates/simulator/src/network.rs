//! Streams between replicas: opened in pairs of ends, cut one way or both, closed by either side.
//!
//! A stream belongs to two incarnations. What was sent on it may arrive after it was closed, and the core must refuse it.

use crate::agenda::Happening;
use crate::fact::Fact;
use crate::profile::Wire;
use crate::world::World;
use protocol::{Event, Message, ReplicaIndex, StreamId};
use std::collections::BTreeSet;

/// One end of a stream.
#[derive(Clone, Copy, Debug)]
struct End {
    node: usize,
    incarnation: u64,
    peer: usize,
    far: StreamId,
    open: bool,
    /// Nothing arrives here before that.
    next_arrival: u64,
}

/// Every stream that ever was, and the cuts of now.
#[derive(Debug)]
pub(crate) struct Network {
    ends: Vec<End>,
    /// (from, to): nothing passes.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// What waits behind a cut, for streams that keep their order and lose nothing.
    stuck: Vec<(StreamId, Box<Message<Fact>>)>,
    /// Ends of streams that are noticed once a cut has ended.
    unheard: Vec<Happening>,
    /// Pairs that a `Connect` is planned for.
    connecting: BTreeSet<(usize, usize)>,
    /// The session and the last arrival of each listener's stream.
    heard: Vec<(u64, u64)>,
}

impl Network {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            ends: Vec::new(),
            cut: BTreeSet::new(),
            stuck: Vec::new(),
            unheard: Vec::new(),
            connecting: BTreeSet::new(),
            heard: vec![(0, 0); listeners],
        }
    }

    fn end(&mut self, stream: StreamId) -> &mut End {
        let place = usize::try_from(stream.0 - 1).expect("a stream that was opened");
        &mut self.ends[place]
    }

    pub(crate) fn last_heard(&self, listener: usize, session: u64) -> u64 {
        let (of, at) = self.heard[listener];
        if of == session { at } else { 0 }
    }

    pub(crate) fn heard_at(&mut self, listener: usize, session: u64, at: u64) {
        self.heard[listener] = (session, at);
    }
}

pub(crate) fn index(i: usize) -> ReplicaIndex {
    ReplicaIndex(u8::try_from(i).expect("few replicas"))
}

/// How often a core is told of another replica's clock that has not jumped, in microseconds.
const COMPARED_EVERY: u64 = 1_000_000;

impl World {
    /// Sends a message by a stream, if that lives.
    pub(crate) fn send(&mut self, i: usize, stream: StreamId, message: Message<Fact>) {
        let End { open, far, peer, .. } = *self.network.end(stream);
        if !open {
            return;
        }
        let message = Box::new(message);
        if self.network.cut.contains(&(i, peer)) {
            if self.profile.wire == Wire::Ordered {
                self.network.stuck.push((far, message));
            }
            return;
        }
        self.deliver_later(far, message);
    }

    fn deliver_later(&mut self, at: StreamId, message: Box<Message<Fact>>) {
        let slow = self.random.percent(self.profile.slow_messages);
        let mut delay = if slow { self.micros(2_000, 2_000_000) } else { self.micros(100, 2000) };
        let end = self.network.end(at);
        let earliest = end.next_arrival.saturating_sub(self.now);
        match self.profile.wire {
            Wire::Ordered => {
                delay = delay.max(earliest);
                end.next_arrival = self.now + delay + 1;
            }
            Wire::Loose { lost, doubled } => {
                delay = delay.max(earliest);
                if self.random.percent(lost) {
                    return;
                }
                if self.random.percent(doubled) {
                    let again = delay + self.micros(0, 1_000_000);
                    self.later(again, Happening::Deliver { at, message: message.clone() });
                }
            }
        }
        self.later(delay, Happening::Deliver { at, message });
    }

    pub(crate) fn deliver(&mut self, at: StreamId, message: Message<Fact>) {
        let End { node, incarnation, peer, .. } = *self.network.end(at);
        if self.alive(node, incarnation) {
            self.compare_clocks(node, peer);
            if self.alive(node, incarnation) {
                self.handle(node, Event::Received { peer: index(peer), stream: at, message });
            }
        }
    }

    /// A process hears what a peer's wall clock shows: with each message, and once in a second.
    fn compare_clocks(&mut self, i: usize, peer: usize) {
        let ahead = self.wrong_by[peer] - self.wrong_by[i];
        if let Some(node) = &mut self.nodes[i]
            && (node.ahead[peer].0 != ahead || self.now >= node.ahead[peer].1)
            && !node.paused
        {
            node.ahead[peer] = (ahead, self.now + COMPARED_EVERY);
            self.handle(i, Event::ClockCompared { peer: index(peer), ahead });
        }
    }

    /// A clock has jumped: within a second it and its peers hear of that by every open stream.
    pub(crate) fn tell_clock(&mut self, i: usize) {
        for peer in 0..self.nodes.len() {
            if self.nodes[i].as_ref().is_some_and(|node| node.streams[peer].is_some()) {
                self.compare_clocks(i, peer);
                self.compare_clocks(peer, i);
            }
        }
    }

    /// Closes a stream from this end; the far end hears of it after a while, or where that way is cut, once the cut has ended.
    /// Then the two try again.
    pub(crate) fn close(&mut self, near: StreamId) {
        let End { node, peer, far, open, .. } = *self.network.end(near);
        if !open {
            return;
        }
        self.network.end(near).open = false;
        let far_end = self.network.end(far);
        let (far_was_open, far_incarnation) = (far_end.open, far_end.incarnation);
        far_end.open = false;
        self.forget_stream(node, peer, near);
        self.forget_stream(peer, node, far);
        if far_was_open {
            let delay = self.micros(200, 3000);
            let event = Box::new(Event::StreamClosed { peer: index(node), stream: far });
            let closing = Happening::Tell { to: peer, incarnation: far_incarnation, event };
            if self.network.cut.contains(&(node, peer)) {
                self.network.unheard.push(closing);
            } else {
                self.later(delay, closing);
            }
        }
        self.reconnect(node, peer);
    }

    /// A stream breaks under both.
    pub fn break_stream(&mut self, a: usize, b: usize) {
        let stream = self.nodes[a].as_ref().and_then(|node| node.streams[b]);
        if let Some(stream) = stream {
            let incarnation = self.network.end(stream).incarnation;
            self.close(stream);
            let delay = self.micros(1, 3000);
            let event = Box::new(Event::StreamClosed { peer: index(b), stream });
            self.later(delay, Happening::Tell { to: a, incarnation, event });
        }
    }

    fn forget_stream(&mut self, i: usize, peer: usize, stream: StreamId) {
        if let Some(node) = &mut self.nodes[i]
            && node.streams[peer] == Some(stream)
        {
            node.streams[peer] = None;
        }
    }

    pub(crate) fn reconnect(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        if a != b && self.network.connecting.insert(pair) {
            let delay = self.micros(5_000, 60_000);
            self.later(delay, Happening::Connect { a: pair.0, b: pair.1 });
        }
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let again = |world: &mut Self, delay| world.later(delay, Happening::Connect { a, b });
        if self.network.cut.contains(&(a, b)) || self.network.cut.contains(&(b, a)) {
            return again(self, 50_000);
        }
        let (Some(one), Some(other)) = (&self.nodes[a], &self.nodes[b]) else {
            // The replica that is down tries again when it starts.
            self.network.connecting.remove(&(a, b));
            return;
        };
        if one.paused || other.paused {
            return again(self, 20_000);
        }
        self.network.connecting.remove(&(a, b));
        if one.streams[b].is_some() {
            return;
        }
        let incarnations = (one.incarnation, other.incarnation);
        let at_a = StreamId(self.network.ends.len() as u64 + 1);
        let at_b = StreamId(at_a.0 + 1);
        // The one hears of it a little later than the other, and nothing arrives before that.
        let later = self.micros(0, 1500);
        let new = |node, incarnation, peer, far, next_arrival| End {
            node,
            incarnation,
            peer,
            far,
            open: true,
            next_arrival,
        };
        self.network.ends.push(new(a, incarnations.0, b, at_b, self.now));
        self.network.ends.push(new(b, incarnations.1, a, at_a, self.now + later + 1));
        for (i, peer, stream, delay) in [(a, b, at_a, 0), (b, a, at_b, later)] {
            if let Some(node) = &mut self.nodes[i] {
                node.streams[peer] = Some(stream);
            }
            let event = Event::StreamOpened { peer: index(peer), stream };
            if delay == 0 {
                self.handle(i, event);
            } else {
                let incarnation = incarnations.1;
                self.later(delay, Happening::Tell { to: i, incarnation, event: Box::new(event) });
            }
        }
    }

    /// Every cut ends. What waited behind it arrives late, or its stream breaks.
    pub fn heal(&mut self) {
        let cut = std::mem::take(&mut self.network.cut);
        for (a, b) in cut {
            if self.profile.wire != Wire::Ordered || !self.profile.jitter || self.random.percent(50) {
                self.break_stream(a, b);
                self.break_stream(b, a);
            }
        }
        for closing in std::mem::take(&mut self.network.unheard) {
            let delay = self.micros(200, 3000);
            self.later(delay, closing);
        }
        for (at, message) in std::mem::take(&mut self.network.stuck) {
            if self.network.end(at).open {
                self.deliver_later(at, message);
            }
        }
    }
}
