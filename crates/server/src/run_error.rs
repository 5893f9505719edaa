//! Why a replica could not start, or could not go on.

use crate::key::KeyError;
use crate::lock::LockError;
use crate::register::RegisterError;
use chat::Address;
use protocol::HaltReason;
use std::path::PathBuf;
use store::{OwnershipError, StoreError};
use thiserror::Error;
use tokio::task::JoinError;

/// Why a replica could not start, or could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The folder is in use or can't be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The data folder is another user's.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// There is no usable cluster key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The view register can't be used.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; stop what uses that port, or choose another with --port")]
    Listen {
        /// Which.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// The record of the machine's boots can't be used.
    #[error("the record of the machine's boots in {folder}: {source}")]
    BootRecord {
        /// The replica's folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No such replica is configured.
    #[error("there is no replica {index}: {replicas} are configured, from 0 on")]
    NoSuchReplica {
        /// Which.
        index: usize,
        /// How many there are.
        replicas: usize,
    },
    /// This run can't go on; the next one can.
    #[error("{0}")]
    Ends(HaltReason),
    /// The system gave no thread for the store.
    #[error("the store's thread could not be started: {0}")]
    StoreThread(std::io::Error),
    /// The address can't be served.
    #[error("the service can't be offered: {0}")]
    Serving(Box<dyn std::error::Error + Send + Sync>),
    /// The driver has ended although nothing asked it to.
    #[error("the driver of this replica ended by itself; its log says what came before")]
    DriverEnded,
    /// An invariant was found broken: the assertion in the log says which. This process must not go on.
    #[error("the driver of this replica broke; its log says which invariant did not hold: {0}")]
    Broken(JoinError),
}
