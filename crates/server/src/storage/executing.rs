//! The thread that decides batches.

use super::SharedLog;
use crate::incoming::{Incoming, StoreAnswer};
use crate::room::SharedRoom;
use chat::Request;
use protocol::Token;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use store::{Context, Decider};
use tokio::sync::mpsc;

/// A batch to decide.
#[derive(Debug)]
pub(crate) struct Execute {
    pub(crate) token: Token,
    pub(crate) requests: Vec<Request>,
    pub(crate) context: Context,
}

/// What is in the log and not in the tables is written twice more, to the write-ahead log and from there to the database, by each
/// of three replicas, which may share the disk.
const WRITTEN_AGAIN: u64 = 6;

pub(super) struct Thread {
    decider: Decider,
    room: SharedRoom,
    log: Arc<SharedLog>,
    answers: mpsc::Sender<Incoming>,
}

impl Thread {
    pub(super) fn new(
        decider: Decider,
        room: SharedRoom,
        log: Arc<SharedLog>,
        answers: mpsc::Sender<Incoming>,
    ) -> Self {
        Self { decider, room, log, answers }
    }

    pub(super) fn run(mut self, commands: &Receiver<Execute>) {
        while let Ok(Execute { token, mut requests, context }) = commands.recv() {
            let owed = self.log.bytes_not_applied().saturating_mul(WRITTEN_AGAIN);
            let room = self.room.get().look_beside(owed).for_a_batch(context.room == store::Room::TooLittle);
            let context = Context { room, ..context };
            let answer = match self.decider.decide(&requests, &context) {
                Ok(executed) => {
                    let left = requests.split_off(executed.outcomes.len());
                    StoreAnswer::Executed { token, executed, left }
                }
                Err(error) => StoreAnswer::Failed { token, error },
            };
            // An error means that the driver has ended, and with it this thread's queue.
            let _ = self.answers.blocking_send(Incoming::Store(answer));
        }
    }
}
