//! The two clocks: a monotonic one for the protocol, a wall clock for people.

use chat::Millis;
use protocol::Time;
use std::time::{Duration, SystemTime};

/// The protocol's time: it also runs while the machine sleeps, so that a lease does not outlive a suspended laptop.
pub(crate) fn now() -> Time {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Time::from_micros(0) + Duration::new(seconds, nanos)
}

/// The wall clock.
pub(crate) fn wall() -> Millis {
    Millis::of(SystemTime::now())
}
