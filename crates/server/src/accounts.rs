//! Accounts and sessions: the calls that bring a password.
//!
//! A retry of such a call must bring the same passwords. They are compared here, with Argon2id and off the store's thread: the
//! request that took effect has kept the hashes of what came with it, and goes to the store once more as the request of those
//! very hashes.

use crate::attempts::{Attempt, Origin};
use crate::blocking::Full;
use crate::chat_service::{Answered, ChatService, mismatch, request_id};
use crate::clock;
use crate::tokens::{self, Token};
use api::status::{Meaning, busy, meaning, refused, too_many_attempts};
use api::v1;
use chat::{Action, Answer, Password, PasswordHash, Refusal, RequestId, SealedToken, TokenHash, UserName};
use std::time::Instant;
use store::{Account, KeptRequest, Reader};
use tonic::Status;

impl ChatService {
    pub(crate) async fn account_created(
        &self,
        origin: Origin,
        request: v1::CreateAccountRequest,
    ) -> Answered<v1::CreateAccountResponse> {
        let refuse = |refusal| refused(&refusal);
        self.check_registration(&request)?;
        let name = self.name(&request.name).map_err(refuse)?;
        let password = Password::parse(&request.password).map_err(refuse)?;
        let id = request_id(&request.request_id).map_err(refuse)?;
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
                Ok(Ok((reader.request(id)?, taken)))
            };
            let (kept, taken) = self.read(look).await?;
            let hash = match (&kept, taken) {
                (Some(kept), _) => self.same_as_before(kept, 0, password.clone()).await?,
                // A name that is taken is refused before a password is hashed for it.
                (None, Some(refusal)) => return Err(refused(&refusal)),
                (None, None) => {
                    self.attempts.register(origin, Instant::now()).map_err(busy)?;
                    self.passwords.hash(password.clone()).await.map_err(full)?
                }
            };
            let action = Action::CreateAccount { name: name.clone(), password: hash };
            match self.write(&request.request_id, None, action).await {
                Ok((Answer::AccountCreated { account }, _)) => {
                    return Ok(v1::CreateAccountResponse { account_id: account.0 });
                }
                Ok(_) => return Err(mismatch()),
                Err(status) if kept.is_none() && is_reuse(&status) => {}
                Err(status) => return Err(status),
            }
        }
    }

    pub(crate) async fn session_opened(
        &self,
        origin: Origin,
        request: v1::LoginRequest,
    ) -> Answered<v1::LoginResponse> {
        let id = request_id(&request.request_id).map_err(|refusal| refused(&refusal))?;
        let wrong = || refused(&Refusal::WrongCredentials);
        let name = self.name(&request.name);
        let key = name.as_ref().map_or(NO_NAME, UserName::key).to_owned();
        let (account, kept) = match name {
            Ok(name) => self.read(move |reader| Ok(Ok((reader.living(&name)?, reader.request(id)?)))).await?,
            Err(_) => (None, None),
        };
        // A password that can't be one is compared all the same: unknown names and wrong passwords take like time.
        let password = Password::parse(&request.password)
            .or_else(|_| Password::parse("a password that nobody has"))
            .map_err(|_| wrong())?;
        let known = account.as_ref().map(|account| account.password.clone());
        let attempt = self.attempts.begin(origin, &key, Instant::now()).map_err(too_many_attempts)?;
        let attempt = self.try_password(attempt, password.clone(), known).await?;
        let is_one = Password::parse(&request.password).is_ok();
        let (Some(attempt), Some(account), true) = (attempt, account, is_one) else { return Err(wrong()) };
        attempt.succeeded(Instant::now());

        let drawn = Token::draw();
        let sealed = match kept {
            // It is the answer of the first try that counts; if this id was another request's, the store says so.
            Some(_) => SealedToken(String::new()),
            None => self.passwords.seal(password.clone(), drawn).await.map_err(full)?,
        };
        let action = Action::OpenSession {
            account: account.id,
            verified: account.password,
            token: tokens::hash_of(&drawn.text()),
            sealed: sealed.clone(),
            expires_at: clock::wall().plus(self.settings.limits.session_lifetime),
        };
        let (answer, _) = self.write(&request.request_id, None, action).await?;
        let Answer::SessionOpened { expires_at, sealed: Some(kept), .. } = answer else {
            return Err(mismatch());
        };
        let token = if kept == sealed {
            Some(drawn)
        } else {
            self.passwords.unseal(password, kept).await.map_err(full)?
        };
        Ok(v1::LoginResponse {
            token: token.ok_or_else(mismatch)?.text(),
            expires_at: expires_at.0,
            account_id: account.id.0,
            name: account.name,
        })
    }

    pub(crate) async fn account_deleted(
        &self,
        origin: Origin,
        session: TokenHash,
        request: v1::DeleteAccountRequest,
    ) -> Answered<v1::DeleteAccountResponse> {
        let id = request_id(&request.request_id).map_err(|refusal| refused(&refusal))?;
        let verified = match self.kept_for(id, session).await? {
            Some(kept) => self.same_as_before(&kept, 0, parse(&request.password)?).await?,
            None => self.verified(origin, self.session(session).await?.account, &request.password).await?,
        };
        self.write(&request.request_id, Some(session), Action::DeleteAccount { verified }).await?;
        Ok(v1::DeleteAccountResponse {})
    }

    pub(crate) async fn password_changed(
        &self,
        origin: Origin,
        session: TokenHash,
        request: v1::ChangePasswordRequest,
    ) -> Answered<v1::ChangePasswordResponse> {
        let refuse = |refusal| refused(&refusal);
        let new = Password::parse(&request.new_password).map_err(refuse)?;
        let id = request_id(&request.request_id).map_err(refuse)?;
        loop {
            let kept = self.kept_for(id, session).await?;
            let (verified, password) = match &kept {
                Some(kept) => (
                    self.same_as_before(kept, 0, parse(&request.password)?).await?,
                    self.same_as_before(kept, 1, new.clone()).await?,
                ),
                None => (
                    self.verified(origin, self.session(session).await?.account, &request.password).await?,
                    self.passwords.hash(new.clone()).await.map_err(full)?,
                ),
            };
            let action = Action::ChangePassword { verified, password };
            match self.write(&request.request_id, Some(session), action).await {
                Err(status) if kept.is_none() && is_reuse(&status) => {}
                written => return written.map(|_| v1::ChangePasswordResponse {}),
            }
        }
    }

    /// The request of that id, if it took effect and whoever calls made it.
    async fn kept_for(&self, id: RequestId, token: TokenHash) -> Answered<Option<KeptRequest>> {
        self.read(move |reader| {
            let Some(kept) = reader.request(id)? else { return Ok(Ok(None)) };
            if kept.belongs_to(None, Some(token)) {
                return Ok(Ok(Some(kept)));
            }
            Ok(reader.session(token, clock::wall())?.and_then(|session| {
                let its_own = kept.belongs_to(Some(session.account.id), None);
                if its_own { Ok(Some(kept)) } else { Err(Refusal::RequestIdReused) }
            }))
        })
        .await
    }

    /// The hash that a password had when the request took effect; with another password it is another request.
    async fn same_as_before(
        &self,
        kept: &KeptRequest,
        place: usize,
        password: Password,
    ) -> Answered<PasswordHash> {
        let Some(hash) = kept.passwords.get(place) else {
            // A request of before they were kept, or one of another kind, which the store refuses.
            return Ok(PasswordHash(String::new()));
        };
        if self.passwords.verify(password, Some(hash.clone()), false).await.map_err(full)? {
            Ok(hash.clone())
        } else {
            Err(refused(&Refusal::RequestIdReused))
        }
    }

    /// Verifies a password against the account's, and returns what it was verified against.
    async fn verified(&self, origin: Origin, account: Account, password: &str) -> Answered<PasswordHash> {
        let password = parse(password)?;
        let name = self.name(&account.name);
        let key = name.as_ref().map_or(NO_NAME, UserName::key);
        let attempt = self.attempts.begin(origin, key, Instant::now()).map_err(too_many_attempts)?;
        let attempt = self.try_password(attempt, password, Some(account.password.clone())).await?;
        attempt.ok_or_else(|| refused(&Refusal::WrongCredentials))?.succeeded(Instant::now());
        Ok(account.password)
    }

    /// Gives the attempt back if its password is the one behind `hash`. One that was not looked at, because too many wait,
    /// does not count; one whose caller gives up does.
    async fn try_password(
        &self,
        attempt: Attempt,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Answered<Option<Attempt>> {
        let verified = self.passwords.verify(password, hash, attempt.is_suspicious()).await;
        let Ok(matches) = verified else {
            attempt.came_to_nothing(Instant::now());
            return Err(full(Full));
        };
        Ok(matches.then_some(attempt))
    }
}

/// Under which attempts at names are counted that can't be names.
const NO_NAME: &str = "";

/// Too many passwords wait to be looked at.
fn full(_: Full) -> Status {
    refused(&Refusal::Busy)
}

/// A password that can't be one is no account's.
fn parse(password: &str) -> Answered<Password> {
    Password::parse(password).map_err(|_| refused(&Refusal::WrongCredentials))
}

/// Whether the id was another request's. To the first of two tries that run at once it looks so too, if the other was
/// quicker: their hashes have different salts. Then the other's are there to be compared with.
fn is_reuse(status: &Status) -> bool {
    matches!(meaning(status), Meaning::Refused { reason, .. } if reason == "REQUEST_ID_REUSED")
}
