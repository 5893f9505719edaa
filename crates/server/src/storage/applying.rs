//! The thread that has the database: it applies entries, remembers views, repairs, and puts a snapshot in the place of all.

use super::logging;
use super::meeting::Meeting;
use super::shared_log::SharedLog;
use crate::incoming::{Incoming, StoreAnswer};
use crate::room::{RoomLeft, SharedRoom};
use chat::Record;
use files::RealFiles;
use protocol::{Entry, Memory, Op, Position, Timing, Token};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use store::{
    Check, Limits, LogRetention, Readers, Storage, StoreError, Writer, decode_entries, suspected, swap_in,
};
use tokio::sync::mpsc;
use tracing::warn;

/// How often it is looked whether the database's files are still where they were: once a beat.
const LOOK_EVERY: Duration = Timing::DEFAULT.beat_every;
/// After this time without anything to do, a large write-ahead log is given back.
const IDLE_FOR: Duration = Duration::from_secs(3);
/// A write-ahead log up to this size is kept, in bytes: what it has of the disk can be written to when that is full.
const WAL_BYTES_WORTH_KEEPING: u64 = 1 << 20;
/// Entries that are applied in one transaction have no more bytes than this, but for the last.
const APPLY_BYTES: usize = 1 << 20;

/// What the driver asks of the tables.
#[derive(Debug)]
pub(crate) enum Command {
    /// Apply what the log has, up to here.
    Apply { token: Token, up_to: Position },
    /// Remember this from now on, durably.
    Remember { token: Token, memory: Memory },
    /// Make certain what is on the disk, after a failure.
    Repair { token: Token },
    /// Replace the database by a snapshot that has arrived and was checked.
    SwapIn { token: Token },
}

impl Command {
    const fn token(&self) -> Token {
        match self {
            Self::Apply { token, .. }
            | Self::Remember { token, .. }
            | Self::Repair { token }
            | Self::SwapIn { token } => *token,
        }
    }
}

pub(super) struct Tables {
    pub(super) writer: Writer,
    pub(super) log: Arc<SharedLog>,
    pub(super) path: PathBuf,
    pub(super) retention: LogRetention,
    pub(super) limits: Limits,
    pub(super) readers: Arc<Readers>,
    pub(super) to_log: Sender<logging::Command>,
    pub(super) meeting: Meeting,
    /// How far the log was told to let go of its segments.
    pub(super) recycled: Op,
}

