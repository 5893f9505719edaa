//! The limit on open files, which is one on connections too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files that a replica opens for itself: its database and readers of it, the log, the register, the streams to its peers.
const OWN_FILES: usize = 128;
/// More open files than that are of no use to it.
const OPEN_FILES_ENOUGH: usize = 65_536;

/// How many connections this process can hold besides what it needs for itself: as many files as it may open, which is
/// raised to what the system allows, without those of its database and of what it has to write.
pub(crate) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let open_files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!(%error, "the limit on open files stays as it is");
            limit.current
        }
    };
    let open_files =
        open_files.map_or(OPEN_FILES_ENOUGH, |files| usize::try_from(files).unwrap_or(OPEN_FILES_ENOUGH));
    let own = OWN_FILES.min(open_files / 2);
    open_files.min(OPEN_FILES_ENOUGH) - own
}
