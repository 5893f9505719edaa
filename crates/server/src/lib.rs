//! One replica of Trialogue as a server: it carries out what the protocol core decides, and speaks gRPC.
//!
//! ```text
//!   clients ──▶ grpc ──┐
//!   pages   ──▶ web  ──┴─▶ service ──▶ gateway ──┐                       ┌──▶ storage ──▶ log, SQLite
//!                                                ├──▶ driver ◀──▶ core ──┼──▶ register
//!   listeners ◀── delivery ◀─────────────────────┤    (one loop)         ├──▶ lock (proof of death)
//!   replicas  ◀──▶ peers ◀───────────────────────┘                       └──▶ peers
//! ```
//!
//! The driver performs effects and decides nothing; whatever depends on a role or a view is in crate `protocol`.

mod before_log;
mod blocking;
mod broken_invariant;
mod caller;
mod challenges;
mod clock;
mod config;
mod connections;
mod crowd;
mod data_folder;
mod delivery;
mod doorkeeper;
mod driver;
mod gateway;
mod grpc;
mod grpc_calls;
mod handshake;
mod host_name;
mod impairments;
mod incoming;
mod inspection;
mod key;
mod lock;
mod open_files;
mod peer_clock;
mod peers;
mod power;
mod proof;
mod published;
mod register;
mod replica_service;
mod room;
mod run;
mod run_error;
mod serve;
mod service;
mod snapshot_transfer;
mod storage;
mod timeline;
mod web;

pub use broken_invariant::end_process_on_panic;
pub use config::{ConfigError, DATABASE_FILE, LOCK_FILE, REPLICAS_MAX, Settings};
pub use connections::serve_pages;
pub use data_folder::{SETTINGS_FILE, UP_LOCK_FILE, check_data_folder};
pub use host_name::HostName;
pub use key::{ClusterKey, KeyError};
pub use lock::{FolderLock, LockError};
pub use proof::{Call, ClusterId, NO_REPLICA, Nonce, Proofs, Purpose, Side, draw_nonce};
pub use register::{FileRegister, MemoryRegister, RegisterError, ViewRegister};
pub use run::{Ending, run};
pub use run_error::RunError;
pub use service::{digest_answer_is_proven, prove_digest_request, prove_registration};
pub use web::playground_pages;
