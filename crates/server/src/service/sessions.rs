//! Sessions: opening one with a password, closing it, and finding the one that a token belongs to.

use super::credentials::NO_NAME;
use super::tokens::Token;
use super::{Failure, Service, session};
use crate::caller::Origin;
use crate::clock;
use chat::{
    AccountId, Action, Answer, Millis, Password, Refusal, RequestId, SealedToken, SignedAction, TokenHash,
    UserName,
};
use std::time::Instant;
use store::Session;

/// A session that was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) token: Token,
    pub(crate) expires_at: Millis,
    pub(crate) account: AccountId,
    /// The account's name as written.
    pub(crate) name: String,
}

impl Service {
    pub(crate) async fn log_in(
        &self,
        origin: Origin,
        id: RequestId,
        name: &str,
        password: &str,
    ) -> Result<Opened, Failure> {
        let name = self.name(name);
        let key = name.as_ref().map_or(NO_NAME, UserName::key).to_owned();
        let (account, kept) = match name {
            Ok(name) => self.read(move |reader| Ok((reader.living(&name)?, reader.request(id)?))).await?,
            Err(_) => (None, None),
        };
        // A password that can't be one is compared all the same: unknown names and wrong passwords take like time.
        let is_one = Password::parse(password).is_ok();
        let password = Password::parse(password)
            .or_else(|_| Password::parse("a password that nobody has"))
            .map_err(|_| Refusal::WrongCredentials)?;
        let known = account.as_ref().map(|account| account.password.clone());
        let attempt =
            self.attempts.begin(origin, &key, Instant::now()).map_err(Failure::too_many_attempts)?;
        let attempt = self.try_password(attempt, password.clone(), known).await?;
        let (Some(attempt), Some(account), true) = (attempt, account, is_one) else {
            return Err(Refusal::WrongCredentials.into());
        };
        attempt.succeeded(Instant::now());

        let drawn = Token::draw();
        let sealed = match kept {
            // It is the answer of the first try that counts; if this id was another request's, the store says so.
            Some(_) => SealedToken(String::new()),
            None => self.passwords.seal(password.clone(), drawn).await?,
        };
        let action = Action::OpenSession {
            account: account.id,
            verified: account.password,
            token: TokenHash::of(&drawn.text()),
            sealed: sealed.clone(),
            expires_at: clock::wall().plus(self.settings.limits.session_lifetime),
        };
        let (answer, _) = self.write(id, action).await?;
        let Answer::SessionOpened { expires_at, sealed: kept, .. } = answer else {
            return Err(Failure::mismatch());
        };
        let token = if kept == sealed { Some(drawn) } else { self.passwords.unseal(password, kept).await? };
        let token = token.ok_or_else(Failure::mismatch)?;
        Ok(Opened { token, expires_at, account: account.id, name: account.name })
    }

    pub(crate) async fn log_out(&self, token: TokenHash, id: RequestId) -> Result<(), Failure> {
        self.write_signed(id, token, SignedAction::CloseSession).await?;
        Ok(())
    }

    /// The valid session that a token belongs to.
    pub(super) async fn session(&self, token: TokenHash) -> Result<Session, Failure> {
        self.read(move |reader| session(reader, token)).await
    }
}
