//! What stories do by hand: write a word, read, at a replica of their choice.

use crate::agenda::Happening;
use crate::client::Call;
use crate::fact::Action;
use crate::node::{Asker, ReadFor, Waiter};
use crate::profile::Profile;
use crate::trace::Detail;
use crate::world::World;

impl World {
    /// A world of `replicas` replicas, all started, where everything takes a fixed time.
    pub fn story(replicas: usize) -> Self {
        let mut world = Self::new(Profile::calm(replicas), 0);
        world.trace.detail = Detail::Notes;
        world.trace.names.push(String::new());
        for i in 0..replicas {
            world.start(i);
        }
        world
    }

    /// A world of `replicas` replicas, all started, to which nothing happens; everything takes a time drawn from the seed.
    pub fn unfaulty(replicas: usize, seed: u64) -> Self {
        let mut world = Self::new(Profile { jitter: true, ..Profile::calm(replicas) }, seed);
        world.trace.detail = Detail::Notes;
        world.trace.names.push(String::new());
        for i in 0..replicas {
            world.start(i);
        }
        world
    }

    /// Writes a word at a replica that serves. False if none does.
    pub fn write(&mut self, word: &str) -> bool {
        let serving =
            |node: &Option<crate::node::Node>| node.as_ref().is_some_and(|node| node.serving && !node.paused);
        let Some(i) = self.nodes.iter().position(serving) else { return false };
        self.write_at(i, word);
        true
    }

    /// Writes a word at replica `i`, whatever its role is by now.
    pub fn write_at(&mut self, i: usize, word: &str) {
        let known = self.trace.names.iter().position(|name| name == word);
        let request = if let Some(id) = known {
            crate::fact::Request { id: id as u32, dated: self.right_time(), action: Action::Send { to: 0 } }
        } else {
            self.trace.names.push(word.to_owned());
            self.new_request(Action::Send { to: 0 })
        };
        let no_client = usize::MAX;
        if self.nodes[i].as_ref().is_some_and(|node| node.paused) {
            self.arrive(i, no_client, 0, Call::Write { request, min_copies: 0 });
        } else {
            self.submit(i, Waiter { asker: Asker::NoOne, request, min_copies: 0 });
        }
    }

    /// The disk of a replica that is down loses its newest entries. From then on it may lack what was acknowledged.
    pub fn lose(&mut self, i: usize, entries: usize) {
        self.disks[i].lose(entries);
        self.lied[i] = true;
    }

    /// Sets a replica's wall clock wrong by `by` milliseconds, or right.
    pub fn set_clock_wrong(&mut self, i: usize, by: i64) {
        self.wrong_by[i] = by;
        let within = self.micros(1_000, 1_000_000);
        self.later(within, Happening::TellClock { node: i });
    }

    /// Takes the view register out of a replica's reach, or gives it back.
    pub fn isolate_from_register(&mut self, i: usize, isolated: bool) {
        self.register.isolated[i] = isolated;
    }

    /// Reads at replica `i`, whatever its role is by now.
    pub fn read(&mut self, i: usize) {
        self.ask(i, ReadFor::NoOne);
    }
}
