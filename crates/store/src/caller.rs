//! Accounts and callers, as they are known to what decides.

use chat::{AccountId, Millis, PasswordHash, SessionId, TokenHash};
use std::sync::Arc;

/// The account and the session that a request comes from.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    pub(crate) token: TokenHash,
    pub(crate) account: AccountId,
    pub(crate) name: Arc<str>,
    pub(crate) expires_at: Millis,
}

/// An account, living or not.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) name: Arc<str>,
    pub(crate) password: PasswordHash,
    pub(crate) lives: bool,
    /// Whether it lets others know what it has seen.
    pub(crate) shows_reads: bool,
}
