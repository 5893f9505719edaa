//! One replica's `SQLite` database: the chat as its log has made it, up to a place.
//!
//! The log is a folder of files beside the database (`replica_log`): what is in it counts, and each entry is there first. [`Storage`]
//! opens the two together. A [`Decider`] decides what requests come to, ahead of the tables. A [`Writer`] is the only one that changes the database: it applies entries that are committed, many
//! in one transaction, and remembers what only this replica has to know. [`Readers`] answer every question from connections
//! of their own and see only what is applied.

mod applied;
mod apply;
mod at_rest;
mod before_log;
mod cache;
mod caller;
mod columns;
mod compare;
mod context;
mod conversations;
mod database;
mod decide;
mod decider;
mod error;
pub mod filling;
mod forgotten;
mod inspection;
mod known;
mod log_folder;
mod log_rows;
mod looks;
mod members;
mod memory;
mod message;
mod migration;
mod overlay;
mod ownership;
mod pages;
mod reader;
mod records;
mod repair;
mod request_ids;
mod requests;
mod retention;
mod row_key;
mod sessions;
mod slices;
mod snapshot;
mod soundness;
mod state;
mod stop;
mod storage;
mod suffix;
mod suspect;
mod swap;
mod tables;
mod taken;
mod wal;
mod writer;

pub use at_rest::{AtRest, level};
pub use before_log::{BEFORE_LOG_SUFFIX, remove_before_log};
pub use compare::{Compared, Difference, compare_slice};
pub use context::{Context, Room};
pub use conversations::{Conversation, UNREAD_MAX};
pub use database::{open_at_rest, open_existing_read_only};
pub use decider::{Decider, Executed};
pub use error::StoreError;
pub use inspection::Inspection;
pub use log_folder::{LOG_FOLDER, log_folder};
pub use message::Message;
pub use ownership::{Owner, OwnershipError, check_file_ownership, check_ownership};
pub use pages::Page;
pub use reader::{Account, AccountsPage, Reader, Readers, Session};
pub use records::decode_entries;
pub use replica_log::Limits;
pub use requests::KeptRequest;
pub use retention::LogRetention;
pub use row_key::{RowKey, Slice};
pub use slices::{Digested, digest_slice, no_rows};
pub use snapshot::check_snapshot;
pub use soundness::Check;
pub use state::DatabaseState;
pub use stop::Stop;
pub use storage::Storage;
pub use suspect::{suspect_damage, suspected};
pub use swap::{INCOMING_SUFFIX, finish_swap, swap_in};
pub use tables::{TABLES, Table};
pub use writer::Writer;
