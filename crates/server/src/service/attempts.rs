//! Attempts at passwords, before anything is computed for them: only those that fail count, and no caller can lock another out.
//!
//! Each attempt takes from three buckets that fill again with time: of its address and name, of its address, and of its name. A
//! right password gives back what it took, and makes its address known for that name: from then on only the first
//! bucket counts for the two, so that neither what others do at the same address nor attempts at the name from elsewhere
//! keep its owner waiting. What a caller that gives up has taken stays taken.
//!
//! The buckets are those of the generic cell rate algorithm, as the crate `governor` has it. That crate can neither look
//! at a bucket without taking from it nor give back, and both are needed where only failures count; nor does it bound its
//! table of keys.

use crate::caller::Origin;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failed attempts that are free, and in what time each of them is again.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    free: u32,
    refill: Duration,
}

/// Of one address at one name.
const PAIR: Allowance = Allowance { free: 10, refill: Duration::from_secs(2) };
/// Of one address, at whatever names.
const ADDRESS: Allowance = Allowance { free: 30, refill: Duration::from_millis(500) };
/// At one name, from addresses that are not known for it.
const NAME: Allowance = Allowance { free: 30, refill: Duration::from_secs(1) };
/// Failures of an address after which its attempts wait behind those of others.
const SUSPICIOUS_AFTER: u32 = 3;
/// New accounts of one address: enough for a class that signs up together.
const REGISTRATIONS: Allowance = Allowance { free: 600, refill: Duration::from_millis(100) };
/// Buckets and known pairs that are kept, each; then those that are full again go, and the oldest.
const KEYS_MAX: usize = 16_384;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pair(Origin, String),
    Address(Origin),
    Name(String),
    Registrations(Origin),
}

impl Key {
    const fn allowance(&self) -> Allowance {
        match self {
            Self::Pair(..) => PAIR,
            Self::Address(_) => ADDRESS,
            Self::Name(_) => NAME,
            Self::Registrations(_) => REGISTRATIONS,
        }
    }
}

#[derive(Debug, Default)]
struct Buckets {
    /// When each bucket is full again; those that are not here are full.
    buckets: HashMap<Key, Instant>,
    /// Which addresses have brought the right password of which name, and when.
    known: HashMap<(Origin, String), Instant>,
}

/// The attempts of all callers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<Mutex<Buckets>>);

/// One attempt, which counts as failed until it is said to have succeeded.
#[derive(Debug)]
pub(crate) struct Attempt {
    attempts: Attempts,
    origin: Origin,
    name: String,
    taken: Vec<Key>,
    suspicious: bool,
}

impl Attempts {
    /// Begins an attempt at a name, by its key; or says how long to wait before the next.
    pub(crate) fn begin(&self, origin: Origin, name: &str, now: Instant) -> Result<Attempt, Duration> {
        let mut buckets = self.lock();
        let name = name.to_owned();
        let known = buckets.known.contains_key(&(origin, name.clone()));
        let mut taken = vec![Key::Pair(origin, name.clone())];
        if !known {
            taken.extend([Key::Address(origin), Key::Name(name.clone())]);
        }
        let wait = taken.iter().filter_map(|key| buckets.wait(key, now)).max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        let suspicious = !known && buckets.missing(&Key::Address(origin), now) >= SUSPICIOUS_AFTER;
        for key in &taken {
            buckets.take(key.clone(), now);
        }
        drop(buckets);
        Ok(Attempt { attempts: self.clone(), origin, name, taken, suspicious })
    }

    /// Lets an address have one more new account; or says how long to wait before the next.
    pub(crate) fn register(&self, origin: Origin, now: Instant) -> Result<(), Duration> {
        let (key, mut buckets) = (Key::Registrations(origin), self.lock());
        if let Some(wait) = buckets.wait(&key, now) {
            return Err(wait);
        }
        buckets.take(key, now);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Whether its address has failed too often: then others come first.
    pub(crate) const fn is_suspicious(&self) -> bool {
        self.suspicious
    }

    /// The password was not looked at: nothing was taken.
    pub(crate) fn came_to_nothing(self, now: Instant) {
        self.give_back(now);
    }

    /// The password was right: nothing was taken, and the address is known for the name.
    pub(crate) fn succeeded(self, now: Instant) {
        self.give_back(now);
        let mut buckets = self.attempts.lock();
        if buckets.known.len() >= KEYS_MAX
            && let Some(oldest) = buckets.known.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
        {
            buckets.known.remove(&oldest);
        }
        buckets.known.insert((self.origin, self.name), now);
    }

    fn give_back(&self, now: Instant) {
        let mut buckets = self.attempts.lock();
        for key in &self.taken {
            buckets.give_back(key, now);
        }
    }
}

impl Buckets {
    /// How long until there is something to take from a bucket.
    fn wait(&self, key: &Key, now: Instant) -> Option<Duration> {
        let Allowance { free, refill } = key.allowance();
        let empty_for = self.buckets.get(key)?.saturating_duration_since(now);
        let wait = empty_for.checked_sub(refill * (free - 1))?;
        (!wait.is_zero()).then_some(wait)
    }

