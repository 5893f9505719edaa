//! How a command fails: one line on stderr and an exit code that means something.

use client::ClientError;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, or something broke: exit code 1.
    Failed(String),
    /// The arguments do not go together: exit code 2.
    Usage(String),
    /// No replica served in time: exit code 3.
    NobodyServed(String),
    /// Done, and kept on fewer replicas than were asked for: exit code 4.
    KeptOnFewer(String),
    /// The problem was reported already: exit code 1.
    Reported,
    /// The reader of our output has closed it; that is no failure.
    PipeClosed,
}

impl Failure {
    /// Prints the line and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (line, code) = match self {
            Self::Failed(line) => (line, 1),
            Self::Usage(line) => (line, 2),
            Self::NobodyServed(line) => (line, 3),
            Self::KeptOnFewer(line) => (line, 4),
            Self::Reported => return ExitCode::FAILURE,
            Self::PipeClosed => return ExitCode::SUCCESS,
        };
        complain(&line);
        ExitCode::from(code)
    }

    /// What it says, if there is anything left to say.
    pub(crate) fn sentence(self) -> String {
        match self {
            Self::Failed(line) | Self::Usage(line) | Self::NobodyServed(line) | Self::KeptOnFewer(line) => {
                line
            }
            Self::Reported | Self::PipeClosed => String::new(),
        }
    }

    /// What was done before this went wrong stays done: both are said.
    pub(crate) fn after(self, done: &str) -> Self {
        let both = |line: String| format!("{done}, but: {line}");
        match self {
            Self::Failed(line) => Self::Failed(both(line)),
            Self::Usage(line) => Self::Usage(both(line)),
            Self::NobodyServed(line) => Self::NobodyServed(both(line)),
            Self::KeptOnFewer(line) => Self::KeptOnFewer(both(line)),
            Self::Reported | Self::PipeClosed => self,
        }
    }

    /// A fault of whatever kind, with its sentence.
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// One line on stderr, and nothing that could drive a terminal, whatever its source.
pub(crate) fn complain(line: &str) {
    let line = chat::harmless_line(line);
    // With stderr gone it can't be reported.
    let _ = writeln!(io::stderr(), "trialogue: {line}");
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NobodyServed { .. } | ClientError::Abandoned => {
                Self::NobodyServed(error.to_string())
            }
            ClientError::Refused { .. } => Self::Failed(error.to_string()),
            ClientError::KeptOnFewer { .. } => Self::KeptOnFewer(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    /// Standard input and output are what is left to fail here; files name their paths.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Failed(error.to_string())
        }
    }
}
