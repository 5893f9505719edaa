//! The profile of a run: which faults there are and how often, drawn from the seed. Few kinds at a time find more than
//! all at once (Groce and others: Swarm testing, ISSTA 2012).

use crate::random::Random;
use protocol::{Bounds, Remembering};
use std::ops::Range;
use std::time::Duration;

/// How messages travel on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// In order, without loss, as TCP has it.
    Ordered,
    /// Each by itself: late, twice, out of order, or never. The protocol must stay safe even then.
    Loose {
        /// Of 100.
        lost: u64,
        /// Of 100.
        doubled: u64,
    },
}

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How many replicas.
    pub replicas: usize,
    /// Whether everything takes a random time; stories have fixed ones.
    pub jitter: bool,
    /// How messages travel.
    pub wire: Wire,
    /// Messages, of 100, that take up to two seconds.
    pub slow_messages: u64,
    /// Proofs of death that are withheld, of 100.
    pub proofs_withheld: u64,
    /// Lists of effects, of 10,000, in the middle of which the process dies.
    pub crashes_between_effects: u64,
    /// Clocks that run up to a fifth fast or slow.
    pub clocks_apart: bool,
    /// Swaps, of 100, whose answer is lost and that take effect late or never.
    pub swaps_unsure: u64,
    /// Register calls, of 100, that take up to a second.
    pub register_slow: u64,
    /// Store effects, of 10,000, that fail.
    pub store_fails: u64,
    /// Processes, of 100, that end between a write and its sync, if they end while they write.
    pub ends_before_syncs: u64,
    /// Store effects, of 10,000, that take up to four seconds.
    pub store_slow: u64,
    /// Times, of 100, that entries are applied and that takes up to half a second.
    pub applies_slow: u64,
    /// Snapshots, of 100, that break off.
    pub snapshots_break: u64,
    /// Deadlines, of 100, before which a tick comes too.
    pub early_ticks: u64,
    /// How much may be under way at once.
    pub bounds: Bounds,
    /// Times, of 100, that the tables become durable when entries were applied.
    pub checkpoints: u64,
    /// How many entries logs keep.
    pub log_entries_max: usize,
    /// Replies to clients, of 100, that are lost.
    pub replies_lost: u64,
    /// Reads, of 10,000, that look up to three seconds after they were allowed.
    pub looks_late: u64,
    /// Calls, of 100, that reach the core of a replica although it does not serve.
    pub stray_calls: u64,
    /// Answered requests, of 100, that arrive again much later.
    pub late_retries: u64,
    /// Crashed processes, of 100, that are started again by themselves.
    pub restarts: u64,
    /// Swaps, of 100, right after which a fault strikes.
    pub faults_at_swaps: u64,
    /// How many faults strike.
    pub faults: u64,
    /// The pause between two faults, in microseconds, at most.
    pub fault_pause_max: u64,
    /// How often each kind of fault strikes, relative to the others; in the order of [`crate::faults::KINDS`].
    pub weights: Vec<u64>,
    /// Clients that write and read.
    pub clients: usize,
    /// The pause between two operations of a client, in microseconds.
    pub think: Range<u64>,
    /// Writes are refused while fewer replicas are in sync.
    pub min_in_sync: usize,
    /// Writes, of 100, that ask for a number of copies.
    pub asks_for_copies: u64,
    /// Those who send many messages by one stream.
    pub senders: usize,
    /// For how long requests are remembered.
    pub remembering: Remembering,
    /// Requests, of 100, that are dated by a replica's wall clock; the others by the right time.
    pub dated_by_the_service: u64,
    /// What would be a message turns the page instead, in this number of 100 cases: its batch is a barrier.
    pub turns: u64,
}

/// Long enough that no run notices.
const REMEMBERED_FOR_EVER: Remembering = Remembering {
    age_max: Duration::from_hours(24),
    agree_for: Duration::from_hours(1),
    tolerance: Duration::from_mins(1),
};

/// For so short that requests are forgotten in the middle of a run. Wrong clocks last for less than `agree_for`.
const REMEMBERED_BRIEFLY: Remembering = Remembering {
    age_max: Duration::from_secs(4),
    agree_for: Duration::from_millis(500),
    tolerance: Duration::from_millis(200),
};

/// So little that every bound is met.
const TIGHT: Bounds = Bounds {
    batches_in_flight: 3,
    bytes_in_flight: 236,
    batches_kept: 3,
    bytes_kept: 177,
    apply_lag: 4,
    apply_within: Duration::ZERO,
};

