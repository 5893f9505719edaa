//! One replica of Trialogue as a server: it carries out what the protocol core decides, and speaks gRPC.
//!
//! ```text
//!   clients ──▶ chat_service ──▶ gateway ──┐                       ┌──▶ store_thread ──▶ SQLite
//!  pages ──▶ web ──▲                       ├──▶ driver ◀──▶ core ──┼──▶ register
//!   listeners ◀── delivery ◀───────────────┤    (one loop)         ├──▶ lock (proof of death)
//!   peers     ◀──▶ peers ◀─────────────────┘                       └──▶ peers
//! ```
//!
//! The driver performs effects and decides nothing; whatever depends on a role or a view is in crate `protocol`.

mod accounts;
mod attempts;
mod blocking;
mod broken_invariant;
mod caller;
mod challenges;
mod chat_service;
mod clock;
mod config;
mod connections;
mod conversations;
mod crowd;
mod data_folder;
mod delivery;
mod digest;
mod doorkeeper;
mod driver;
mod gateway;
mod handshake;
mod impairments;
mod key;
mod listen;
mod lock;
mod open_files;
mod passwords;
mod peer_clock;
mod peers;
mod power;
mod proof;
mod register;
mod registration;
mod replica_service;
mod room;
mod run;
mod sending;
mod serve;
mod snapshot_transfer;
mod store_thread;
mod timeline;
mod tokens;
mod unread;
mod unreadable;
mod web;

pub use broken_invariant::end_process_on_panic;
pub use config::{ConfigError, DATABASE_FILE, LOCK_FILE, REPLICAS_MAX, Settings};
pub use connections::serve_pages;
pub use data_folder::{SETTINGS_FILE, UP_LOCK_FILE, check_data_folder};
pub use digest::{digest_answer_is_proven, prove_digest_request};
pub use key::{ClusterKey, KeyError};
pub use lock::{FolderLock, LockError};
pub use proof::{Call, ClusterId, NO_REPLICA, Nonce, Proofs, Purpose, Side, draw_nonce};
pub use register::{FileRegister, MemoryRegister, RegisterError, ViewRegister};
pub use registration::prove_registration;
pub use run::{Ending, RunError, run};
pub use web::{HostName, playground_pages};
