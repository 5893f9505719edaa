//! Reads: the core allows one at one moment, another thread looks at the state at a later one, and only then it is known
//! whether the look counts. In between the replica may stop leading, and even lead again.

use crate::agenda::Happening;
use crate::checks;
use crate::client::Outcome;
use crate::fact::RequestId;
use crate::node::{Held, Read, ReadFor};
use crate::world::World;
use protocol::{Op, Position};

/// What a look at the state has found.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    read: Read,
    position: Position,
    found: Found,
}

#[derive(Clone, Debug)]
enum Found {
    /// What a register holds.
    Value(Option<RequestId>),
    /// The messages after a listener's cursor.
    Page(Vec<(Op, RequestId)>),
    Nothing,
}

impl World {
    /// The core allows a read: the look follows at once, or late.
    pub(crate) fn look_later(&mut self, i: usize, read: Read) {
        if self.is_late() {
            let delay = self.micros(50, 2_000_000);
            let incarnation = self.incarnation(i);
            self.later(delay, Happening::Look { at: i, incarnation, read });
        } else {
            self.look(i, read);
        }
    }

    fn is_late(&mut self) -> bool {
        self.random.in_ten_thousand(self.profile.looks_late)
    }

    /// Looks at the state, whatever the replica is by now.
    pub(crate) fn look(&mut self, i: usize, read: Read) {
        if self.hold(i, &Held::Look(read)) {
            return;
        }
        let disk = &self.disks[i];
        if disk.applied().op < read.at_least {
            // It waits for the tables.
            let incarnation = self.incarnation(i);
            self.later(100, Happening::Look { at: i, incarnation, read });
            return;
        }
        let found = match read.purpose {
            ReadFor::Client { key, .. } => Found::Value(disk.state().registers[usize::from(key)]),
            ReadFor::Listener { listener, after, .. } => {
                let page = disk.state().messages.iter();
                let page = page.filter(|message| usize::from(message.to) == listener && message.op > after);
                Found::Page(page.map(|message| (message.op, message.request)).collect())
            }
            ReadFor::NoOne => Found::Nothing,
        };
        let seen = Seen { read, position: disk.applied(), found };
        if self.is_late() {
            let delay = self.micros(50, 2_000_000);
            let incarnation = self.incarnation(i);
            self.later(delay, Happening::Report { at: i, incarnation, seen: Box::new(seen) });
        } else {
            self.report(i, seen);
        }
    }

    /// What was seen counts only in the primacy in which the read was allowed.
    pub(crate) fn report(&mut self, i: usize, seen: Seen) {
        if self.hold(i, &Held::Report(seen.clone())) {
            return;
        }
        let Some(node) = &self.nodes[i] else { return };
        if node.serving && node.primacy == seen.read.primacy {
            self.answer_read(i, seen);
        } else {
            self.refuse_read(seen.read);
        }
    }

    pub(crate) fn refuse_read(&mut self, read: Read) {
        if let ReadFor::Client { client, attempt, .. } = read.purpose {
            self.answer_client(client, attempt, Outcome::NotServing);
        }
    }

    fn answer_read(&mut self, i: usize, Seen { read, position, found }: Seen) {
        checks::read_sees(i, position, read.acknowledged);
        self.ledger.reads += 1;
        // What was seen counts like what was acknowledged: no later state may lack it.
        if position.op > self.ledger.acknowledged.op {
            self.ledger.acknowledged = position;
        }
        match (read.purpose, found) {
            (ReadFor::Client { client, attempt, .. }, Found::Value(value)) => {
                self.answer_client(client, attempt, Outcome::Value(value));
            }
            (ReadFor::Listener { listener, session, .. }, Found::Page(page)) => {
                self.catch_up(i, listener, session, position.op, &page);
            }
            _ => {}
        }
    }

    /// Keeps something for a paused process until it goes on.
    fn hold(&mut self, i: usize, held: &Held) -> bool {
        let Some(node) = self.nodes[i].as_mut().filter(|node| node.paused) else { return false };
        node.held.push_back(held.clone());
        true
    }
}
