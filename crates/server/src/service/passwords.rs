//! Passwords: Argon2id off the runtime's threads, a few at a time. Also what is locked with one: session tokens.

use super::tokens::{TOKEN_BYTES, Token};
use crate::blocking::{Full, Place, Places, blocking};
use argon2::password_hash::phc::{PasswordHash as Phc, Salt};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use chat::{Password, PasswordHash, SealedToken};
use data_encoding::BASE64URL_NOPAD;

/// OWASP's first choice for Argon2id with little memory (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Each computation takes memory and a whole core for some 30 ms; more at once would only starve the service.
const AT_ONCE: usize = 2;
/// Callers that wait for a computation: two seconds of them.
const WAITING_MAX: usize = 128;
/// Of those whose attempts have failed before, one at a time, so that the other place is for the others; and few wait.
const SUSPICIOUS_WAITING_MAX: usize = 8;

/// Verified for names without an account, at the same cost, so that the answer takes as long as for names with one.
/// No password is known that has it, and it would not be let in with it.
const NO_ACCOUNT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Computes and verifies password hashes.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    places: Places,
    suspicious: Places,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { places: Places::new(AT_ONCE, WAITING_MAX), suspicious: Places::new(1, SUSPICIOUS_WAITING_MAX) }
    }

    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, Full> {
        self.places.run(move || hash_now(password.expose())).await
    }

    /// Whether the password is the one behind `hash`; `None` stands for an account that does not exist. A suspicious attempt
    /// comes after others.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
        suspicious: bool,
    ) -> Result<bool, Full> {
        let among_suspicious: Option<Place> =
            if suspicious { Some(self.suspicious.enter().await?) } else { None };
        let place = self.places.enter().await?;
        Ok(blocking(move || {
            let _held_until_done = (place, among_suspicious);
            let matches = verify_now(password.expose(), hash.as_ref().map_or(NO_ACCOUNT, |hash| &hash.0));
            hash.is_some() && matches
        })
        .await)
    }

    /// Encrypts a session token under the password of its login, so that a retry gets the same token, and a copy of the
    /// database opens no session.
    ///
    /// The key is Argon2id of the password and a salt drawn here. It is as long as the token and never used again, so the
    /// bytes that are random without the password are simply added (a one-time pad).
    pub(crate) async fn seal(&self, password: Password, token: Token) -> Result<SealedToken, Full> {
        self.places
            .run(move || {
                let salt: [u8; SALT_BYTES] = rand::random();
                let mut sealed = salt.to_vec();
                sealed.extend(add(&pad(password.expose(), &salt), &token.0));
                SealedToken(BASE64URL_NOPAD.encode(&sealed))
            })
            .await
    }

    /// Decrypts a session token with the password of its login, which was verified; `None` if it is no sealed token.
    pub(crate) async fn unseal(
        &self,
        password: Password,
        sealed: SealedToken,
    ) -> Result<Option<Token>, Full> {
        self.places
            .run(move || {
                let bytes = BASE64URL_NOPAD.decode(sealed.0.as_bytes()).ok()?;
                let (salt, token) = bytes.split_first_chunk::<SALT_BYTES>()?;
                Some(Token(add(&pad(password.expose(), salt), token.try_into().ok()?)))
            })
            .await
    }
}

fn argon2() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn pad(password: &str, salt: &[u8; SALT_BYTES]) -> [u8; TOKEN_BYTES] {
    let mut pad = [0; TOKEN_BYTES];
    argon2()
        .hash_password_into(password.as_bytes(), salt, &mut pad)
        .expect("a prepared password of at most 256 characters can be hashed into 32 bytes");
    pad
}

fn add(pad: &[u8; TOKEN_BYTES], token: &[u8; TOKEN_BYTES]) -> [u8; TOKEN_BYTES] {
    std::array::from_fn(|place| pad[place] ^ token[place])
}

fn hash_now(password: &str) -> PasswordHash {
    let salt: [u8; SALT_BYTES] = rand::random();
    let salt = Salt::new(&salt).expect("16 bytes are a salt");
    let hash = argon2()
        .hash_password_with_salt(password.as_bytes(), salt.as_ref())
        .expect("a prepared password of at most 256 characters can be hashed");
    PasswordHash(hash.to_string())
}

fn verify_now(password: &str, hash: &str) -> bool {
    Phc::new(hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_recognised_and_a_wrong_one_and_that_of_an_unknown_account_are_not() {
        let passwords = Passwords::new();
        let right = Password::parse("correct horse").unwrap();
        let hash = passwords.hash(right.clone()).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify(right.clone(), Some(hash.clone()), false).await.unwrap());
        assert!(
            !passwords
                .verify(Password::parse("wrong horse").unwrap(), Some(hash.clone()), true)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Password::parse("a password that nobody has").unwrap(), None, true)
                .await
                .unwrap()
        );
        assert_ne!(passwords.hash(right).await.unwrap(), hash, "each hash has a salt of its own");
    }

    #[tokio::test]
    async fn a_token_is_unsealed_by_the_password_of_its_login_alone() {
        let passwords = Passwords::new();
        let right = Password::parse("correct horse").unwrap();
        let token = Token::draw();
        let sealed = passwords.seal(right.clone(), token).await.unwrap();
        assert_eq!(passwords.unseal(right.clone(), sealed.clone()).await.unwrap(), Some(token));
        let wrong = Password::parse("wrong horse").unwrap();
        assert_ne!(passwords.unseal(wrong, sealed.clone()).await.unwrap(), Some(token));
        assert_ne!(
            passwords.seal(right.clone(), token).await.unwrap(),
            sealed,
            "each time under another key"
        );
        for damaged in ["", "!", "AAAA", &sealed.0[2..]] {
            assert_eq!(passwords.unseal(right.clone(), SealedToken(damaged.to_owned())).await.unwrap(), None);
        }
    }

    #[test]
    fn the_hash_of_an_unknown_account_costs_what_that_of_a_known_one_does() {
        let unknown = Phc::new(NO_ACCOUNT).unwrap();
        let known = hash_now("correct horse");
        let known = Phc::new(&known.0).unwrap();
        assert_eq!(unknown.params, known.params);
        assert_eq!((unknown.algorithm, unknown.version), (known.algorithm, known.version));
        assert_eq!(unknown.hash.unwrap().len(), known.hash.unwrap().len());
    }
}
