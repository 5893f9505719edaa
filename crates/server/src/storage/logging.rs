//! The thread that writes the log. What waits for it is written together, with one sync.

use super::SharedLog;
use crate::incoming::{Incoming, StoreAnswer};
use chat::Record;
use protocol::{Entry, Op, Position, Record as _, Token};
use replica_log::{Log, LogError, Spares};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;
use store::StoreError;
use tokio::sync::mpsc;
use tracing::warn;

/// Once the records of a group have this many bytes, no more entries are taken into it.
const GROUP_BYTES: usize = 4 << 20;

/// What the driver asks of the log.
#[derive(Debug)]
pub(crate) enum Command {
    /// Append these entries, durably.
    Log { token: Token, entries: Vec<Entry<Record>>, committed: Position },
    /// End the log at this place, durably: nothing above it was committed.
    Cut { token: Token, to: Position },
    /// Nothing up to here is needed any more.
    Recycle { up_to: Op },
}

pub(super) struct Thread {
    pub(super) log: Arc<SharedLog>,
    /// Of the database, which errors name.
    pub(super) path: PathBuf,
    pub(super) answers: mpsc::Sender<Incoming>,
    /// Asks for a spare segment, unless that was asked for already.
    pub(super) spare_wanted: SyncSender<Spares>,
}

/// Entries that are written together.
struct Group {
    tokens: Vec<Token>,
    entries: Vec<Entry<Record>>,
    /// How far the log is known to be committed.
    committed: Position,
}

impl Thread {
    pub(super) fn run(self, commands: &Receiver<Command>) {
        let mut waiting = VecDeque::new();
        while let Some(command) = waiting.pop_front().or_else(|| commands.recv().ok()) {
            waiting.extend(commands.try_iter());
            match command {
                Command::Log { token, entries, committed } => {
                    let mut group = Group { tokens: vec![token], entries, committed };
                    group.take_more(&mut waiting);
                    self.log(group);
                }
                Command::Cut { token, to } => {
                    let outcome = self.with_log(|log| log.cut(to, to));
                    // Where that failed the log may still end behind it, but nothing there is ever applied.
                    self.log.recent().cut(to.op);
                    self.answer(match outcome {
                        Ok(()) => StoreAnswer::Cut { token },
                        Err(error) => StoreAnswer::Failed { token, error },
                    });
                }
                Command::Recycle { up_to } => {
                    if let Some(log) = self.log.lock().as_mut() {
                        log.recycle(up_to);
                    }
                }
            }
        }
    }

    fn log(&self, group: Group) {
        let Group { tokens, entries, committed } = group;
        let append = |log: &mut Log| {
            log.append(&entries, committed)?;
            if log.is_half_full() {
                // An error means that the thread that makes spares is at it.
                let _ = self.spare_wanted.try_send(log.spares());
            }
            Ok(())
        };
        match self.with_log(append) {
            Ok(()) => {
                self.log.recent().logged(entries);
                for token in tokens {
                    self.answer(StoreAnswer::Logged { token });
                }
            }
            // The driver logs the first error.
            Err(error) => {
                let mut error = Some(error);
                for token in tokens {
                    let closed = || LogError::Closed { folder: self.path.with_file_name("log") }.into();
                    let error = error.take().unwrap_or_else(closed);
                    self.answer(StoreAnswer::Failed { token, error });
                }
            }
        }
    }

    fn with_log<T>(&self, work: impl FnOnce(&mut Log) -> Result<T, LogError>) -> Result<T, StoreError> {
        let mut log = self.log.lock();
        let log = log.as_mut().expect("the log is in its place while entries are logged");
        work(log).map_err(StoreError::from)
    }

    fn answer(&self, answer: StoreAnswer) {
        // An error means that the driver has ended, and with it this thread's queue.
        let _ = self.answers.blocking_send(Incoming::Store(answer));
    }
}

impl Group {
    /// Takes what waits right behind it, as long as that are entries and the group is not large.
    fn take_more(&mut self, waiting: &mut VecDeque<Command>) {
        let bytes = |entries: &[Entry<Record>]| -> usize {
            entries.iter().map(|entry| entry.record.encoded().len()).sum()
        };
        let mut size = bytes(&self.entries);
        while size < GROUP_BYTES
            && let Some(Command::Log { token, entries, committed }) =
                waiting.pop_front_if(|next| matches!(next, Command::Log { .. }))
        {
            size += bytes(&entries);
            self.tokens.push(token);
            self.entries.extend(entries);
            // A later one never says less.
            self.committed = committed;
        }
    }
}

/// For how many times as long as a piece of a spare segment took the disk is left to others, but no longer than the other: to the syncs
/// of the log, for which clients wait.
const SPARES_PAUSE: u32 = 3;
const SPARES_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Makes the spare segments that are asked for: so that no append waits until one is written. One that is not whole when the log's
/// thread ends is given up.
pub(super) fn make_spares(wanted: &Receiver<Spares>) {
    let pause = |took: Duration| {
        let pause = took.saturating_mul(SPARES_PAUSE).min(SPARES_PAUSE_MAX);
        // Another wish is for the one that is being made.
        match wanted.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
        }
    };
    while let Ok(spares) = wanted.recv() {
        if let Err(error) = spares.prepare(pause) {
            // The append that needs one makes it.
            warn!(%error, "no spare segment of the log could be made");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Fact, Millis};
    use files::ForgetfulFiles;
    use protocol::DatabaseId;
    use replica_log::Limits;
    use std::io::ErrorKind;
    use std::path::Path;
    use std::sync::mpsc::sync_channel;

    /// Batches are in flight behind each other: a batch that reached the log after the one before had failed ended the process.
    #[test]
    fn what_waits_behind_a_write_that_failed_fails_too() {
        let disk = ForgetfulFiles::default();
        let limits = Limits { segment_bytes: 16 << 10 };
        let files = Arc::new(disk.clone());
        let log =
            Log::create(files, Path::new("/replica/log"), DatabaseId([7; 16]), Position::ORIGIN, limits)
                .unwrap();
        let (answers, mut answered) = mpsc::channel(8);
        let (spare_wanted, _spares) = sync_channel(1);
        let thread = Thread {
            log: Arc::new(SharedLog::new(log)),
            path: "/replica/chat.db".into(),
            answers,
            spare_wanted,
        };
        let (commands, to_log) = std::sync::mpsc::channel();
        let running = std::thread::spawn(move || thread.run(&to_log));
        let mut end = Position::ORIGIN;
        let mut log_next = |token| {
            let entry =
                end.follow(Record::new(Millis(1), None, Fact::RequestsForgotten { before: Millis(1) }));
            end = entry.position();
            let command =
                Command::Log { token: Token(token), entries: vec![entry], committed: Position::ORIGIN };
            commands.send(command).unwrap();
            match answered.blocking_recv().unwrap() {
                Incoming::Store(answer) => answer,
                other => panic!("the log answers: {other:?}"),
            }
        };
        assert!(matches!(log_next(1), StoreAnswer::Logged { .. }));
        disk.fail_one_after(1, ErrorKind::Other);
        for token in [2, 3] {
            let answer = log_next(token);
            assert!(
                matches!(answer, StoreAnswer::Failed { token: Token(failed), .. } if failed == token),
                "{answer:?}"
            );
        }
        drop(commands);
        running.join().unwrap();
    }
}
