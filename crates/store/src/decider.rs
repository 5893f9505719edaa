//! Deciding requests, ahead of the tables: a batch is decided on top of everything that was decided before in the same primacy,
//! whether or not the tables show it yet. Nothing is written.

use crate::applied;
use crate::caller::Caller;
use crate::context::Context;
use crate::decide::{Decision, decide};
use crate::error::StoreError;
use crate::forgotten::forgettable;
use crate::known::Known;
use crate::overlay::Overlay;
use crate::reader::{Reader, Readers};
use crate::retention::TIDY_EVERY;
use crate::state::DatabaseState;
use crate::stop::Stop;
use crate::taken::Taken;
use chat::{Answer, Fact, Millis, REMEMBERING, Record, Refusal, Request, RequestMark, Sequence};
use protocol::{Entry, Forgetting, Position, WallTime};
use std::sync::Arc;

/// What a batch came to.
#[derive(Debug)]
pub struct Executed {
    /// The entries, following everything that was decided before.
    pub entries: Vec<Entry<Record>>,
    /// What each request is to be told once the batch is committed, in the order of the requests. One without an outcome
    /// was passed over, because its sequence is broken. There are fewer than requests where the batch ended early: the rest are to be
    /// decided with the next batch.
    pub outcomes: Vec<Option<Result<Answer, Refusal>>>,
    /// The next batch can be decided only once the tables show all of this one.
    pub barrier: bool,
}

/// Decides the batches of a primary.
#[derive(Debug)]
pub struct Decider {
    readers: Arc<Readers>,
    /// `None` before the first batch, and after a failure.
    primacy: Option<Primacy>,
    /// The last primacy that was begun here.
    begun: u64,
}

/// What was decided in one primacy.
#[derive(Debug)]
struct Primacy {
    number: u64,
    /// The end of what was decided, and the time of the last entry.
    end: Position,
    last_at: Millis,
    overlay: Overlay,
    taken: Taken,
    /// The last batch was a barrier.
    barrier: bool,
    /// How far requests may be forgotten; found anew in each primacy.
    forgetting: Forgetting,
}

/// A batch that is being decided.
struct Batch<'batch> {
    known: Known<'batch>,
    end: Position,
    at: Millis,
    entries: Vec<Entry<Record>>,
    barrier: bool,
}

impl Decider {
    /// A decider on the tables that these readers read.
    pub const fn new(readers: Arc<Readers>) -> Self {
        Self { readers, primacy: None, begun: 0 }
    }

    /// Decides requests, one after the other; each sees the effects of those before it. Where this fails nothing was decided, and
    /// nothing more can be in this primacy.
    ///
    /// # Panics
    /// If the tables lack a part of a barrier that was decided before in this primacy, or the primacy is one before the last, or
    /// has failed.
    pub fn decide(&mut self, requests: &[Request], context: &Context) -> Result<Executed, StoreError> {
        let readers = self.readers.clone();
        let before = self.primacy.take().filter(|before| before.number == context.primacy);
        if before.is_none() {
            assert!(context.primacy > self.begun, "what a primacy has decided can't be decided anew");
            self.begun = context.primacy;
        }
        // What is trimmed is in the tables by now: so they are looked at after that, and show at least as much.
        readers.read(|reader| {
            let mut primacy = match before {
                Some(before) => before.go_on(context),
                None => Primacy::begin(reader, context)?,
            };
            let executed = primacy.decide(reader, requests, context)?;
            self.primacy = Some(primacy);
            Ok(executed)
        })
    }
}

impl Primacy {
    /// The first batch of a primacy: by then the tables show all that is in the log.
    fn begin(reader: &Reader<'_>, context: &Context) -> Result<Self, StoreError> {
        let DatabaseState { applied, last_at, .. } = reader.identity()?;
        let forgotten = reader.sql(crate::forgotten::forgotten(reader.connection()))?.unwrap_or_default();
        let (now, wall) = (context.monotonic, WallTime(context.now.0));
        Ok(Self {
            number: context.primacy,
            end: applied,
            last_at,
            overlay: Overlay::default(),
            taken: reader.sql(Taken::begin(reader.connection()))?,
            barrier: false,
            forgetting: Forgetting::begin(WallTime(forgotten.0), now, wall),
        })
    }

