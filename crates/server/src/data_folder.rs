//! The data folder: whose it must be.

use std::path::Path;
use store::{OwnershipError, check_ownership};

/// The settings in the data folder of `up`.
pub const SETTINGS_FILE: &str = "trialogue.toml";
/// Held by the running `up`.
pub const UP_LOCK_FILE: &str = "up.lock";
pub(crate) const KEY_FILE: &str = "cluster.key";
pub(crate) const REGISTER_FOLDER: &str = "register";
pub(crate) const REPLICA_FOLDER_PREFIX: &str = "replica-";

/// Looks whether a data folder belongs to the user who runs this process, before anything is made in it. Settings may be
/// root's: they are only read.
pub fn check_data_folder(data: &Path) -> Result<(), OwnershipError> {
    let ours = |name: &str| {
        [SETTINGS_FILE, UP_LOCK_FILE, KEY_FILE, REGISTER_FOLDER].contains(&name)
            || name.starts_with(REPLICA_FOLDER_PREFIX)
    };
    check_ownership(data, ours, |name| name == SETTINGS_FILE)
}
