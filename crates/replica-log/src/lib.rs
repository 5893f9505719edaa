//! A replica's log on its disk: groups of entries in segments, each group written once and synced once.
//!
//! One thread has the [`Log`] and writes; any thread reads what is synced with a [`LogReader`], and prepares segments with
//! [`Spares`]. Operators [`look`] at a log that no process writes.
//!
//! # The files
//!
//! A log is a folder. A *segment* is a file that is named after the op of its first entry, in 20 digits. It is made with its
//! full length ([`SEGMENT_BYTES`], or what a single group needs), every byte written, and keeps that length while it is
//! written: so `fdatasync` has no metadata to write. It begins with a header (`header.rs`), and *groups* follow (`group.rs`),
//! each the entries that were appended together. A file that is no longer needed becomes a *spare* segment (`spare-N`) and is
//! used again; one that is being made is a *draft* (`draft-N`).
//!
//! Each use of a file has a number, drawn at random. It stands in the header and in each group, under their checksums: what an
//! earlier use has left is never taken for a group of this one.
//!
//! # A fresh segment
//!
//! The log goes on in a fresh segment at a start, after a write or a sync has failed, after a cut, and when a segment is full.
//! It is written under another name, synced, renamed, and the folder synced. But for a full segment, it begins with the last
//! group that stays, once more: that one shares a page with what is void, and at a start nothing proves that it was synced.
//! The header says which use it continues, and at which byte that one's part of the log ends. So from the rename on, all that
//! it does not continue is void, whatever it holds; and that bytes behind such an end do not read well means nothing.
//!
//! A segment that is no longer the newest and has much room unused gives it back, so that many starts cost little.
//!
//! # The end of the log
//!
//! A group is written after the one before was synced. So at a start the newest segment is read up to the first group that
//! is not sound, and that one is the torn end of the last write and is cut off, **unless** something proves that it was
//! synced: a header of any later group of this use behind it, or the segment's own header, which knows what was synced
//! together with it. Then it is damage, [`LogError::Damaged`], and nothing is changed: cutting there would lose what was
//! confirmed (Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage*, FAST 2018). In older segments, and
//! below the end that a header states, every group was synced: whatever is not sound there is damage, and is told to those
//! who read it.
//!
//! Reading is not evidence: after a failed sync the system's memory has pages that the disk has not, and a process that is
//! started after that reads them. So the last sound group is written anew and synced before [`Log::open`] returns.
//!
//! A write or a sync that fails closes the segment for ever, since no later sync tells what became of its pages. The log takes
//! nothing until [`Log::repair`] has gone on in a fresh one; what the failed call wrote is not in the log then. Only if the
//! process ends before that, the next start may find it, and then it counts.
//!
//! # Whose log it is
//!
//! The header has the identity of the database. To another database the log is not there ([`LogError::OtherDatabase`]). A log
//! that is created where another one was makes that one void with its first segment, which continues nothing.
//!
//! # Beside it
//!
//! What a database remembers of views is in two pages of a file of their own ([`MemoryFile`]).
//!
//! # Why not raft-engine
//!
//! `raft-engine`, the log of `TiKV`, has segments that are used again, one sync for several writers and years of use. But at a
//! start it cuts the log at the first bad group, whether or not what follows proves that the group was synced; it takes what the page cache shows for what the disk has; the checksums of its entries do not cover which use of a
//! file they were written in; a writer whose sync was done by another one is told success when that sync has failed; and it
//! brings thirty crates. The rules above are what this log is for, and they fit into one small crate.

mod at_rest;
mod bytes;
mod error;
mod fresh;
mod group;
mod groups;
mod header;
mod log;
mod memory;
mod reader;
mod segment;
mod shared;
mod spares;
mod survey;

pub use self::at_rest::{LogAtRest, look};
pub use self::error::LogError;
pub use self::log::{Limits, Log, SEGMENT_BYTES};
pub use self::memory::{MemoryFile, remembered};
pub use self::reader::{LogReader, Piece};
pub use self::spares::Spares;