pub(super) struct Thread {
    tables: Tables,
    room: SharedRoom,
    answers: mpsc::Sender<Incoming>,
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

impl Thread {
    pub(super) fn new(tables: Tables, room: SharedRoom, answers: mpsc::Sender<Incoming>) -> Self {
        Self {
            tables,
            room,
            answers,
            looked_at: Instant::now(),
            said_lost: false,
            said_left: RoomLeft::Enough,
            idle_since: None,
            failed: None,
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let answer = match commands.recv_timeout(LOOK_EVERY) {
                Ok(command) => {
                    self.idle_since = Some(Instant::now());
                    let answer = self.carry_out(command);
                    self.tables.meeting.applied(self.tables.writer.state().applied.op);
                    Some(answer)
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tidy_up();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return self.tables.end(),
            };
            for answer in answer.into_iter().chain(self.look_around()) {
                let over = matches!(answer, StoreAnswer::Lost { .. });
                if self.answers.blocking_send(Incoming::Store(answer)).is_err() {
                    // The driver has ended: so does this thread.
                    if !over {
                        self.tables.end();
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
        let error = self.tables.check_files().err()?;
        self.said_lost = true;
        Some(StoreAnswer::FilesLost { error })
    }

    fn look_for_room(&mut self) -> Option<StoreAnswer> {
        let left = self.room.get().look();
        (std::mem::replace(&mut self.said_left, left) != left).then_some(StoreAnswer::Room(left))
    }

    /// Gives the room of a large write-ahead log back once there was nothing to do for a while.
    fn tidy_up(&mut self) {
        if self.idle_since.is_some_and(|since| since.elapsed() >= IDLE_FOR) {
            self.idle_since = None;
            // Working it into the database takes room at first: on a full disk it would be a failure of the store.
            let writer = &mut self.tables.writer;
            if writer.wal_bytes() > WAL_BYTES_WORTH_KEEPING && self.room.get().look() == RoomLeft::Enough {
                self.failed = writer.truncate_wal().err();
                self.tables.recycle();
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> StoreAnswer {
        let token = command.token();
        if let Some(error) = self.failed.take()
            && !matches!(command, Command::Repair { .. } | Command::SwapIn { .. })
        {
            return self.after_fault(token, error);
        }
        let done = match command {
            Command::Apply { up_to, .. } => {
                self.tables.apply(up_to).map(|applied| StoreAnswer::Applied { token, applied })
            }
            Command::Remember { memory, .. } => {
                self.tables.writer.remember(&memory).map(|()| StoreAnswer::Remembered { token })
            }
            Command::Repair { .. } => return self.repair(token),
            Command::SwapIn { .. } => return self.swap_in(token),
        };
        done.unwrap_or_else(|error| self.after_fault(token, error))
    }

    fn after_fault(&mut self, token: Token, error: StoreError) -> StoreAnswer {
        self.tables.writer.distrust();
        StoreAnswer::Failed { token, error }
    }

    fn repair(&mut self, token: Token) -> StoreAnswer {
        // What was found in the tables beside their use is not written anew: another database takes their place.
        match suspected(&self.tables.path) {
            Ok(None) => {}
            Ok(Some(what)) => return StoreAnswer::Failed { token, error: self.tables.lacks(what) },
            Err(error) => return StoreAnswer::Failed { token, error },
        }
        match self.tables.repair() {
            Ok((logged, applied)) => {
                self.said_lost = false;
                StoreAnswer::Repaired { token, logged, applied }
            }
            // The next start moves it aside.
            Err(error @ StoreError::Corrupt { .. }) => StoreAnswer::Lost { error },
            Err(error) => StoreAnswer::Failed { token, error },
        }
    }

    fn swap_in(&mut self, token: Token) -> StoreAnswer {
        match self.tables.swap_in() {
            Ok(()) => {
                self.said_lost = false;
                let state = self.tables.writer.state();
                StoreAnswer::SwappedIn { token, database: state.database, position: state.applied }
            }
            Err(error) => StoreAnswer::Lost { error },
        }
    }
}

impl Tables {
    /// Applies the next entries of the log, up to a place or to as many as one transaction takes.
    fn apply(&mut self, up_to: Position) -> Result<Position, StoreError> {
        let applied = self.writer.state().applied;
        let stop = self.meeting.stop(applied.op, up_to.op);
        let mut entries = self.log.recent().after(applied, stop, APPLY_BYTES);
        if entries.is_empty() {
            entries = self.read_log(applied, stop)?;
        }
        let end = self.writer.apply(&entries)?;
        if end.op == applied.op || (end.op == up_to.op && end != up_to) {
            return Err(self.lacks(format!("the log ends with {end}, and {up_to} is committed")));
        }
        self.log.recent().applied(end.op);
        self.recycle();
        Ok(end)
    }

    fn read_log(&self, applied: Position, up_to: Op) -> Result<Vec<Entry<Record>>, StoreError> {
        let mut piece = self.log.reader().read_after(applied.op, APPLY_BYTES)?;
        if piece.chain != Some(applied.chain) {
            return Err(self.lacks(format!("the log does not have what follows {applied}")));
        }
        piece.entries.retain(|entry| entry.op <= up_to);
        decode_entries(&self.path, piece.entries)
    }

    fn lacks(&self, what: String) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), what }
    }

    /// Lets the log go of what is safe in the tables and not to be kept.
    fn recycle(&mut self) {
        let applied = self.writer.state().applied.op;
        let up_to = self.retention.recyclable(applied, self.writer.checkpointed());
        if up_to > self.recycled {
            self.recycled = up_to;
            // An error means that the log's thread has ended.
            let _ = self.to_log.send(logging::Command::Recycle { up_to });
        }
    }

    /// Whether the paths of the database and the log still lead to the files that are open.
    fn check_files(&self) -> Result<(), StoreError> {
        self.writer.check_files()?;
        if self.log.reader().check_files().is_err() {
            // Looked at again while no segment is begun or recycled.
            let _at_rest = self.log.lock();
            self.log.reader().check_files()?;
        }
        Ok(())
    }

    /// Writes anew whatever may not be durable. Returns where the log and the tables end.
    fn repair(&mut self) -> Result<(Position, Position), StoreError> {
        let (readers, writer) = (self.readers.clone(), &mut self.writer);
        let applied = readers.while_closed(|| writer.repair())?.applied;
        readers.make_ready();
        let mut log = self.log.lock();
        let log = log.as_mut().expect("the log is in its place while the store is repaired");
        log.reader().check_files()?;
        log.repair()?;
        self.log.recent().forget();
        Ok((log.end(), applied))
    }

    /// The snapshot becomes the database, with an empty log behind it.
    fn swap_in(&mut self) -> Result<(), StoreError> {
        let readers = self.readers.clone();
        let log = readers.while_closed(|| {
            self.writer.close()?;
            *self.log.lock() = None;
            swap_in(&RealFiles, &self.path)?;
            // It was looked at as a whole when it had arrived.
            let opened = Storage::open(&self.path, self.retention.clone(), self.limits, Check::Ends)?;
            let Storage { writer, log, .. } = opened;
            self.writer = writer;
            Ok::<_, StoreError>(log)
        })?;
        self.log.replace(log);
        self.recycled = Op(0);
        self.readers.make_ready();
        Ok(())
    }

    /// What is applied goes into the database itself, so that the folder of a replica that has ended holds few files.
    fn end(&mut self) {
        self.readers.close_idle();
        if let Err(error) = self.writer.truncate_wal() {
            warn!(%error, "the write-ahead log stays as it is; the next start reads it");
        }
    }
}
