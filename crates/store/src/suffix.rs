//! The names of files that stand beside a database: its own, and a suffix.

use std::path::{Path, PathBuf};

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
