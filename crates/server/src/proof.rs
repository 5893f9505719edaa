//! Proving that one has the cluster's key, without sending it.
//!
//! Both sides of a call draw a nonce, and each sends an HMAC-SHA256 over both nonces, who calls, who is called, the cluster
//! and which of the two it is itself. So a proof is good for one call between these two, in one direction: it can't be
//! sent back to its maker, nor be used again, nor with another replica. Each purpose has a key of its own (HKDF, RFC
//! 5869), so a proof for one opens nothing else. Why this and no more: docs/protocol.md.

use crate::key::ClusterKey;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The bytes of a nonce and of a challenge.
pub(crate) const NONCE_BYTES: usize = 32;
/// Stands for the index of a caller that is no replica, in the proofs for `Digest`.
pub const NO_REPLICA: u32 = u32::MAX;

/// Random bytes, drawn for one call.
pub type Nonce = [u8; NONCE_BYTES];

/// Which cluster a replica belongs to: derived from the cluster's key, of which it tells nothing. So it is the same on all
/// replicas wherever the key was copied to, and replicas of a version that did not know it have it too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// What a proof is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The stream between two replicas.
    Stream,
    /// Fetching a snapshot.
    Snapshot,
    /// Asking for digests of the tables.
    Digest,
    /// Making an account where registration is closed.
    Registration,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Stream => b"trialogue v1 stream",
            Self::Snapshot => b"trialogue v1 snapshot",
            Self::Digest => b"trialogue v1 digest",
            Self::Registration => b"trialogue v1 registration",
        }
    }
}

/// Which side of a call proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that calls.
    Caller,
    /// The one that is called.
    Called,
}

/// The two sides of one call: what every proof in it covers.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The index of the replica that calls, or [`NO_REPLICA`].
    pub caller: u32,
    /// The index of the replica that is called.
    pub called: u32,
    /// What the caller has drawn.
    pub caller_nonce: &'a [u8],
    /// What the called replica has drawn.
    pub called_nonce: &'a [u8],
}

/// Makes and verifies the proofs of one call.
#[derive(Clone)]
pub struct Proofs(Hmac<Sha256>);

impl Proofs {
    /// The proof of one side, which covers `parts` too.
    pub fn by(&self, side: Side, parts: &[&[u8]]) -> Vec<u8> {
        self.absorbed(side, parts).finalize().into_bytes().to_vec()
    }

    /// Whether this is the proof of that side, over these parts; takes the same time whatever differs.
    pub fn verify(&self, side: Side, parts: &[&[u8]], proof: &[u8]) -> bool {
        self.absorbed(side, parts).verify_slice(proof).is_ok()
    }

    fn absorbed(&self, side: Side, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        absorb(&mut mac, if side == Side::Caller { b"caller" } else { b"called" });
        for part in parts {
            absorb(&mut mac, part);
        }
        mac
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proofs(…)")
    }
}

/// With its length before it, so that no two lists of parts come to the same bytes.
fn absorb(mac: &mut Hmac<Sha256>, part: &[u8]) {
    mac.update(&(part.len() as u64).to_be_bytes());
    mac.update(part);
}

impl ClusterKey {
    /// Which cluster this key belongs to.
    pub fn cluster_id(&self) -> ClusterId {
        let mut id = [0; 16];
        self.derive(b"trialogue v1 cluster id", &mut id);
        ClusterId(id)
    }

    /// The proofs of one call.
    pub fn proofs(&self, call: Call<'_>) -> Proofs {
        let mut key = [0; 32];
        self.derive(call.purpose.label(), &mut key);
        let mut mac = hmac(&key);
        absorb(&mut mac, &api::PROTOCOL.to_be_bytes());
        absorb(&mut mac, &self.cluster_id().0);
        absorb(&mut mac, &call.caller.to_be_bytes());
        absorb(&mut mac, &call.called.to_be_bytes());
        absorb(&mut mac, call.caller_nonce);
        absorb(&mut mac, call.called_nonce);
        Proofs(mac)
    }

    /// What digests of rows are keyed with: without this key they can't be compared with a guess.
    pub(crate) fn row_digests(&self) -> Hmac<Sha256> {
        let mut key = [0; 32];
        self.derive(b"trialogue v1 rows", &mut key);
        hmac(&key)
    }

    fn derive(&self, label: &[u8], derived: &mut [u8]) {
        Hkdf::<Sha256>::new(None, self.bytes())
            .expand(label, derived)
            .expect("HKDF gives up to 255 times 32 bytes");
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// A nonce that can't be foreseen.
pub fn draw_nonce() -> Nonce {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ClusterKey {
        ClusterKey::from_bytes([7; 32])
    }

    const CALL: Call<'static> = Call {
        purpose: Purpose::Stream,
        caller: 2,
        called: 0,
        caller_nonce: &[1; NONCE_BYTES],
        called_nonce: &[2; NONCE_BYTES],
    };

    #[test]
    fn a_proof_is_good_for_one_call_one_direction_and_one_key() {
        let proof = key().proofs(CALL).by(Side::Caller, &[b"said"]);
        assert!(key().proofs(CALL).verify(Side::Caller, &[b"said"], &proof));
        let others = [
            ("another purpose", Call { purpose: Purpose::Snapshot, ..CALL }),
            ("another caller", Call { caller: 1, ..CALL }),
            ("another replica called", Call { called: 1, ..CALL }),
            ("the indexes the other way round", Call { caller: 0, called: 2, ..CALL }),
            ("an older nonce of the caller", Call { caller_nonce: &[3; NONCE_BYTES], ..CALL }),
            ("an older nonce of the called", Call { called_nonce: &[3; NONCE_BYTES], ..CALL }),
            (
                "the nonces the other way round",
                Call { caller_nonce: CALL.called_nonce, called_nonce: CALL.caller_nonce, ..CALL },
            ),
        ];
        for (what, other) in others {
            assert!(!key().proofs(other).verify(Side::Caller, &[b"said"], &proof), "{what}");
        }
        let proofs = key().proofs(CALL);
        assert!(!proofs.verify(Side::Called, &[b"said"], &proof), "sent back to its maker");
        assert!(!proofs.verify(Side::Caller, &[b"sai", b"d"], &proof), "the same bytes, cut elsewhere");
        assert!(!proofs.verify(Side::Caller, &[], &proof), "something else was said");
        assert!(!proofs.verify(Side::Caller, &[b"said"], &proof[..31]), "cut short");
        assert!(!proofs.verify(Side::Caller, &[b"said"], &[]), "nothing");
        let other_key = ClusterKey::from_bytes([8; 32]);
        assert!(!other_key.proofs(CALL).verify(Side::Caller, &[b"said"], &proof), "another key");
    }

    #[test]
    fn the_cluster_id_depends_on_the_key_alone() {
        assert_eq!(key().cluster_id(), key().cluster_id());
        assert_ne!(key().cluster_id(), ClusterKey::from_bytes([8; 32]).cluster_id());
        // Clients may keep things under it: it must not change from one version to the next.
        assert_eq!(key().cluster_id().to_string(), "6e1a5ec0de1f99b33a0315b80d5fb564");
    }
}
