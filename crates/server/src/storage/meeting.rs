//! Where a reader of the tables meets the thread that applies, to see them as they are at one op.
//!
//! Entries are applied many at a time, and each replica ends such a transaction at another op. Rows that change all the time can
//! be compared only where all replicas show the same op: there they stop for the reader that compares them.

use protocol::Op;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the tables stay at an op for the reader that has asked for it: it waits on a thread of its own, and begins within a
/// millisecond where the machine is not busy. Where it is late, it reads what there is then, and says so.
const STAY_AT_MOST: Duration = Duration::from_millis(20);

/// What the reader and the thread that applies know of each other.
#[derive(Debug, Default)]
struct State {
    /// How far the tables are applied.
    applied: Op,
    /// Where the reader wants to see them, until it has begun to read.
    wanted: Option<Op>,
}

/// The two sides of the meeting. There is one reader at a time: the service gives out turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meeting {
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// A reader's stay: the tables stay where they are until it is dropped, but not for long.
#[derive(Debug)]
pub(crate) struct Stay(Meeting);

impl Meeting {
    /// Waits until the tables are at this op or past it, or until the time is over; the reader is to begin at once then, and to
    /// drop what is returned.
    pub(crate) fn at(&self, op: Op, at_most: Duration) -> Stay {
        let mut state = self.state();
        state.wanted = Some(op);
        let (_, changed) = &*self.shared;
        // Late is not wrong: the reader says which op it has seen.
        let waited = changed.wait_timeout_while(state, at_most, |state| state.applied < op);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Stay(self.clone())
    }

    /// Up to where entries may be applied at once, of those after `applied` up to `up_to`.
    pub(super) fn stop(&self, applied: Op, up_to: Op) -> Op {
        self.state().wanted.filter(|wanted| *wanted > applied).map_or(up_to, |wanted| wanted.min(up_to))
    }

    /// The tables are at this op. If a reader waits for it, they stay there until it has begun.
    pub(super) fn applied(&self, op: Op) {
        let mut state = self.state();
        state.applied = op;
        if state.wanted.is_some_and(|wanted| wanted <= op) {
            let (_, changed) = &*self.shared;
            changed.notify_all();
            let begun = changed.wait_timeout_while(state, STAY_AT_MOST, |state| state.wanted.is_some());
            begun.unwrap_or_else(PoisonError::into_inner).0.wanted = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let Self(meeting) = self;
        meeting.state().wanted = None;
        meeting.shared.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Instant;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn tables_stop_where_a_reader_wants_to_see_them_and_stay_until_it_has_begun() {
        let meeting = Meeting::default();
        meeting.applied(Op(5));
        assert_eq!(meeting.stop(Op(5), Op(90)), Op(90), "no reader");
        let reader = {
            let meeting = meeting.clone();
            thread::spawn(move || {
                let stay = meeting.at(Op(7), LONG);
                let seen = meeting.state().applied;
                drop(stay);
                seen
            })
        };
        while meeting.stop(Op(5), Op(90)) != Op(7) {
            thread::yield_now();
        }
        assert_eq!(meeting.stop(Op(5), Op(6)), Op(6), "no further than what is committed");
        meeting.applied(Op(6));
        assert_eq!(meeting.stop(Op(6), Op(90)), Op(7));
        meeting.applied(Op(7));
        assert_eq!(reader.join().unwrap(), Op(7));
        assert_eq!(meeting.stop(Op(7), Op(90)), Op(90));
    }

    #[test]
    fn neither_side_waits_for_long_and_what_is_past_is_not_waited_for() {
        let meeting = Meeting::default();
        meeting.applied(Op(5));
        let began = Instant::now();
        drop(meeting.at(Op(5), LONG));
        drop(meeting.at(Op(4), LONG));
        assert!(began.elapsed() < LONG);
        // Nothing is written: the reader reads what there is.
        let stay = meeting.at(Op(6), Duration::from_millis(1));
        // And a reader that does not begin is left behind.
        meeting.applied(Op(6));
        assert_eq!(meeting.stop(Op(6), Op(90)), Op(90));
        drop(stay);
    }
}
