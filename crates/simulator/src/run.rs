//! One run from one seed: faults for a while, then calm, and at the end everything is counted.

use crate::agenda::Happening;
use crate::checks;
use crate::profile::Profile;
use crate::random::Random;
use crate::sender::Step;
use crate::trace::Detail;
use crate::world::World;

/// After the faults, service must be whole again within this time. A replica that kept failing waits up to half a
/// minute on probation, and a store that kept failing a while for each repair; one whose rows differ goes through that
/// three times until it asks for a snapshot; by a clock that runs a fifth slow.
const HEALED_WITHIN: u64 = 180_000_000;
const LOOK_EVERY: u64 = 50_000;
/// The faults of one run end after this, however many are left.
const FAULTS_FOR: u64 = 30_000_000;
/// Something impairs replicas in every seed that is a multiple of this; what the others do stays as it was when they were
/// written down.
const IMPAIRED_EVERY: u64 = 4;
/// The page is turned in every seed that is a multiple of this, for the same reason.
const TURNED_EVERY: u64 = 3;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Events that were handled.
    pub events: u64,
    /// Requests that were answered.
    pub acknowledged: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Messages that were heard.
    pub heard: u64,
    /// Answers that said that fewer replicas hold something than were asked for.
    pub kept: u64,
    /// Requests that stood behind a refusal in their stream.
    pub passed_over: u64,
    /// Views that were installed.
    pub views: u64,
    /// How long it took from the end of the faults until all was well, in microseconds.
    pub healed_after: u64,
}

impl Report {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.heard += other.heard;
        self.kept += other.kept;
        self.passed_over += other.passed_over;
        self.views += other.views;
        self.healed_after = self.healed_after.max(other.healed_after);
    }
}

/// The world of a seed, in which nothing has happened yet.
pub fn prepare(seed: u64, detail: Detail) -> World {
    let mut random = Random::new(seed ^ 0x5eed_5eed_5eed_5eed);
    let profile = Profile::draw(&mut random);
    let mut world = World::new(profile, seed);
    if seed.is_multiple_of(TURNED_EVERY) {
        world.profile.turns = world.turns.pick(&[2, 20, 60]);
    }
    world.impairments = seed.is_multiple_of(IMPAIRED_EVERY).then(|| Random::new(!seed));
    world.trace.detail = detail;
    if detail != Detail::Silent {
        world.trace.text = format!("seed {seed}: {:?}\n", world.profile);
    }
    world
}

/// Lets a prepared world run to its end.
///
/// # Panics
/// If an invariant is broken; the message begins with its number.
pub fn live(world: &mut World) -> Report {
    finish(world);
    Report {
        events: world.events,
        acknowledged: world.ledger.answers.len() as u64,
        reads: world.ledger.reads,
        kept: world.ledger.kept,
        passed_over: world.ledger.passed_over,
        heard: world.listeners.iter().map(|listener| listener.heard.len() as u64).sum(),
        views: world.register.views.len() as u64,
        healed_after: world.healed_after,
    }
}

fn finish(world: &mut World) {
    for i in 0..world.nodes.len() {
        world.start(i);
    }
    for client in 0..world.clients.len() {
        world.later(100_000, Happening::Begin { client });
    }
    for listener in 0..world.listeners.len() {
        world.later(100_000, Happening::Listen { listener });
    }
    for sender in 0..world.senders.len() {
        world.later(100_000, Happening::Sender { sender, step: Step::Give });
    }
    world.faults_left = world.profile.faults;
    let first = world.random.within(1_000..400_000);
    world.later(first, Happening::Fault { once: false });
    let until = world.now + FAULTS_FOR;
    while world.faults_left > 0 && world.now < until {
        world.run_for(LOOK_EVERY);
    }
    world.run_for(LOOK_EVERY);
    world.trace.fault(world.now, &"the faults end");
    world.calm_down();
    let calm_since = world.now;
    world.closing = true;
    until_healed(world, calm_since);
    for client in 0..world.clients.len() {
        world.begin_last(client);
    }
    until_healed(world, calm_since);
    world.healed_after = world.now - calm_since;
    checks::the_end(world);
}

fn until_healed(world: &mut World, calm_since: u64) {
    loop {
        match checks::healed(world) {
            Ok(()) => return,
            Err(why) => assert!(
                world.now - calm_since < HEALED_WITHIN,
                "invariant 7: {} s after the faults have ended {why}",
                HEALED_WITHIN / 1_000_000
            ),
        }
        world.run_for(LOOK_EVERY);
    }
}
