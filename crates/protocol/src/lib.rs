//! The replication protocol of Trialogue: `PacificA` (Lin, Yang, Zhang, Zhou, MSR-TR-2008-25) as a pure state machine.
//!
//! A [`Replica`] is one object with one function: [`Replica::handle`] takes the time and an [`Event`] and returns
//! [`Effect`]s. It names no clock, file, thread or random number: whatever is not determined comes in as an event.
//!
//! # Words
//!
//! A **view** says who is **in sync**, that is, has logged every acknowledged entry; its **primary** is the lowest
//! index among them. The **view register** holds the newest view and changes it by compare-and-swap. An **entry** is a
//! place in the log (its **op**) with a **record**; the **chain** is a running hash, so that equal (op, chain) on two
//! replicas proves equal histories. A replica **logs** an entry (durably), a secondary **confirms** to the primary what it has
//! logged, an entry is **committed** once every replica in sync has logged it, and each replica **applies** what is committed
//! to its tables: `applied <= committed <= logged`. A **lease** lets a primary answer reads; **grace**, always longer, is how long a
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
//!                             └─ snapshot installed, log cut
//! ```
//!
//! # The duties of a driver
//!
//! 1. Give every effect that can finish exactly one answer, as [`Effect`] says beside each, with the effect's token.
//! 2. Carry an effect out whenever it likes: where B must wait until A is durable, the core emits A, is told that A is
//!    done, and only then emits B. Of the store's effects, `Log`s may overlap, and are carried out and answered in their order;
//!    beside them at most one `Execute`, one `Apply` and one `Remember` are under way; while one of `Cut`, `InstallSnapshot` and
//!    `RepairStore` is, nothing else is.
//! 3. Deliver the messages of one stream only while that stream lives; name each stream by a fresh [`StreamId`].
//! 4. Call [`Replica::handle`] with [`Event::Tick`] no later than [`Replica::next_deadline`].
//! 5. Say at the start whether the power has failed since the database was last known to be whole, and remember
//!    [`Effect::PowerFailureOver`]. Name each run of the process by a fresh [`Incarnation`], by which alone its death is proven.
//! 6. Decide nothing.
//!
//! # A driver in memory
//!
//! One replica alone, from an empty register to the first answer: what a driver does with each effect.
//!
//! ```
//! use protocol::*;
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Hash)]
//! struct Word(&'static [u8]);
//! impl Record for Word {
//!     fn encoded(&self) -> &[u8] {
//!         self.0
//!     }
//! }
//!
//! let (now, mut end) = (Time::from_micros(0), Position::ORIGIN);
//! let mut replica = Replica::new(
//!     Identity {
//!         index: ReplicaIndex(0),
//!         all: ReplicaSet::first(1),
//!         incarnation: Incarnation(1),
//!         database: DatabaseId([7; 16]),
//!         logged: end,
//!         committed: end,
//!         applied: end,
//!         after_power_failure: false,
//!         remembered: None,
//!     },
//!     Timing::DEFAULT,
//!     Bounds::DEFAULT,
//!     now,
//! );
//! let (mut events, mut installed, mut answered) = (vec![Event::Tick], None, false);
//! while let Some(event) = events.pop() {
//!     for effect in replica.handle(now, event) {
//!         events.extend(match effect {
//!             Effect::ReadRegister { token } => {
//!                 Some(Event::RegisterRead { token, outcome: RegisterRead::Empty })
//!             }
//!             Effect::Swap { token, view, .. } => {
//!                 installed = Some(view);
//!                 Some(Event::SwapAnswered { token, outcome: SwapOutcome::Installed })
//!             }
//!             Effect::Remember { token, .. } => Some(Event::Remembered { token }),
//!             Effect::Serve { .. } => Some(Event::RequestsWaiting),
//!             Effect::Execute { token, .. } => {
//!                 let entry = end.follow(Word(b"hello"));
//!                 end = entry.position();
//!                 Some(Event::BatchExecuted { token, entries: vec![entry], barrier: false })
//!             }
//!             Effect::Log { token, .. } => Some(Event::Logged { token }),
//!             Effect::Apply { token, up_to } => Some(Event::Applied { token, applied: up_to }),
//!             Effect::Answer { copies, .. } => {
//!                 answered = copies == 1;
//!                 None
//!             }
//!             // No peer, no failure, and nothing to be read here.
//!             _ => None,
//!         });
//!     }
//! }
//! assert!(answered);
//! assert_eq!(replica.status(now).position, end);
//! assert_eq!(replica.status(now).view, installed);
//! ```
//!
//! # Invariants
//!
//! Those of the whole service, under the same numbers everywhere (ARCHITECTURE.md): assertions here say which of them a
//! broken state would violate, and the simulator looks at all of them from outside after every event.
//!
//! 1. A view number has one primary, and view numbers only grow.
//! 2. An acknowledged entry is in the log of every replica that is in sync.
//! 3. Two replicas in sync that have the same op have the same chain at it.
//! 4. No read that a primary answers misses a write that was acknowledged before the read began.
//! 5. A request id takes effect at most once; its retries get the same answer.
//! 6. A listener that resumes from its cursor sees every message once, in growing order.
//! 7. When faults stop, service returns within a bounded time.
//! 8. What is sent by one stream takes effect in the order in which it was sent, over all fail-overs.
//! 9. A client that asks for a number of copies is told "done" only when that many replicas in sync hold it.
#![no_std]

extern crate alloc;

mod bounds;
mod clocks;
mod commit_point;
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
mod store_work;
mod takeover;
mod time;
mod view;

pub use bounds::Bounds;
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
