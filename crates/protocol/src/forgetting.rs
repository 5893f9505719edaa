//! Forgetting requests: for how long a request is remembered, so that its retry gets its first answer, and from when on
//! it is refused, so that its effect can't happen twice (invariant 5).
//!
//! A request id carries the date at which its client made it. Whether that is too long ago is judged by the primary's
//! wall clock of now; never by the times in entries, which only grow and so would keep one moment of a wrong clock for
//! ever. What has been forgotten is a date in the replicated state that only grows: an id from before it is refused,
//! and only what lies before it is deleted.
//!
//! A wrong clock must not forget anything either, and all replicas of one machine share it. So the date moves by no more
//! than the time that a monotonic clock has measured in the present primacy, and catches up with the wall clock only
//! after the two have agreed for a while. It never goes further than what is deleted by it.

use crate::time::Time;
use core::time::Duration;

/// Wall-clock time in milliseconds since 1970: an argument, like every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

impl WallTime {
    /// That much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// That much earlier, at the earliest 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How far the two are from each other.
    #[must_use]
    pub const fn apart(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

/// How long requests are remembered, and how long a clock must have run evenly until it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembering {
    /// How far the date in a request id may be from the primary's clock, either way.
    pub age_max: Duration,
    /// For how long the wall clock and the monotonic clock must have agreed before the wall clock is believed.
    pub agree_for: Duration,
    /// How far they may move apart in that time.
    pub tolerance: Duration,
}

/// What the date of a request that is not remembered says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It never took effect: it may now.
    New,
    /// It may have taken effect and been forgotten.
    TooOld,
    /// It is dated later than anybody's clock should be.
    TooEarly,
}

impl Remembering {
    /// Judges the date of a request that is not remembered, by the primary's wall clock of now and by what has been
    /// forgotten.
    pub fn judge(&self, dated: WallTime, wall: WallTime, forgotten: WallTime) -> Verdict {
        if dated < forgotten || dated < wall.minus(self.age_max) {
            Verdict::TooOld
        } else if dated > wall.plus(self.age_max) {
            Verdict::TooEarly
        } else {
            Verdict::New
        }
    }
}

/// One primacy's permission to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgetting {
    /// What might be forgotten at `anchored_at`; a second later, a second more.
    allowed: WallTime,
    anchored_at: Time,
    /// When the two clocks began to agree, by each of them.
    agreed_since: (Time, WallTime),
}

impl Forgetting {
    /// Begins with the primacy, at what has been forgotten so far.
    pub const fn begin(forgotten: WallTime, now: Time, wall: WallTime) -> Self {
        Self { allowed: forgotten, anchored_at: now, agreed_since: (now, wall) }
    }

    /// Looks at both clocks, and gives the date before which requests may be forgotten now.
    pub fn look(&mut self, now: Time, wall: WallTime, rule: &Remembering) -> WallTime {
        let (since, wall_then) = self.agreed_since;
        let agreed_for = now - since;
        let jumped = wall_then.plus(agreed_for).apart(wall) > rule.tolerance;
        let by_the_clock = wall.minus(rule.age_max);
        if !jumped && agreed_for >= rule.agree_for {
            (self.allowed, self.anchored_at) = (by_the_clock, now);
        }
        let may = self.allowed.plus(now - self.anchored_at).min(by_the_clock);
        if jumped {
            self.agreed_since = (now, wall);
            // What a clock that was believed too early has allowed is not kept for the next time that it is wrong.
            (self.allowed, self.anchored_at) = (may, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Remembering = Remembering {
        age_max: Duration::from_hours(24),
        agree_for: Duration::from_mins(10),
        tolerance: Duration::from_secs(2),
    };
    const DAY: u64 = 86_400_000;
    const BASE: u64 = 20_000 * DAY;

    fn at(minutes: u64) -> Time {
        Time::from_micros(minutes * 60_000_000)
    }

    /// The wall clock after `minutes`, wrong by `days`.
    fn wall(minutes: u64, days_wrong: i64) -> WallTime {
        WallTime((BASE + minutes * 60_000).saturating_add_signed(days_wrong * DAY.cast_signed()))
    }

    #[test]
    fn a_moment_of_a_wrong_clock_forgets_nothing_that_a_retry_may_need() {
        for wrong in [-4000, -40, -2, 2, 40, 4000] {
            let mut forgetting = Forgetting::begin(WallTime(BASE - 3 * DAY), at(0), wall(0, 0));
            assert_eq!(forgetting.look(at(30), wall(30, 0), &RULE), wall(30, -1), "ten minutes of agreement");
            for minute in 31..39 {
                let may = forgetting.look(at(minute), wall(minute, wrong), &RULE);
                assert!(may <= wall(minute, -1), "wrong by {wrong} days: {may:?}");
            }
            for minute in 39..42 {
                let may = forgetting.look(at(minute), wall(minute, 0), &RULE);
                assert!(may <= wall(minute, -1), "right again after {wrong} days: {may:?}");
            }
            assert_eq!(forgetting.look(at(60), wall(60, 0), &RULE), wall(60, -1), "as if nothing had been");
        }
    }

    #[test]
    fn a_new_primacy_moves_by_its_own_time_until_the_clocks_have_agreed() {
        let forgotten = WallTime(BASE - 30 * DAY);
        // The clock is wrong from before the primacy began.
        let mut forgetting = Forgetting::begin(forgotten, at(0), wall(0, 40));
        for minute in 0..10 {
            let may = forgetting.look(at(minute), wall(minute, 40), &RULE);
            assert_eq!(may, forgotten.plus(Duration::from_mins(minute)));
        }
        assert_eq!(forgetting.look(at(10), wall(10, 40), &RULE), wall(10, 39), "now it is believed");
        let right = forgetting.look(at(11), wall(11, 0), &RULE);
        assert_eq!(right, wall(11, -1), "and no longer once it jumps");
        let again = forgetting.look(at(12), wall(12, 40), &RULE);
        assert_eq!(again, wall(12, -1), "a second moment gets nothing from what was believed before");
    }

    #[test]
    fn a_clock_may_move_by_the_tolerance_and_no_further() {
        let forgotten = WallTime(BASE - 3 * DAY);
        for (moved, believed) in [(2_000, true), (2_001, false)] {
            let mut forgetting = Forgetting::begin(forgotten, at(0), wall(0, 0));
            let now = WallTime(wall(30, 0).0 + moved);
            let by_the_clock = now.minus(RULE.age_max);
            let by_its_own_time = forgotten.plus(Duration::from_mins(30));
            let expected = if believed { by_the_clock } else { by_its_own_time };
            assert_eq!(forgetting.look(at(30), now, &RULE), expected, "moved by {moved} ms");
        }
    }

    #[test]
    fn a_date_is_judged_by_the_clock_of_now_and_by_what_was_forgotten() {
        let now = WallTime(BASE);
        let judge = |dated, forgotten| RULE.judge(WallTime(dated), now, WallTime(forgotten));
        assert_eq!(judge(BASE, 0), Verdict::New);
        assert_eq!(judge(BASE - DAY, 0), Verdict::New);
        assert_eq!(judge(BASE - DAY - 1, 0), Verdict::TooOld);
        assert_eq!(judge(BASE + DAY, 0), Verdict::New);
        assert_eq!(judge(BASE + DAY + 1, 0), Verdict::TooEarly);
        assert_eq!(judge(BASE - 2, BASE - 1), Verdict::TooOld);
        assert_eq!(judge(BASE - 1, BASE - 1), Verdict::New);
    }
}
