//! The workspace itself, for the tests that look at its files.

use std::path::Path;

/// Its crates, but for the tests of whole processes.
pub const CRATES: [&str; 11] = [
    "protocol",
    "chat",
    "files",
    "replica-log",
    "store",
    "api",
    "server",
    "client",
    "people",
    "simulator",
    "trialogue",
];

/// Its folder.
///
/// # Panics
/// Never: the tests lie in a folder of it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
