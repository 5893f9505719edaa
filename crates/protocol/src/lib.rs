//! The replication protocol of Trialogue: `PacificA` (Lin, Yang, Zhang, Zhou, MSR-TR-2008-25) as a pure state machine.
//!
//! A [`Replica`] is one object with one function: [`Replica::handle`] takes the time and an [`Event`] and returns
//! [`Effect`]s. It names no clock, file, thread or random number: whatever is not determined comes in as an event.
//!
//! # Words
//!
//! A **view** says who is **in sync**, that is, has persisted every acknowledged entry; its **primary** is the lowest
//! index among them. The **view register** holds the newest view and changes it by compare-and-swap. An **entry** is a
//! place in the log (its **op**) with a **record**; the **chain** is a running hash, so that equal (op, chain) on two
//! replicas proves equal histories. A **lease** lets a primary answer reads; **grace**, always longer, is how long a
//! secondary stays silent before it may take over. A database **remembers** the newest view that its replica has acted in,
//! and the identity of its register.
//!
//! ```text
//!            register read              primary lost, I am in sync
//!  Starting ───────────────▶ Secondary ────────────────────────────▶ Takeover
//!      │                      ▲  ▲  ▲      someone lower lives,          │
//!      │ every database empty │  │  └────── swap lost ◀──────────────────┤
//!      │ and no view          │  │                                       │ swap installed
//!      ▼                      │  │ superseded, handed over, unfit        ▼
//!  swap view 1 ───────────────┼──┴──────────────────────────────────  Primary
//!                             └─ snapshot installed
//! ```
//!
//! # The duties of a driver
//!
//! 1. Give every effect that can finish exactly one answer, as [`Effect`] says beside each, with the effect's token.
//! 2. Carry an effect out whenever it likes: where B must wait until A is durable, the core emits A, is told that A is
//!    done, and only then emits B. Store effects never overlap, because the core emits one at a time.
//! 3. Deliver the messages of one stream only while that stream lives; name each stream by a fresh [`StreamId`].
//! 4. Call [`Replica::handle`] with [`Event::Tick`] no later than [`Replica::next_deadline`].
//! 5. Say at the start whether the power has failed since the database was last known to be whole, and remember
//!    [`Effect::PowerFailureOver`]. Name each run of the process by a fresh [`Incarnation`], by which alone its death is proven.
//! 6. Decide nothing.
//!
//! # Invariants (asserted here, checked from outside by the stories)
//!
//! 1. A view number has one primary, and view numbers only grow.
//! 2. An acknowledged entry is in the log of every in-sync replica, from then on, for ever.
//! 3. Equal ops mean equal chains, unless one of the two is out of sync.
//! 4. No read that a primary answers misses a write acknowledged before the read began.
//! 5. An entry that was sent is never taken back in the same primacy.
#![no_std]

extern crate alloc;

mod clocks;
mod common;
mod doubt;
mod event;
mod forgetting;
mod identity;
mod impairment;
mod lease;
mod log;
mod memory;
mod next;
mod note;
mod primary;
mod probation;
mod proof_of_death;
pub mod recover;
mod replica;
mod secondary;
mod starting;
mod status;
mod store_health;
mod takeover;
mod time;
mod view;
mod writer;

pub use common::Identity;
pub use event::{Effect, Event, Message, RegisterRead, SwapOutcome};
pub use forgetting::{Forgetting, Remembering, Verdict, WallTime};
pub use identity::{
    DatabaseId, Incarnation, ReadId, RegisterId, ReplicaIndex, ReplicaSet, StreamId, Token, ViewNumber,
};
pub use impairment::Impairment;
pub use lease::Timing;
pub use log::{Chain, Entry, Op, Position, Record, Relation, relation};
pub use memory::Memory;
pub use note::{HaltReason, Note, RemovalReason, StepDownReason};
pub use proof_of_death::{FileIdentity, LockRecord};
pub use replica::Replica;
pub use status::{RoleName, Status};
pub use time::Time;
pub use view::{Member, Proposer, View};
