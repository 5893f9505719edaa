//! Listeners: each resumes from its cursor, and must hear every message of its own once, in growing order (invariant 6).

use crate::agenda::Happening;
use crate::fact::RequestId;
use crate::node::{ReadFor, Subscription};
use crate::world::World;
use protocol::Op;

/// A client that listens.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// Everything heard, in the order in which it was heard. The last op is the cursor.
    pub(crate) heard: Vec<(Op, RequestId)>,
    /// Counts the streams; what comes late from an earlier one is not looked at.
    session: u64,
    node: Option<usize>,
}

impl Listener {
    pub(crate) fn cursor(&self) -> Op {
        self.heard.last().map_or(Op(0), |(op, _)| *op)
    }
}

impl World {
    /// A listener opens a stream to some replica that serves, or tries again.
    pub(crate) fn listen(&mut self, listener: usize) {
        let i = self.random.index(self.nodes.len());
        let serves = self.nodes[i].as_ref().is_some_and(|node| node.serving && !node.paused);
        self.listeners[listener].session += 1;
        if !serves {
            self.listeners[listener].node = None;
            let pause = self.micros(5_000, 120_000);
            self.later(pause, Happening::Listen { listener });
            return;
        }
        let session = self.listeners[listener].session;
        let after = self.listeners[listener].cursor();
        self.listeners[listener].node = Some(i);
        if let Some(node) = &mut self.nodes[i] {
            // Registered first, then the store is read: what is committed in between comes by both ways.
            node.subscriptions.push(Subscription { listener, session, given: None, queue: Vec::new() });
        }
        self.ask(i, ReadFor::Listener { listener, session, after });
        let patience = self.micros(1_500_000, 3_000_000);
        self.later(patience, Happening::Doubt { listener, session });
    }

    /// The store was read for a listener that has just come: up to `head`, and `page` is what it has not heard.
    pub(crate) fn catch_up(
        &mut self,
        i: usize,
        listener: usize,
        session: u64,
        head: Op,
        page: &[(Op, RequestId)],
    ) {
        let Some(node) = &mut self.nodes[i] else { return };
        let subscription = node
            .subscriptions
            .iter_mut()
            .find(|subscription| (subscription.listener, subscription.session) == (listener, session));
        // Its stream may have ended since the read was allowed; what was read is under way all the same.
        let mut queue = Vec::new();
        if let Some(subscription) = subscription {
            queue = std::mem::take(&mut subscription.queue);
            queue.retain(|(op, _)| *op > head);
            subscription.given = Some(queue.last().map_or(head, |(op, _)| *op));
        }
        self.give(listener, session, page);
        self.give(listener, session, &queue);
    }

    /// A batch was acknowledged: its messages go to those who listen here.
    pub(crate) fn publish(&mut self, i: usize, messages: &[(Op, u8, RequestId)]) {
        let Some(node) = &mut self.nodes[i] else { return };
        let mut given = Vec::new();
        for subscription in &mut node.subscriptions {
            for (op, to, request) in messages {
                if usize::from(*to) != subscription.listener {
                    continue;
                }
                match subscription.given {
                    None => subscription.queue.push((*op, *request)),
                    Some(last) if *op > last => {
                        subscription.given = Some(*op);
                        given.push((subscription.listener, subscription.session, *op, *request));
                    }
                    Some(_) => {}
                }
            }
        }
        for (listener, session, op, request) in given {
            self.give(listener, session, &[(op, request)]);
        }
    }

    fn give(&mut self, listener: usize, session: u64, messages: &[(Op, RequestId)]) {
        if self.listeners[listener].session != session {
            return;
        }
        let mut at = self.now + self.micros(50, 800);
        for (op, request) in messages {
            // A stream keeps its order.
            at = at.max(self.network.last_heard(listener, session)) + 1;
            self.network.heard_at(listener, session, at);
            let (op, request) = (*op, *request);
            self.later(at - self.now, Happening::Hear { listener, session, op, request });
        }
    }

    pub(crate) fn hear(&mut self, listener: usize, session: u64, op: Op, request: RequestId) {
        let hearing = &mut self.listeners[listener];
        if hearing.session != session {
            return;
        }
        assert!(
            op > hearing.cursor(),
            "invariant 6: listener {listener} hears op {op} after op {}",
            hearing.cursor()
        );
        hearing.heard.push((op, request));
    }

    /// The stream has been silent for a while: is there still a replica at its other end?
    pub(crate) fn doubt(&mut self, listener: usize, session: u64) {
        if self.listeners[listener].session != session {
            return;
        }
        let alive = self.listeners[listener].node.is_some_and(|i| {
            self.nodes[i].as_ref().is_some_and(|node| {
                !node.paused
                    && node.subscriptions.iter().any(|subscription| {
                        (subscription.listener, subscription.session) == (listener, session)
                    })
            })
        });
        if alive {
            let patience = self.micros(1_500_000, 3_000_000);
            self.later(patience, Happening::Doubt { listener, session });
        } else {
            self.listen(listener);
        }
    }

    /// A node's streams to listeners end.
    pub(crate) fn hang_up(&mut self, subscriptions: Vec<Subscription>) {
        for subscription in subscriptions {
            if self.listeners[subscription.listener].session == subscription.session {
                let pause = self.micros(500, 60_000);
                // What is under way may still arrive before the listener has noticed.
                self.later(
                    pause,
                    Happening::Doubt { listener: subscription.listener, session: subscription.session },
                );
            }
        }
    }
}
