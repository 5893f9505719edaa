//! What keeps this replica from serving well, as its process sees it, and how the others are by their own word.
//!
//! Each message between replicas says whether its sender is impaired. So a primary gives way only where another is better
//! off: three that share a full disk do not pass the lead around.

use crate::clock;
use api::v1::ReplicaMessage;
use protocol::{Impairment, ReplicaIndex, ReplicaSet};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every message to another replica says of this one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Envelope {
    impaired: Arc<AtomicBool>,
}

impl Envelope {
    /// A message with the time at which it is sent, and whether its sender is impaired.
    pub(crate) fn around(&self, message: ReplicaMessage) -> ReplicaMessage {
        let impaired = self.impaired.load(Ordering::Relaxed);
        ReplicaMessage { wall_clock: clock::wall().0, impaired, ..message }
    }

    /// A message that says nothing else.
    pub(crate) fn alone(&self) -> ReplicaMessage {
        self.around(ReplicaMessage::default())
    }
}

/// The impairments of this replica, and the others that have none.
#[derive(Debug)]
pub(crate) struct Impairments {
    own: BTreeSet<Impairment>,
    /// There will be one, if this goes on: the others are told of it already.
    announced: bool,
    /// This replica can't lead for another reason: no other should leave the lead to it.
    unfit: bool,
    better_off: ReplicaSet,
    envelope: Envelope,
}

impl Impairments {
    pub(crate) const fn new(envelope: Envelope) -> Self {
        Self { own: BTreeSet::new(), announced: false, unfit: false, better_off: ReplicaSet::EMPTY, envelope }
    }

    /// An impairment of this replica begins, or ends.
    pub(crate) fn set(&mut self, impairment: Impairment, begins: bool) {
        if begins {
            self.own.insert(impairment);
        } else {
            self.own.remove(&impairment);
        }
        self.update_envelope();
    }

    /// The others are told of an impairment from now on, whether or not there is one yet.
    pub(crate) fn announce(&mut self, announced: bool) {
        self.announced = announced;
        self.update_envelope();
    }

    /// The others are told not to leave the lead to this replica, for as long as it could not take it.
    pub(crate) fn set_unfit(&mut self, unfit: bool) {
        self.unfit = unfit;
        self.update_envelope();
    }

    pub(crate) const fn is_announced(&self) -> bool {
        self.announced
    }

    fn update_envelope(&self) {
        let impaired = self.announced || self.unfit || !self.own.is_empty();
        self.envelope.impaired.store(impaired, Ordering::Relaxed);
    }

    /// What another replica says of itself.
    pub(crate) const fn set_other(&mut self, peer: ReplicaIndex, impaired: bool) {
        self.better_off = if impaired { self.better_off.without(peer) } else { self.better_off.with(peer) };
    }

    pub(crate) fn has(&self, impairment: Impairment) -> bool {
        self.own.contains(&impairment)
    }

    /// The gravest.
    pub(crate) fn gravest(&self) -> Option<Impairment> {
        self.own.last().copied()
    }

    /// The others that say that they are not impaired.
    pub(crate) const fn better_off(&self) -> ReplicaSet {
        self.better_off
    }

    pub(crate) const fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_says_whether_anything_impairs_its_sender() {
        let envelope = Envelope::default();
        let mut impairments = Impairments::new(envelope.clone());
        assert!(!envelope.alone().impaired && envelope.alone().wall_clock > 0);
        impairments.set(Impairment::DiskFull, true);
        impairments.set(Impairment::Ending, true);
        assert_eq!(impairments.gravest(), Some(Impairment::Ending));
        impairments.set(Impairment::Ending, false);
        assert!(envelope.alone().impaired && impairments.has(Impairment::DiskFull));
        impairments.set(Impairment::DiskFull, false);
        assert_eq!((envelope.alone().impaired, impairments.gravest()), (false, None));
        impairments.announce(true);
        assert_eq!((envelope.alone().impaired, impairments.gravest()), (true, None));
        impairments.announce(false);
        assert!(!envelope.alone().impaired);
        impairments.set_unfit(true);
        assert!(envelope.alone().impaired, "no primary leaves the lead to a replica that can't take it");
        impairments.set_unfit(false);
        assert!(!envelope.alone().impaired);
        impairments.set_other(ReplicaIndex(2), false);
        assert_eq!(impairments.better_off(), ReplicaSet::EMPTY.with(ReplicaIndex(2)));
        impairments.set_other(ReplicaIndex(2), true);
        assert!(impairments.better_off().is_empty());
    }
}