    /// How many attempts a bucket is short of.
    fn missing(&self, key: &Key, now: Instant) -> u32 {
        let short =
            self.buckets.get(key).map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        u32::try_from(short.as_millis().div_ceil(key.allowance().refill.as_millis())).unwrap_or(u32::MAX)
    }

    fn take(&mut self, key: Key, now: Instant) {
        if self.buckets.len() >= KEYS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, full_at| *full_at > now);
            if self.buckets.len() >= KEYS_MAX
                && let Some(next) =
                    self.buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone())
            {
                self.buckets.remove(&next);
            }
        }
        let refill = key.allowance().refill;
        let full_at = self.buckets.entry(key).or_insert(now);
        *full_at = (*full_at).max(now) + refill;
    }

    fn give_back(&mut self, key: &Key, now: Instant) {
        if let Some(full_at) = self.buckets.get_mut(key) {
            *full_at = full_at.checked_sub(key.allowance().refill).unwrap_or(now);
            if *full_at <= now {
                self.buckets.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn origin(last: u8) -> Origin {
        Origin::of(IpAddr::from([127, 0, 0, last]))
    }

    fn fail(attempts: &Attempts, origin: Origin, name: &str, now: Instant) -> bool {
        attempts.begin(origin, name, now).is_ok()
    }

    #[test]
    fn failures_at_a_name_are_soon_slowed_and_right_passwords_cost_nothing() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let failed = (0..60).filter(|_| fail(&attempts, origin(1), "alice", now)).count();
        assert_eq!(failed, 10);
        let wait = attempts.begin(origin(1), "alice", now).unwrap_err();
        assert_eq!(wait, PAIR.refill);
        assert!(fail(&attempts, origin(1), "alice", now + wait), "one more after that time");
        assert!(!fail(&attempts, origin(1), "alice", now + wait), "and only one");
        for _ in 0..1000 {
            attempts.begin(origin(2), "bob", now).unwrap().succeeded(now);
            attempts.begin(origin(3), "carol", now).unwrap().came_to_nothing(now);
        }
    }

    #[test]
    fn no_stranger_locks_an_account_out() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        attempts.begin(origin(1), "alice", now).unwrap().succeeded(now);
        // Strangers try her name from everywhere, and other names from her own address.
        for last in 2..250 {
            for _ in 0..20 {
                fail(&attempts, origin(last), "alice", now);
            }
        }
        for n in 0..1000 {
            fail(&attempts, origin(1), &format!("nobody{n}"), now);
        }
        assert!(
            attempts.begin(origin(251), "alice", now).is_err(),
            "an address that is not known for her is slowed"
        );
        let hers = attempts.begin(origin(1), "alice", now).unwrap();
        assert!(!hers.is_suspicious());
        let slowed = attempts.begin(origin(251), "alice", now + NAME.refill);
        assert!(slowed.is_ok(), "and only slowed");
    }

    #[test]
    fn an_address_that_tries_many_names_is_slowed_and_comes_after_others() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let tried: Vec<bool> = (0..100)
            .filter_map(|n| attempts.begin(origin(1), &format!("name{n}"), now).ok())
            .map(|attempt| attempt.is_suspicious())
            .collect();
        assert_eq!(
            (tried.len(), tried[..3].contains(&true), tried[3..].contains(&false)),
            (30, false, false)
        );
        assert!(!attempts.begin(origin(2), "carol", now).unwrap().is_suspicious());
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin_and_a_mapped_address_is_what_it_maps() {
        let at = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:127.0.0.1"), at("127.0.0.1"));
    }

    #[test]
    fn registrations_are_limited_by_address() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let made = (0..1000).filter(|_| attempts.register(origin(1), now).is_ok()).count();
        assert_eq!(made, 600);
        assert_eq!(attempts.register(origin(1), now), Err(REGISTRATIONS.refill));
        assert_eq!(attempts.register(origin(2), now), Ok(()));
    }

    #[test]
    fn the_buckets_are_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..u32::try_from(KEYS_MAX + 100).unwrap() {
            let origin = Origin::of(IpAddr::from(n.to_be_bytes()));
            drop(attempts.begin(origin, &format!("a{n}"), now));
            if n % 64 == 0 {
                attempts.begin(origin, &format!("b{n}"), now).unwrap().succeeded(now);
            }
        }
        assert!(attempts.lock().buckets.len() <= KEYS_MAX && attempts.lock().known.len() <= KEYS_MAX);
    }
}
