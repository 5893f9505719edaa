//! The passwords that come with calls: compared with Argon2id, off the store's thread, and counted as attempts.
//!
//! A retry of such a call must bring the same passwords. The request that took effect has kept the hashes of what came with
//! it; the retry goes to the store once more as the request of those very hashes.

use super::attempts::Attempt;
use super::{Failure, Service, session};
use crate::caller::Origin;
use chat::{Password, PasswordHash, Refusal, RequestId, TokenHash, UserName};
use std::time::Instant;
use store::{Account, KeptRequest};

/// Under which attempts at names are counted that can't be names.
pub(super) const NO_NAME: &str = "";

impl Service {
    /// The request of that id, if it took effect and the caller made it.
    pub(super) async fn kept_for(
        &self,
        id: RequestId,
        token: TokenHash,
    ) -> Result<Option<KeptRequest>, Failure> {
        self.read(move |reader| {
            let Some(kept) = reader.request(id)? else { return Ok(None) };
            if reader.came_with(&kept, token)? {
                return Ok(Some(kept));
            }
            session(reader, token)?;
            Err(Refusal::RequestIdReused.into())
        })
        .await
    }

    /// The hash that a password had when the request took effect; with another password it is another request.
    pub(super) async fn same_as_before(
        &self,
        kept: &KeptRequest,
        place: usize,
        password: Password,
    ) -> Result<PasswordHash, Failure> {
        let Some(hash) = kept.outcome.passwords.get(place) else {
            // A request of before they were kept, or one of another kind, which the store refuses.
            return Ok(PasswordHash(String::new()));
        };
        if self.passwords.verify(password, Some(hash.clone()), false).await? {
            Ok(hash.clone())
        } else {
            Err(Refusal::RequestIdReused.into())
        }
    }

    /// Verifies a password against the account's, and returns what it was verified against.
    pub(super) async fn verified(
        &self,
        origin: Origin,
        account: Account,
        password: &str,
    ) -> Result<PasswordHash, Failure> {
        let password = Password::parse(password).map_err(|_| Refusal::WrongCredentials)?;
        let name = self.name(&account.name);
        let key = name.as_ref().map_or(NO_NAME, UserName::key);
        let attempt = self.attempts.begin(origin, key, Instant::now()).map_err(Failure::too_many_attempts)?;
        let attempt = self.try_password(attempt, password, Some(account.password.clone())).await?;
        attempt.ok_or(Refusal::WrongCredentials)?.succeeded(Instant::now());
        Ok(account.password)
    }

    /// Gives the attempt back if its password is the one behind `hash`. One that was not looked at, because too many wait,
    /// does not count; one whose caller gives up does.
    pub(super) async fn try_password(
        &self,
        attempt: Attempt,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<Option<Attempt>, Failure> {
        match self.passwords.verify(password, hash, attempt.is_suspicious()).await {
            Ok(matches) => Ok(matches.then_some(attempt)),
            Err(full) => {
                attempt.came_to_nothing(Instant::now());
                Err(full.into())
            }
        }
    }
}
