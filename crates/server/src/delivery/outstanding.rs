//! Messages of which a sender is to hear that they have arrived.

use chat::MessageId;
use std::collections::VecDeque;

/// Messages in one conversation of which a stream remembers that no receipt came for them.
pub(crate) const OUTSTANDING_MAX: usize = 32;

/// Messages of one account in a conversation that the other side has not acknowledged, oldest first. Where they are many, only
/// some are kept, the newest always: a receipt then says less than has arrived, and the last one says all.
#[derive(Debug, Default)]
pub(super) struct Outstanding(VecDeque<MessageId>);

impl Outstanding {
    pub(super) fn sent(&mut self, id: MessageId) {
        if self.0.back().is_some_and(|newest| *newest >= id) {
            return;
        }
        if self.0.len() >= OUTSTANDING_MAX {
            let mut stays = false;
            self.0.retain(|_| {
                stays = !stays;
                stays
            });
        }
        self.0.push_back(id);
    }

    /// The recipient has everything up to a message: the last of these that has arrived by that, if one has.
    pub(super) fn acknowledged(&mut self, up_to: MessageId) -> Option<MessageId> {
        let arrived = self.0.partition_point(|id| *id <= up_to);
        self.0.drain(..arrived).next_back()
    }

    /// All of them, oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_messages_without_a_receipt_some_are_kept_and_the_newest_always() {
        let mut sent = Outstanding::default();
        for id in 1..=1000 {
            sent.sent(MessageId(id * 2));
            assert!(sent.0.len() <= OUTSTANDING_MAX && sent.0.back() == Some(&MessageId(id * 2)));
        }
        sent.sent(MessageId(7));
        assert_eq!(sent.acknowledged(MessageId(1)), None);
        let half = sent.acknowledged(MessageId(1001)).unwrap();
        assert!(half.0 <= 1000 && half.0.is_multiple_of(2), "{half}");
        assert_eq!(sent.acknowledged(MessageId(9999)), Some(MessageId(2000)));
        assert_eq!(sent.acknowledged(MessageId(9999)), None);
    }
}
