//! The thread that decides batches.

use crate::incoming::{Incoming, StoreAnswer};
use crate::room::SharedRoom;
use chat::Request;
use protocol::Token;
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

pub(super) struct Thread {
    decider: Decider,
    room: SharedRoom,
    answers: mpsc::Sender<Incoming>,
}

impl Thread {
    pub(super) fn new(decider: Decider, room: SharedRoom, answers: mpsc::Sender<Incoming>) -> Self {
        Self { decider, room, answers }
    }

    pub(super) fn run(mut self, commands: &Receiver<Execute>) {
        while let Ok(Execute { token, mut requests, context }) = commands.recv() {
            let room = self.room.get().look().for_a_batch(context.room == store::Room::TooLittle);
            let context = Context { room, ..context };
            let answer = match self.decider.decide(&requests, &context) {
                Ok(executed) => {
                    self.room.get().will_write(context.primacy, &executed.entries);
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
