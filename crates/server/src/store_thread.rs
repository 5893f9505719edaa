//! The store's thread: carries out the core's store effects, one at a time, in the order they come.

use crate::incoming::{Incoming, StoreAnswer};
use crate::room::{Room, RoomLeft};
use chat::{Record, Request};
use protocol::{Entry, Memory, Timing, Token};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::files::RealFiles;
use store::{Context, LogRetention, Readers, StoreError, Writer, swap_in};
use tokio::sync::mpsc;
use tracing::warn;

/// How often it is looked whether the database's files are still where they were: once a beat.
const LOOK_EVERY: Duration = Timing::DEFAULT.beat_every;

/// After this time without anything to do, a large write-ahead log is given back.
const IDLE_FOR: Duration = Duration::from_secs(3);
/// A write-ahead log up to this size is kept, in bytes: what it has of the disk can be written to when that is full.
const LOG_BYTES_WORTH_KEEPING: u64 = 1 << 20;

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
    /// Make certain what is on the disk, after a failure.
    Repair {
        token: Token,
    },
    /// Replace the database by a snapshot that has arrived and was checked.
    SwapIn {
        token: Token,
    },
}

impl Command {
    const fn token(&self) -> Token {
        match self {
            Self::Execute { token, .. }
            | Self::Commit { token, .. }
            | Self::RollBack { token }
            | Self::Persist { token, .. }
            | Self::Remember { token, .. }
            | Self::Repair { token }
            | Self::SwapIn { token } => *token,
        }
    }
}

struct StoreThread {
    writer: Writer,
    path: PathBuf,
    retention: LogRetention,
    readers: Arc<Readers>,
    room: Room,
    looked_at: Instant,
    /// The driver knows that the files are lost.
    said_lost: bool,
    /// What the driver knows of the room that is left.
    said_left: RoomLeft,
    /// Since when there was nothing to do, and nothing has been done about it.
    idle_since: Option<Instant>,
    /// What failed while there was no command: the next effect fails of it.
    failed: Option<StoreError>,
}

/// Starts the thread; it ends, and with it all writing, when the returned sender is dropped.
pub(crate) fn start(
    writer: Writer,
    path: PathBuf,
    retention: LogRetention,
    readers: Arc<Readers>,
    room: Room,
    answers: mpsc::Sender<Incoming>,
) -> std::io::Result<(Sender<Command>, JoinHandle<()>)> {
    let (commands, received) = channel();
    let thread = StoreThread {
        writer,
        path,
        retention,
        readers,
        room,
        looked_at: Instant::now(),
        said_lost: false,
        said_left: RoomLeft::Enough,
        idle_since: None,
        failed: None,
    };
    let thread =
        std::thread::Builder::new().name("store".into()).spawn(move || thread.run(&received, &answers))?;
    Ok((commands, thread))
}

impl StoreThread {
    fn run(mut self, commands: &Receiver<Command>, answers: &mpsc::Sender<Incoming>) {
        loop {
            let answer = match commands.recv_timeout(LOOK_EVERY) {
                Ok(command) => {
                    self.idle_since = Some(Instant::now());
                    Some(self.carry_out(command))
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tidy_up();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            for answer in answer.into_iter().chain(self.look_around()) {
                let over = matches!(answer, StoreAnswer::Lost { .. });
                if answers.blocking_send(Incoming::Store(answer)).is_err() {
                    // The driver has ended: so does this thread, and with it whatever transaction is open.
                    if !over {
                        self.end();
                    }
                    return;
                }
                if over {
                    return;
                }
            }
        }
    }

    /// Looks once a beat what has become of the files and of the disk.
    fn look_around(&mut self) -> Vec<StoreAnswer> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Vec::new();
        }
        self.looked_at = Instant::now();
        self.look_for_room().into_iter().chain(self.look_for_files()).collect()
    }

    /// Says once that the files are lost. They are checked on this thread, where they can't be replaced meanwhile.
    fn look_for_files(&mut self) -> Option<StoreAnswer> {
        if self.said_lost {
            return None;
        }
        let error = self.writer.check_files().err()?;
        self.said_lost = true;
        Some(StoreAnswer::FilesLost { error })
    }

    fn look_for_room(&mut self) -> Option<StoreAnswer> {
        let left = self.room.look();
        (std::mem::replace(&mut self.said_left, left) != left).then_some(StoreAnswer::Room(left))
    }

    /// Gives the room of a large write-ahead log back once there was nothing to do for a while.
    fn tidy_up(&mut self) {
        if self.idle_since.is_some_and(|since| since.elapsed() >= IDLE_FOR) {
            self.idle_since = None;
            // Working the log into the database takes room at first: on a full disk it would be a failure of the store.
            if self.writer.log_bytes() > LOG_BYTES_WORTH_KEEPING && self.room.look() == RoomLeft::Enough {
                self.failed = self.writer.truncate_log().err();
            }
        }
    }

    /// What is committed goes into the database itself, so that the folder of a replica that has ended holds one file.
    fn end(&mut self) {
        let ended = self.writer.roll_back().and_then(|()| self.writer.truncate_log());
        if let Err(error) = ended {
            warn!(%error, "the write-ahead log stays as it is; the next start reads it");
        }
    }

    fn carry_out(&mut self, command: Command) -> StoreAnswer {
        if let Some(error) = self.failed.take() {
            let token = command.token();
            if !matches!(command, Command::Repair { .. } | Command::SwapIn { .. }) {
                return self.after_fault(token, error);
            }
        }
        match command {
            Command::Execute { token, requests, context } => {
                let room = self.room.look().for_a_batch(context.room == store::Room::TooLittle);
                let context = Context { room, ..context };
                match self.writer.execute(&requests, &context) {
                    Ok(executed) => StoreAnswer::Executed { token, executed },
                    Err(error) => self.after_fault(token, error),
                }
            }
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
            Command::Repair { token } => self.repair(token),
            Command::SwapIn { token } => self.swap_in(token),
        }
    }

    fn after_fault(&mut self, token: Token, error: StoreError) -> StoreAnswer {
        self.writer.distrust();
        StoreAnswer::Failed { token, error }
    }

    fn repair(&mut self, token: Token) -> StoreAnswer {
        let readers = self.readers.clone();
        match readers.while_closed(|| self.writer.repair()) {
            Ok(identity) => {
                self.said_lost = false;
                StoreAnswer::Repaired { token, position: identity.position }
            }
            // The next start moves it aside.
            Err(error @ StoreError::Corrupt { .. }) => StoreAnswer::Lost { error },
            Err(error) => StoreAnswer::Failed { token, error },
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
                self.said_lost = false;
                StoreAnswer::SwappedIn { token, database: identity.database, position: identity.position }
            }
            Err(error) => StoreAnswer::Lost { error },
        }
    }
}
