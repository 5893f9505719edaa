//! Challenges for single calls that need a proof: each is good for one call, soon after it was given.
//!
//! Nothing is kept of a challenge until a proof for it was accepted: it carries its own time and a MAC under a key of
//! this process, so strangers who ask for millions of them cost no memory and push none out.

use crate::proof::{NONCE_BYTES, Nonce};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a challenge is good for.
const GOOD_FOR: Duration = Duration::from_secs(10);
const STATED_BYTES: usize = 16;

/// Gives challenges, and takes each once.
#[derive(Clone, Debug)]
pub(crate) struct Challenges(Arc<Inner>);

struct Inner {
    began: Instant,
    key: [u8; 32],
    /// Those that a proof was accepted for, with their age, for as long as they would still be good.
    used: Mutex<HashMap<Nonce, Duration>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges(…)")
    }
}

impl Challenges {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), key: rand::random(), used: Mutex::default() }))
    }

    /// A new challenge.
    pub(crate) fn give(&self) -> Nonce {
        self.give_at(self.0.began.elapsed())
    }

    fn give_at(&self, age: Duration) -> Nonce {
        let mut stated = [0; STATED_BYTES];
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        stated[..8].copy_from_slice(&micros.to_be_bytes());
        stated[8..].copy_from_slice(&rand::random::<[u8; 8]>());
        self.signed(stated)
    }

    /// Takes a challenge that came back, if it is one of ours, still good, `proven` says so, and it was not taken before.
    pub(crate) fn take(&self, challenge: &[u8], proven: impl FnOnce() -> bool) -> bool {
        self.take_at(self.0.began.elapsed(), challenge, proven)
    }

    fn take_at(&self, now: Duration, challenge: &[u8], proven: impl FnOnce() -> bool) -> bool {
        let Ok(challenge) = Nonce::try_from(challenge) else { return false };
        let (mut stated, mut micros) = ([0; STATED_BYTES], [0; 8]);
        stated.copy_from_slice(&challenge[..STATED_BYTES]);
        micros.copy_from_slice(&challenge[..8]);
        let given = Duration::from_micros(u64::from_be_bytes(micros));
        let ours = self.mac(stated).verify_truncated_left(&challenge[STATED_BYTES..]).is_ok();
        if !ours || now.saturating_sub(given) > GOOD_FOR || !proven() {
            return false;
        }
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, given| now.saturating_sub(*given) <= GOOD_FOR);
        used.insert(challenge, given).is_none()
    }

    fn signed(&self, stated: [u8; STATED_BYTES]) -> Nonce {
        let mut challenge = [0; NONCE_BYTES];
        challenge[..STATED_BYTES].copy_from_slice(&stated);
        let mac = self.mac(stated).finalize().into_bytes();
        challenge[STATED_BYTES..].copy_from_slice(&mac[..NONCE_BYTES - STATED_BYTES]);
        challenge
    }

    fn mac(&self, stated: [u8; STATED_BYTES]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0.key).expect("HMAC takes a key of any length");
        mac.update(&stated);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Duration = Duration::from_hours(1);

    #[test]
    fn a_challenge_is_good_once_and_soon() {
        let challenges = Challenges::new();
        let one = challenges.give_at(BEGIN);
        assert!(!challenges.take_at(BEGIN, &one, || false), "nothing was proven");
        assert!(challenges.take_at(BEGIN + GOOD_FOR, &one, || true), "a proof that failed used nothing up");
        assert!(!challenges.take_at(BEGIN + GOOD_FOR, &one, || true), "used again");
        let late = challenges.give_at(BEGIN);
        assert!(!challenges.take_at(BEGIN + GOOD_FOR + Duration::from_micros(1), &late, || true), "too late");
        assert_ne!(challenges.give_at(BEGIN), challenges.give_at(BEGIN));
    }

    #[test]
    fn what_is_not_ours_proves_nothing() {
        let challenges = Challenges::new();
        for at in 0..NONCE_BYTES {
            let mut changed = challenges.give_at(BEGIN);
            changed[at] ^= 1;
            assert!(!challenges.take_at(BEGIN, &changed, || unreachable!("not ours")), "byte {at}");
        }
        for other in [&[][..], &[0; NONCE_BYTES], &Challenges::new().give(), &challenges.give()[1..]] {
            assert!(!challenges.take(other, || unreachable!("not ours")));
        }
    }

    #[test]
    fn what_is_kept_of_used_challenges_goes_with_their_time() {
        let challenges = Challenges::new();
        for second in 0..100 {
            let now = BEGIN + Duration::from_secs(second);
            assert!(challenges.take_at(now, &challenges.give_at(now), || true));
        }
        assert_eq!(challenges.0.used.lock().unwrap().len(), 11);
    }
}
