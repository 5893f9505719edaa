//! Answering: what a primary that serves answers, and when: nothing before its view is remembered, reads under a lease.

use super::{Primary, Waiting};
use crate::common::Common;
use crate::event::Effect;
use crate::identity::ReadId;
use crate::log::Record;
use crate::time::Time;

/// More reads than this wait for a lease only if something is badly wrong; the rest are refused at once.
const READS_WAITING_MAX: usize = 16_384;

impl<R: Record> Primary<R> {
    /// The lease: every required secondary has answered something sent less than a lease ago (invariant 4).
    pub(super) fn may_read(&self, common: &Common<R>, now: Time) -> bool {
        self.serving
            && !self.retiring()
            && common.remembers()
            && self.lease_ends(common).is_none_or(|end| now < end)
    }

    /// When the lease ends; `None` when no other could lead, so that it does not.
    fn lease_ends(&self, common: &Common<R>) -> Option<Time> {
        self.required(common.me)
            .iter()
            .map(|peer| {
                let answered = self.followers.get(&peer).and_then(|follower| follower.answered);
                answered.map_or(Time::from_micros(0), |sent_at| sent_at + common.timing.lease)
            })
            .min()
    }

    pub(crate) fn on_read_waiting(&mut self, common: &mut Common<R>, now: Time, read: ReadId) {
        if self.may_read(common, now) {
            common.answer_read(read);
        } else if self.waiting.len() < READS_WAITING_MAX && self.serving {
            self.waiting.push(Waiting::Read(read));
        } else {
            common.emit(Effect::RefuseRead { read });
        }
    }

    pub(super) fn flush_waiting(&mut self, common: &mut Common<R>, now: Time) {
        if self.waiting.is_empty() || !common.remembers() {
            return;
        }
        let may_read = self.may_read(common, now);
        let copies = self.copies();
        self.waiting.retain(|waiting| {
            if !may_read && !matches!(waiting, Waiting::Changed(_)) {
                return true;
            }
            match *waiting {
                Waiting::Read(read) => common.answer_read(read),
                Waiting::Changed(token) | Waiting::Unchanged(token) => {
                    common.emit(Effect::Answer { token, copies });
                }
            }
            false
        });
    }
}
