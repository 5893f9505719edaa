//! The simulator: whole clusters of the real `protocol` crate, in one thread, from one seed.
//!
//! A run draws a [`profile`] (how many replicas, which faults, how messages travel, whose clock runs fast) and lets
//! clients write, read and listen while faults strike ([`faults`]). The [`world`] performs the effects of each replica
//! after a while drawn from the seed; it decides nothing. After every step the invariants are looked at from outside
//! ([`checks`]); at the end the faults stop, service must return, and what clients were told is compared with what the
//! databases hold ([`zones`] for what was read). The same seed always gives the same run.
//!
//! ```text
//!  client ─ call ─▶ ┌────────────┐ events ─▶ ┌──────────────────┐
//!  listener ◀────── │   world    │           │ protocol::Replica│ × 1 to 7
//!  network, store,  │ (agenda)   │ ◀─ effects└──────────────────┘
//!  register, clock  └────────────┘ ─▶ ledger ─▶ checks
//! ```

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of a run are small: microseconds, places in short vectors"
)]
#![allow(missing_docs, reason = "the parts of the world are for each other; what others use is documented")]

mod agenda;
mod checks;
mod client;
pub mod disk;
mod effects;
pub mod fact;
pub mod faults;
pub mod layers;
mod ledger;
mod listener;
mod lock;
mod looks;
mod network;
mod node;
mod operator;
pub mod profile;
pub mod random;
mod register;
mod run;
mod sender;
mod storage;
mod story;
mod trace;
mod world;
pub mod zones;

pub use run::{Report, live, prepare};
pub use trace::Detail;
pub use world::World;
