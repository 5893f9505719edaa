//! Signals. One that was ignored when this process began stays ignored, as `nohup` and shells mean it: only what was not is
//! caught.

use std::io;
use std::sync::OnceLock;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Bit `n - 1` is set if signal `n` was ignored at the start.
static IGNORED: OnceLock<u64> = OnceLock::new();

/// Notes which signals are ignored; to be called before anything is caught.
pub(crate) fn note() {
    // Where this can't be told, as on another system than Linux, none counts as ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    IGNORED.get_or_init(|| ignored(&status));
}

fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_ignored(kind: SignalKind) -> bool {
    let mask = IGNORED.get().copied().unwrap_or(0);
    u32::try_from(kind.as_raw_value() - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// One kind of signal, if it is not ignored.
#[derive(Debug)]
pub(crate) struct Caught(Option<Signal>);

impl Caught {
    pub(crate) fn new(kind: SignalKind) -> io::Result<Self> {
        Ok(Self(if is_ignored(kind) { None } else { Some(signal(kind)?) }))
    }

    /// Waits for it; for ever, if it is ignored.
    pub(crate) async fn received(&mut self) {
        if let Some(signal) = &mut self.0 {
            // The stream of a signal never ends.
            signal.recv().await;
        } else {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for Ctrl-C.
pub(crate) async fn interrupted() -> io::Result<()> {
    Caught::new(SignalKind::interrupt())?.received().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_the_kernel_is_understood() {
        let status = "Name:\ttrialogue\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 0x1003);
        assert_eq!(ignored("nothing of the kind"), 0);
    }
}
