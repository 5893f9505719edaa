//! Where the log of a database is.

use std::path::{Path, PathBuf};

/// The log is in the folder of this name, beside the database.
pub const LOG_FOLDER: &str = "log";

/// The folder of the log that belongs to the database at `path`.
pub fn log_folder(path: &Path) -> PathBuf {
    path.with_file_name(LOG_FOLDER)
}
