//! Accounts: making one, looking for others, changing and deleting one's own.

use super::registration::NewAccount;
use super::{Failure, Service, page_limit, session};
use crate::caller::Origin;
use chat::{AccountId, Action, Answer, NamePattern, Password, Refusal, RequestId, SignedAction, TokenHash};
use std::time::Instant;
use store::{Account, AccountsPage, Reader, Stop};

impl Service {
    pub(crate) async fn create_account(
        &self,
        origin: Origin,
        id: RequestId,
        new: NewAccount<'_>,
    ) -> Result<AccountId, Failure> {
        self.check_registration(id, new)?;
        let name = self.name(new.name)?;
        let password = Password::parse(new.password)?;
        loop {
            let wanted = name.clone();
            let looks_count = self.settings.limits.refuse_lookalike_names;
            let look = move |reader: &Reader<'_>| {
                let name = wanted.shown().to_owned();
                let taken = if reader.living(&wanted)?.is_some() {
                    Some(Refusal::NameTaken { name })
                } else if looks_count && reader.looks_taken(&wanted)? {
                    Some(Refusal::NameLooksTaken { name })
                } else {
                    None
                };
                Ok((reader.request(id)?, taken))
            };
            let (kept, taken) = self.read(look).await?;
            let hash = match (&kept, taken) {
                (Some(kept), _) => self.same_as_before(kept, 0, password.clone()).await?,
                // A name that is taken is refused before a password is hashed for it.
                (None, Some(refusal)) => return Err(refusal.into()),
                (None, None) => {
                    self.attempts.register(origin, Instant::now()).map_err(Failure::busy_for)?;
                    self.passwords.hash(password.clone()).await?
                }
            };
            let action = Action::CreateAccount { name: name.clone(), password: hash };
            match self.write(id, action).await {
                Ok((Answer::AccountCreated { account }, _)) => return Ok(account),
                Ok(_) => return Err(Failure::mismatch()),
                Err(failure) if kept.is_none() && is_reuse(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    pub(crate) async fn delete_account(
        &self,
        origin: Origin,
        token: TokenHash,
        id: RequestId,
        password: &str,
    ) -> Result<(), Failure> {
        let verified = match self.kept_for(id, token).await? {
            Some(kept) => self.same_as_before(&kept, 0, parse(password)?).await?,
            None => self.verified(origin, self.account(token).await?, password).await?,
        };
        self.write_signed(id, token, SignedAction::DeleteAccount { verified }).await?;
        Ok(())
    }

    pub(crate) async fn change_password(
        &self,
        origin: Origin,
        token: TokenHash,
        id: RequestId,
        (password, new): (&str, &str),
    ) -> Result<(), Failure> {
        let new = Password::parse(new)?;
        loop {
            let kept = self.kept_for(id, token).await?;
            let (verified, hash) = match &kept {
                Some(kept) => (
                    self.same_as_before(kept, 0, parse(password)?).await?,
                    self.same_as_before(kept, 1, new.clone()).await?,
                ),
                None => (
                    self.verified(origin, self.account(token).await?, password).await?,
                    self.passwords.hash(new.clone()).await?,
                ),
            };
            match self
                .write_signed(id, token, SignedAction::ChangePassword { verified, password: hash })
                .await
            {
                Err(failure) if kept.is_none() && is_reuse(&failure) => {}
                written => return written.map(drop),
            }
        }
    }

    /// Lets others learn what the account has seen, or no longer.
    pub(crate) async fn show_seen(
        &self,
        token: TokenHash,
        id: RequestId,
        shown: bool,
    ) -> Result<(), Failure> {
        self.write_signed(id, token, SignedAction::ShowSeen { shown }).await?;
        Ok(())
    }

    /// The session's account.
    pub(crate) async fn account(&self, token: TokenHash) -> Result<Account, Failure> {
        Ok(self.session(token).await?.account)
    }

    /// A page of the living accounts whose names match a regular expression. One that looked at many names may have few of them, or
    /// none, and others may follow.
    pub(crate) async fn accounts(
        &self,
        token: TokenHash,
        pattern: String,
        page_token: String,
        page_size: u32,
    ) -> Result<AccountsPage, Failure> {
        let limit = page_limit(page_size)?;
        self.session(token).await?;
        // A pattern may be dear to compile, and many names are compared with it.
        let page = self.scan(move |reader| {
            session(reader, token)?;
            let pattern = NamePattern::parse(&pattern)?;
            reader.accounts(&pattern, &page_token, limit).map_err(Stop::from)
        });
        page.await
    }
}

/// A password that can't be one is no account's.
fn parse(password: &str) -> Result<Password, Refusal> {
    Password::parse(password).map_err(|_| Refusal::WrongCredentials)
}

/// Whether the id was another request's. To the first of two tries that run at once it looks so too, if the other was
/// quicker: their hashes have different salts. Then the other's are there to be compared with.
fn is_reuse(failure: &Failure) -> bool {
    *failure == Failure::Refused(Refusal::RequestIdReused)
}
