//! That everything is bounded, at every replica: what is in flight, and how far the tables are behind.

use crate::fact::Fact;
use crate::storage::BATCH_MAX;
use crate::world::World;
use protocol::Record;

/// Batches in flight, and the bytes of their records. Asked of the replica that has just handled an event.
pub(crate) fn under_way(world: &World, i: usize) {
    let Some(node) = world.nodes[i].as_ref().filter(|node| node.serving) else { return };
    let (bounds, committed) = (world.profile.bounds, node.replica.committed().op);
    let batches = node.batches.iter().filter(|batch| batch.end.op > committed).count();
    let in_flight = node.overlay.iter().filter(|entry| entry.op > committed);
    let bytes: usize = in_flight.map(|entry| entry.record.encoded().len()).sum();
    // The last of them may begin one byte below the bound; beside its requests it may say what is forgotten.
    let bytes_max = bounds.bytes_in_flight + (BATCH_MAX + 1) * Fact::BYTES;
    assert!(
        batches <= bounds.batches_in_flight && bytes < bytes_max,
        "replica {i} has {batches} batches and {bytes} bytes in flight, beyond {bounds:?}"
    );
}

/// Writes that wait for the log: at a primary what is in flight, at a secondary what one primary may have sent to it.
pub(crate) fn queues_for_the_log(world: &World, i: usize) {
    let (Some(node), bounds) = (&world.nodes[i], world.profile.bounds) else { return };
    let most = bounds.batches_in_flight.max(bounds.batches_kept) + 2;
    assert!(
        node.log_queue.len() <= most,
        "{} writes wait for the log of replica {i}, beyond {bounds:?}",
        node.log_queue.len()
    );
}

/// A primary executes no more while its tables are too far behind.
pub(crate) fn executes_within_the_lag(world: &World, i: usize) {
    let lag = lag(world, i);
    assert!(
        lag <= world.profile.bounds.apply_lag,
        "replica {i} executes a batch, and its tables lack {lag} entries that are committed"
    );
}

/// A secondary confirms no more while its tables are too far behind: what it confirms it must apply before it can serve.
pub(crate) fn confirms_within_the_lag(world: &World, i: usize) {
    let lag = lag(world, i);
    assert!(
        lag <= world.profile.bounds.apply_lag,
        "replica {i} confirms, and its tables lack {lag} entries that are committed"
    );
}

fn lag(world: &World, i: usize) -> u64 {
    let Some(node) = &world.nodes[i] else { return 0 };
    node.replica.committed().op.0.saturating_sub(node.replica.applied().op.0)
}
