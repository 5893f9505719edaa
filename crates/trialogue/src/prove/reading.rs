//! Readers of a proof: what was acknowledged before a read began is in it (nothing stale), and what a read shows is there at
//! the end, too (no ghost: an entry that was shown before it was committed, and then never was).

use super::habits::{self, Person, Stage, name};
use client::{ClientError, MessageId};
use people::Content;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Messages of one page.
const PAGE: u32 = 20;

/// Reads the ends of one person's conversations until the proof is over.
pub(crate) async fn read(person: Person, stage: Stage, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stage.is_over() {
        let other = random.random_range(0..stage.people);
        let before = stage.ledger.last_between(person.number, other);
        match person.session.conversation(&name(other), None, PAGE).await {
            Ok(page) => {
                let newest = page.messages.first().map_or(0, |message| message.id);
                if newest < before.0 {
                    stage.ledger.complain(format!(
                        "a read is stale: message {} was acknowledged before it began, and it ends at {newest}",
                        before.0
                    ));
                }
                for message in &page.messages {
                    if let (Some(from), Some(to)) =
                        (habits::number(&message.from), habits::number(&message.to))
                    {
                        stage.ledger.shown(MessageId(message.id), Content::of(from, to, &message.text));
                    }
                }
            }
            Err(ClientError::Refused { message, .. }) => {
                stage.ledger.complain(format!("a read was refused: {message}"));
            }
            // No replica served for long: the next read tries again. A read changes nothing that could be kept.
            Err(
                ClientError::NobodyServed { .. } | ClientError::Abandoned | ClientError::KeptOnFewer { .. },
            ) => {}
        }
        stage.pause(Duration::from_millis(random.random_range(0..100))).await;
    }
}
