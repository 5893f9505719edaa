//! What every test with whole processes needs: clusters that can be hurt, people who talk, and the command.
//!
//! Each test has its own folder and its own ports, waits for conditions and never for a fixed time, and when it ends, no
//! process of it is left and no log of it may hold a panic.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test support: a failure here is a failed test")]
#![allow(missing_docs, reason = "the names say it; what is surprising has its comment")]

pub mod browser;
pub mod cluster;
pub mod command;
pub mod faulty_machine;
pub mod filling;
pub mod people;
pub mod raw;
pub mod recorder;
pub mod screen;
pub mod skipped;
pub mod talk;
pub mod terminal_picture;
pub mod up;
pub mod wait;
pub mod workspace;
