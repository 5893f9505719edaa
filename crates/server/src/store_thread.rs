//! The store's thread: carries out the core's store effects, one at a time, in the order they come.

use crate::driver::Incoming;
use chat::{Record, Request};
use protocol::{DatabaseId, Entry, Memory, Position, Token};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use store::files::RealFiles;
use store::{Context, Executed, LogRetention, Readers, StoreError, Writer, swap_in};
use tokio::sync::mpsc;

/// What the driver asks of the store.
#[derive(Debug)]
pub(crate) enum Command {
    Execute {
        token: Token,
        requests: Vec<Request>,
        context: Context,
    },
    Commit {
        token: Token,
        memory: Option<Memory>,
    },
    RollBack {
        token: Token,
    },
    Persist {
        token: Token,
        entries: Vec<Entry<Record>>,
    },
    Remember {
        token: Token,
        memory: Memory,
    },
    /// Replace the database by a snapshot that has arrived and was checked.
    SwapIn {
        token: Token,
    },
}

/// What the store answers.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    Executed {
        token: Token,
        executed: Executed,
    },
    Committed {
        token: Token,
    },
    RolledBack {
        token: Token,
    },
    Persisted {
        token: Token,
    },
    Remembered {
        token: Token,
    },
    SwappedIn {
        token: Token,
        database: DatabaseId,
        position: Position,
    },
    /// The disk failed; the log ends here, as read back from it.
    Failed {
        token: Token,
        position: Position,
        error: StoreError,
    },
    /// The disk failed, and can't even be read back: this process can't go on.
    Lost {
        error: StoreError,
    },
}

struct StoreThread {
    writer: Writer,
    path: PathBuf,
    retention: LogRetention,
    readers: Arc<Readers>,
}

/// Starts the thread; it ends, and with it all writing, when the returned sender is dropped.
pub(crate) fn start(
    writer: Writer,
    path: PathBuf,
    retention: LogRetention,
    readers: Arc<Readers>,
    answers: mpsc::Sender<Incoming>,
) -> std::io::Result<(Sender<Command>, JoinHandle<()>)> {
    let (commands, received) = channel();
    let thread = StoreThread { writer, path, retention, readers };
    let thread =
        std::thread::Builder::new().name("store".into()).spawn(move || thread.run(&received, &answers))?;
    Ok((commands, thread))
}

impl StoreThread {
    fn run(mut self, commands: &Receiver<Command>, answers: &mpsc::Sender<Incoming>) {
        while let Ok(command) = commands.recv() {
            let answer = self.carry_out(command);
            let over = matches!(answer, StoreAnswer::Lost { .. });
            // The driver has ended: so does this thread, and with it whatever transaction is open.
            if answers.blocking_send(Incoming::Store(answer)).is_err() || over {
                return;
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> StoreAnswer {
        match command {
            Command::Execute { token, requests, context } => match self.writer.execute(&requests, &context) {
                Ok(executed) => StoreAnswer::Executed { token, executed },
                Err(error) => self.after_fault(token, error),
            },
            Command::Commit { token, memory } => {
                let remembered = memory.map_or(Ok(()), |memory| self.writer.remember(&memory));
                match remembered.and_then(|()| self.writer.commit()) {
                    Ok(_) => StoreAnswer::Committed { token },
                    Err(error) => self.after_fault(token, error),
                }
            }
            Command::Remember { token, memory } => match self.writer.remember(&memory) {
                Ok(()) => StoreAnswer::Remembered { token },
                Err(error) => self.after_fault(token, error),
            },
            Command::RollBack { token } => match self.writer.roll_back() {
                Ok(()) => StoreAnswer::RolledBack { token },
                Err(error) => self.after_fault(token, error),
            },
            Command::Persist { token, entries } => match self.writer.persist(&entries) {
                Ok(_) => StoreAnswer::Persisted { token },
                Err(error) => self.after_fault(token, error),
            },
            Command::SwapIn { token } => self.swap_in(token),
        }
    }

    fn after_fault(&mut self, token: Token, error: StoreError) -> StoreAnswer {
        match self.writer.recover() {
            Ok(identity) => StoreAnswer::Failed { token, position: identity.position, error },
            Err(error) => StoreAnswer::Lost { error },
        }
    }

    fn swap_in(&mut self, token: Token) -> StoreAnswer {
        let readers = self.readers.clone();
        let swapped = readers.while_closed(|| {
            self.writer.close()?;
            swap_in(&RealFiles, &self.path)?;
            self.writer = Writer::open(&self.path, self.retention.clone())?;
            Ok(self.writer.identity())
        });
        match swapped {
            Ok(identity) => {
                StoreAnswer::SwappedIn { token, database: identity.database, position: identity.position }
            }
            Err(error) => StoreAnswer::Lost { error },
        }
    }
}