impl Profile {
    /// Nothing goes wrong by itself, and everything takes a fixed time.
    pub fn calm(replicas: usize) -> Self {
        Self {
            replicas,
            jitter: false,
            wire: Wire::Ordered,
            slow_messages: 0,
            proofs_withheld: 0,
            crashes_between_effects: 0,
            clocks_apart: false,
            swaps_unsure: 0,
            register_slow: 0,
            store_fails: 0,
            ends_before_syncs: 0,
            store_slow: 0,
            applies_slow: 0,
            snapshots_break: 0,
            early_ticks: 0,
            bounds: Bounds { apply_within: Duration::ZERO, ..Bounds::DEFAULT },
            checkpoints: 50,
            log_entries_max: usize::MAX,
            replies_lost: 0,
            looks_late: 0,
            stray_calls: 0,
            late_retries: 0,
            restarts: 0,
            faults_at_swaps: 0,
            faults: 0,
            fault_pause_max: 1,
            weights: Vec::new(),
            clients: 0,
            think: 0..1,
            min_in_sync: 1,
            asks_for_copies: 0,
            senders: 0,
            remembering: REMEMBERED_FOR_EVER,
            dated_by_the_service: 0,
            turns: 0,
        }
    }

    /// The profile that a seed draws.
    pub fn draw(random: &mut Random) -> Self {
        let sometimes = |random: &mut Random, of_hundred, most: u64| {
            if random.percent(of_hundred) { 1 + random.below(most) } else { 0 }
        };
        let wire = if random.percent(75) {
            Wire::Ordered
        } else {
            Wire::Loose { lost: random.pick(&[0, 1, 5]), doubled: random.pick(&[0, 2, 10]) }
        };
        let many = random.percent(4);
        let replicas = if many { random.pick(&[6, 7]) } else { random.pick(&[1, 2, 2, 3, 3, 3, 3, 3, 4, 5]) };
        let mut drawn = Self {
            replicas,
            jitter: true,
            wire,
            slow_messages: sometimes(random, 25, 5),
            proofs_withheld: random.pick(&[0, 0, 30, 100]),
            crashes_between_effects: sometimes(random, 30, 100),
            clocks_apart: random.percent(50),
            swaps_unsure: sometimes(random, 30, 50),
            register_slow: sometimes(random, 25, 40),
            store_fails: sometimes(random, 20, 100),
            ends_before_syncs: random.pick(&[0, 50]),
            store_slow: sometimes(random, 15, 60),
            applies_slow: random.pick(&[0, 0, 0, 20, 80]),
            snapshots_break: random.pick(&[0, 15, 50]),
            early_ticks: random.pick(&[0, 10]),
            bounds: random.pick(&[Bounds::DEFAULT, Bounds::DEFAULT, TIGHT]),
            checkpoints: random.pick(&[5, 30, 80]),
            log_entries_max: random.pick(&[usize::MAX, usize::MAX, 8, 3]),
            replies_lost: sometimes(random, 40, 20),
            looks_late: sometimes(random, 30, 3000),
            stray_calls: sometimes(random, 40, 20),
            late_retries: sometimes(random, 50, 20),
            restarts: random.pick(&[0, 50, 90]),
            faults_at_swaps: random.pick(&[0, 0, 40]),
            faults: random.within(2..26),
            fault_pause_max: random.pick(&[3_000, 30_000, 300_000, 1_500_000]),
            weights: crate::faults::KINDS.iter().map(|_| random.pick(&[0, 1, 1, 4])).collect(),
            clients: random.index(4) + 1,
            think: 100..random.pick(&[2_000, 20_000, 200_000, 3_000_000]),
            min_in_sync: random.pick(&[1, 1, 1, 2]).min(replicas),
            asks_for_copies: random.pick(&[0, 0, 20, 80]),
            senders: random.pick(&[0, 0, 1, 2]),
            remembering: random.pick(&[REMEMBERED_FOR_EVER, REMEMBERED_BRIEFLY]),
            dated_by_the_service: random.pick(&[0, 0, 20]),
            turns: 0,
        };
        // A register that is altered stops most of what the other faults are there for: so it is, in a few runs.
        let is_altered = random.percent(15);
        let register = |_| if is_altered { random.pick(&[0, 1, 1, 4]) } else { 0 };
        drawn.weights.extend(crate::faults::REGISTER_KINDS.iter().map(register));
        drawn
    }
}
