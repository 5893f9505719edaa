//! Session tokens: 256 bits that nobody can guess and that no database holds.
//!
//! A token is an HMAC of the login's request id under the cluster's key. So the retry of a login gets the same token
//! from whichever replica answers it, and still only the token's hash is stored.

use crate::key::ClusterKey;
use chat::{RequestId, TokenHash};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const PURPOSE: &[u8] = b"trialogue session token v1";

/// The token of the session that this login opens.
pub(crate) fn token_for(key: &ClusterKey, login: RequestId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes a key of any length");
    mac.update(PURPOSE);
    mac.update(login.0.as_bytes());
    BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
}

impl ClusterKey {
    /// A password for an account that belongs to the cluster itself: always the same, and only for whoever has the key.
    pub fn derived_password(&self, purpose: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.bytes()).expect("HMAC takes a key of any length");
        mac.update(b"trialogue password v1");
        mac.update(purpose.as_bytes());
        BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
    }
}

/// What is stored of a token.
pub(crate) fn hash_of(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_one_token_and_each_login_another() {
        let folder = tempfile::tempdir().unwrap();
        let key = ClusterKey::read_or_make(&folder.path().join("key")).unwrap();
        let other = ClusterKey::read_or_make(&folder.path().join("other")).unwrap();
        let login = RequestId(uuid::Uuid::now_v7());
        assert_eq!(token_for(&key, login), token_for(&key, login));
        assert_ne!(token_for(&key, login), token_for(&other, login));
        assert_ne!(token_for(&key, login), token_for(&key, RequestId(uuid::Uuid::now_v7())));
        assert_eq!(token_for(&key, login).len(), 43);
        assert_eq!(key.derived_password("one"), key.derived_password("one"));
        assert_ne!(key.derived_password("one"), key.derived_password("another"));
        assert_ne!(key.derived_password("one"), other.derived_password("one"));
    }
}