    fn go_on(mut self, context: &Context) -> Self {
        self.overlay.applied(context.applied);
        if std::mem::take(&mut self.barrier) {
            assert!(self.overlay.is_empty(), "a batch is decided before the tables show a barrier");
            self.overlay = Overlay::default();
        }
        self
    }

    fn decide(
        &mut self,
        reader: &Reader<'_>,
        requests: &[Request],
        context: &Context,
    ) -> Result<Executed, StoreError> {
        let wall = WallTime(context.now.0);
        let may_forget = self.forgetting.look(context.monotonic, wall, &REMEMBERING);
        let mut batch = Batch {
            known: Known {
                connection: reader.connection(),
                overlay: &mut self.overlay,
                taken: &mut self.taken,
            },
            end: self.end,
            // Time in entries never runs backwards, whatever the clocks of successive primaries do. It is for people's eyes.
            at: context.now.max(self.last_at),
            entries: Vec::new(),
            barrier: false,
        };
        let outcomes = reader.sql(batch.decide(requests, may_forget, context))?;
        let Batch { end, at, entries, barrier, .. } = batch;
        (self.end, self.barrier) = (end, barrier);
        if !entries.is_empty() {
            self.last_at = at;
        }
        Ok(Executed { entries, outcomes, barrier })
    }
}

impl Batch<'_> {
    fn decide(
        &mut self,
        requests: &[Request],
        may_forget: WallTime,
        context: &Context,
    ) -> Result<Vec<Option<Result<Answer, Refusal>>>, rusqlite::Error> {
        if self.known.forgotten()?.is_none() && self.known.history()?.is_some() {
            let before = applied::read(self.known.connection)?.forgotten.unwrap_or_default();
            self.happens(Record::new(self.at, None, Fact::RequestsForgotten { before }), None);
        }
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            if self.barrier {
                return Ok(outcomes);
            }
            outcomes.push(self.outcome(request, context)?);
        }
        if !self.barrier && self.entries.iter().any(|entry| entry.op.0.is_multiple_of(TIDY_EVERY)) {
            self.forget(may_forget)?;
        }
        Ok(outcomes)
    }

    /// What a request is to be told; nothing where its sequence is broken.
    fn outcome(
        &mut self,
        request: &Request,
        context: &Context,
    ) -> Result<Option<Result<Answer, Refusal>>, rusqlite::Error> {
        if request.sequence.as_ref().is_some_and(Sequence::is_broken) {
            return Ok(None);
        }
        let decided = decide(&mut self.known, request, self.end.op.next(), self.at, context);
        let outcome = match Stop::refusal_as_answer(decided)? {
            Ok(Decision::Happens(fact, answer, caller)) => {
                let mark = RequestMark {
                    id: request.id,
                    digest: request.action.digest(),
                    answer: answer.clone(),
                    session: caller.as_ref().map(|caller| caller.session),
                    passwords: request.action.passwords(),
                };
                self.happens(Record::new(self.at, Some(mark), fact), caller.as_deref());
                Ok(answer)
            }
            Ok(Decision::Nothing(answer)) => Ok(answer),
            Err(refusal) => {
                if let (Some(sequence), false) = (&request.sequence, refusal.is_for_the_request_alone()) {
                    sequence.break_off();
                }
                Err(refusal)
            }
        };
        Ok(Some(outcome))
    }

    fn forget(&mut self, may_forget: WallTime) -> Result<(), rusqlite::Error> {
        let forgotten = self.known.forgotten()?.unwrap_or_default();
        match forgettable(self.known.connection, may_forget)? {
            // The tables may still show what an entry before this one forgets.
            Some(fact @ Fact::RequestsForgotten { before }) if before > forgotten => {
                self.happens(Record::new(self.at, None, fact), None);
            }
            _ => {}
        }
        Ok(())
    }

    fn happens(&mut self, record: Record, caller: Option<&Caller>) {
        let entry = self.end.follow(record);
        self.end = entry.position();
        self.barrier |= self.known.overlay.decided(&entry, caller);
        if let Some(mark) = entry.record.request() {
            self.known.taken.take(mark.id);
        }
        self.entries.push(entry);
    }
}
