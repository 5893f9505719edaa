//! The bounds on everything that people can make grow.

use protocol::Remembering;
use std::time::Duration;

/// The longest user name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 32;
/// The shortest password, in characters.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;
/// The longest password, in characters.
pub const PASSWORD_CHARACTERS_MAX: usize = 256;
/// The longest message text, in bytes of UTF-8.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// The longest regular expression, in characters.
pub const PATTERN_CHARACTERS_MAX: usize = 256;
/// After how long a call that met a busy replica may be repeated at the earliest.
pub const BUSY_RETRY_AFTER: Duration = Duration::from_millis(100);
/// The most items of one page.
pub const PAGE_MAX: usize = 500;
/// How many sessions an account can have at once; opening one more closes the oldest.
pub const SESSIONS_AN_ACCOUNT_MAX: u32 = 64;
/// How far the date in a request id may be from the primary's clock, either way. A request is remembered for at least
/// that long; whenever it is forgotten, its id is refused from then on, and its effect can't happen twice.
pub const REQUEST_AGE_MAX: Duration = Duration::from_hours(24);
/// When requests are forgotten, and which clock is believed.
pub const REMEMBERING: Remembering = Remembering {
    age_max: REQUEST_AGE_MAX,
    agree_for: Duration::from_mins(10),
    tolerance: Duration::from_secs(2),
};

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// Writes are refused while fewer replicas are in sync.
    pub min_in_sync: usize,
    /// Whether a new name may not look like that of a living account.
    pub refuse_lookalike_names: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { session_lifetime: Duration::from_hours(24 * 30), min_in_sync: 1, refuse_lookalike_names: true }
    }
}
