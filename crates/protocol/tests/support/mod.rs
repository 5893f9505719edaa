//! A small world for the protocol: replicas, disks, streams and a view register, all in one thread, from one seed.
//!
//! It performs effects and decides nothing. After every event it checks the invariants from outside, with its own
//! knowledge of what was acknowledged.

mod checks;
mod disk;
pub mod world;
