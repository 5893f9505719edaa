//! Session tokens: 256 random bits. The database holds their hashes, and, for a login's retry, each of them sealed under
//! that login's password (see `passwords.rs`): nothing that lies in the folder suffices to compute one.

use crate::key::ClusterKey;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

pub(crate) const TOKEN_BYTES: usize = 32;

/// A session token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) [u8; TOKEN_BYTES]);

impl Token {
    /// A new one, from the generator that the operating system has seeded.
    pub(crate) fn draw() -> Self {
        Self(rand::random())
    }

    /// As clients get it and send it.
    pub(crate) fn text(self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl ClusterKey {
    /// A password for an account that belongs to the cluster itself: always the same, and only for holders of the key.
    pub fn derived_password(&self, purpose: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.bytes()).expect("HMAC takes a key of any length");
        mac.update(b"trialogue password v1");
        mac.update(purpose.as_bytes());
        BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_another_and_is_never_shown() {
        let token = Token::draw();
        assert_ne!(token, Token::draw());
        assert_eq!(token.text().len(), 43);
        assert!(!format!("{token:?}").contains(&token.text()));
    }

    #[test]
    fn a_derived_password_is_always_the_same_and_of_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = ClusterKey::read_or_make(&folder.path().join("key")).unwrap();
        let other = ClusterKey::read_or_make(&folder.path().join("other")).unwrap();
        assert_eq!(key.derived_password("one"), key.derived_password("one"));
        assert_ne!(key.derived_password("one"), key.derived_password("another"));
        assert_ne!(key.derived_password("one"), other.derived_password("one"));
    }
}
