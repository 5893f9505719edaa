//! One replica's `SQLite` database: the log and the chat state, changed in one transaction.
//!
//! A [`Writer`] is the only one that changes it: it executes a batch and leaves the transaction open until the batch is
//! committed or rolled back (primary), or persists entries that were decided elsewhere (secondary). [`Readers`] answer
//! every question from connections of their own and see only what is committed.

mod apply;
mod columns;
mod compare;
mod conversations;
mod database;
mod error;
mod execute;
pub mod files;
mod forgotten;
mod log_table;
mod looks;
mod lookups;
mod memory;
mod message;
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
mod swap;
mod tables;
mod writer;

pub use compare::{Compared, Difference, compare_slice};
pub use conversations::{Conversation, UNREAD_MAX};
pub use database::{open_at_rest, open_existing_read_only};
pub use error::StoreError;
pub use execute::{Context, Executed, Room};
pub use log_table::DatabaseState;
pub use message::Message;
pub use ownership::{NO_FOLLOW, Owner, OwnershipError, check_file_ownership, check_ownership};
pub use pages::Page;
pub use reader::{Account, AccountsPage, LogPiece, Reader, Readers, Session};
pub use requests::KeptRequest;
pub use retention::LogRetention;
pub use slices::{Digested, RowKey, Slice, digest_slice, no_rows};
pub use snapshot::check_snapshot;
pub use stop::Stop;
pub use swap::{INCOMING_SUFFIX, finish_swap, move_aside, swap_in};
pub use tables::{TABLES, Table};
pub use writer::Writer;
