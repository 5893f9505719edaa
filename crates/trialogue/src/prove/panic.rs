//! A panic of a replica, as its log tells it.

use std::fmt;

/// The line of a panic in a log says where it was, the next one says what was wrong.
const MARK: &str = "panicked at";

/// How many lines of a log are repeated, from the panic's own on.
const LINES: usize = 4;

/// What the log of a replica says of the first panic in it.
#[derive(Clone, Debug)]
pub(crate) struct Panic {
    replica: usize,
    message: String,
}

impl Panic {
    pub(super) fn find(replica: usize, log: &str) -> Option<Self> {
        let mut from_the_panic = log.lines().skip_while(|line| !line.contains(MARK)).peekable();
        from_the_panic.peek()?;
        let message = from_the_panic.take(LINES).collect::<Vec<_>>().join("\n  ");
        Some(Self { replica, message })
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "replica {} has panicked:\n  {}", self.replica, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in which the word alone was looked for said that there was a panic, and not which.
    #[test]
    fn what_a_panic_says_is_repeated() {
        let log =
            "INFO serving\n\nthread 'log' (7) panicked at crates/x.rs:1:2:\nop 3 is gone\nnote: run with\n";
        let panic = Panic::find(1, log).unwrap().to_string();
        assert_eq!(
            panic,
            "replica 1 has panicked:\n  thread 'log' (7) panicked at crates/x.rs:1:2:\n  op 3 is gone\n  note: run with"
        );
        assert!(Panic::find(1, "WARN a thread of the storage has panicked\n").is_none());
    }
}
