//! A talk: alice writes to bob without pause, and bob listens.

use crate::cluster::Cluster;
use crate::people::{Listener, Person, Writer, longest_gap};
use std::time::Duration;

/// Alice, who writes, and bob, who listens.
#[derive(Debug)]
pub struct Talk {
    pub cluster: Cluster,
    pub alice: Person,
    pub listener: Listener,
    pub writer: Writer,
}

/// Alice writes to bob without pause, bob listens.
pub async fn talk(cluster: Cluster, pipelined: bool) -> Talk {
    let alice = Person::register(&cluster, "alice").await;
    let bob = Person::register(&cluster, "bob").await;
    let listener = Listener::open(&bob).await;
    let writer = if pipelined { Writer::pipelined(&alice, "bob") } else { Writer::one_by_one(&alice, "bob") };
    writer.until_more(50).await;
    Talk { cluster, alice, listener, writer }
}

impl Talk {
    /// Ends the talk: everything acknowledged was heard, once and in order. Gives the longest gap.
    pub async fn end(self) -> (Cluster, Duration) {
        self.writer.until_more(50).await;
        let acknowledged = self.writer.stop().await;
        self.listener.assert_heard_exactly(&acknowledged).await;
        (self.cluster, longest_gap(&acknowledged))
    }
}
