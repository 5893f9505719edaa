//! One replica's `SQLite` database: the log and the chat state, changed in one transaction.
//!
//! A [`Writer`] is the only one that changes it: it executes a batch and leaves the transaction open until the batch is
//! committed or rolled back (primary), or persists entries that were decided elsewhere (secondary). [`Readers`] answer
//! every question from connections of their own and see only what is committed.

mod apply;
mod compare;
mod conversations;
mod error;
mod execute;
mod file;
pub mod files;
mod forgotten;
mod looks;
mod lookups;
mod memory;
mod ownership;
mod pages;
mod reader;
mod repair;
mod requests;
mod retention;
mod slices;
mod snapshot;
mod soundness;
mod stop;
mod writer;

pub use compare::{Compared, Difference, compare_slice};
pub use conversations::{Conversation, UNREAD_MAX};
pub use error::StoreError;
pub use execute::{Context, Executed, Room};
pub use file::{Identity, move_aside, open_at_rest, open_existing_read_only};
pub use ownership::{NO_FOLLOW, Owner, OwnershipError, check_file_ownership, check_ownership};
pub use pages::Page;
pub use reader::{Account, AccountsPage, LogPiece, Message, Reader, Readers, Session};
pub use requests::KeptRequest;
pub use retention::LogRetention;
pub use slices::{Digested, RowKey, Slice, TABLES, Table, digest_slice, no_rows};
pub use snapshot::{INCOMING_SUFFIX, check_snapshot, finish_swap, swap_in};
pub use stop::Stop;
pub use writer::Writer;
