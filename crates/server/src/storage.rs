//! The storage of a replica at work: threads, each with one thing to write or to look at, carry out the core's effects.
//!
//! | thread | effects | has |
//! |---|---|---|
//! | `execute` | `Execute` | looks at the tables |
//! | `log` | `Log`, `Cut` | the log |
//! | `spares` | makes segments of the log before they are needed | |
//! | `tables` | `Apply`, `Remember`, `RepairStore`, and what `InstallSnapshot` ends with | the database, and the log while everything else is at rest |
//!
//! The log's thread and that of the tables never wait for each other's disk: what is to be applied is in memory still (`recent.rs`),
//! or is read from the log by the readers that the log has for that.

mod applying;
mod executing;
mod logging;
mod meeting;
mod recent;
mod shared_log;

pub(crate) use applying::Command as TablesCommand;
pub(crate) use executing::Execute;
pub(crate) use logging::Command as LogCommand;
pub(crate) use meeting::Meeting;
pub(crate) use shared_log::SharedLog;

use crate::incoming::Incoming;
use crate::room::{Room, SharedRoom};
use protocol::Op;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;
use store::{Decider, Limits, LogRetention, Readers, Storage};
use tokio::sync::mpsc;
use tracing::warn;

/// Where a replica's storage is, and by which rules it is kept.
pub(crate) struct Place {
    /// Of the database.
    pub(crate) path: PathBuf,
    /// The folder of the replica.
    pub(crate) folder: PathBuf,
    pub(crate) reserve: Option<u64>,
    pub(crate) retention: LogRetention,
    pub(crate) limits: Limits,
    pub(crate) readers: Arc<Readers>,
}

/// The queues of the threads. They end, and with them all writing, when this is dropped.
#[derive(Debug)]
pub(crate) struct Lanes {
    shared_log: Arc<SharedLog>,
    meeting: Meeting,
    execute: Sender<Execute>,
    log: Sender<LogCommand>,
    tables: Sender<TablesCommand>,
}

/// The threads, to wait for their end.
#[derive(Debug)]
pub(crate) struct Threads([JoinHandle<()>; 4]);

impl Lanes {
    /// The log, for reading.
    pub(crate) fn shared_log(&self) -> Arc<SharedLog> {
        self.shared_log.clone()
    }

    /// Where a reader asks to see the tables at an op.
    pub(crate) fn meeting(&self) -> Meeting {
        self.meeting.clone()
    }

    pub(crate) fn execute(&self, command: Execute) {
        send(&self.execute, command);
    }

    pub(crate) fn log(&self, command: LogCommand) {
        send(&self.log, command);
    }

    pub(crate) fn tables(&self, command: TablesCommand) {
        send(&self.tables, command);
    }
}

/// A thread ends when its queue is dropped, or after it has answered that the store is lost: a panic on it ends the process.
fn send<T>(lane: &Sender<T>, command: T) {
    if lane.send(command).is_err() {
        warn!("a thread of the storage has ended");
    }
}

impl Threads {
    /// Waits until all of them have ended; false if one has panicked.
    pub(crate) fn join(self) -> bool {
        // All of them, whatever becomes of the first.
        let ended = self.0.map(JoinHandle::join);
        ended.iter().all(Result::is_ok)
    }
}

/// Starts the threads.
pub(crate) fn start(
    stored: Storage,
    place: Place,
    answers: &mpsc::Sender<Incoming>,
) -> std::io::Result<(Lanes, Threads)> {
    let Place { path, folder, reserve, retention, limits, readers } = place;
    let Storage { writer, log, .. } = stored;
    let log = Arc::new(SharedLog::new(log));
    let ((execute, to_execute), (to_log, logging), (to_tables, applying)) = (channel(), channel(), channel());
    let shared_log = log.clone();
    let room = SharedRoom::new(Room::new(&folder, reserve));
    let decider = Decider::new(readers.clone());
    let executing = executing::Thread::new(decider, room.clone(), log.clone(), answers.clone());
    let meeting = Meeting::default();
    meeting.applied(writer.state().applied.op);
    let (spare_wanted, spares) = sync_channel(1);
    let log_thread =
        logging::Thread { log: log.clone(), path: path.clone(), answers: answers.clone(), spare_wanted };
    let tables = applying::Tables {
        writer,
        log,
        path,
        retention,
        limits,
        readers,
        to_log: to_log.clone(),
        meeting: meeting.clone(),
        recycled: Op(0),
    };
    let tables = applying::Thread::new(tables, room, answers.clone());
    let spawn = |name: &str| std::thread::Builder::new().name(name.into());
    let threads = [
        spawn("execute").spawn(move || executing.run(&to_execute))?,
        spawn("log").spawn(move || log_thread.run(&logging))?,
        spawn("spares").spawn(move || logging::make_spares(&spares))?,
        spawn("tables").spawn(move || tables.run(&applying))?,
    ];
    Ok((Lanes { shared_log, meeting, execute, log: to_log, tables: to_tables }, Threads(threads)))
}
