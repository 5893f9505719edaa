//! What one replica says of its own log, and what it does with it: each looked at from outside at the moment when it happens.

use crate::node::{Node, Told};
use crate::world::World;
use protocol::{Op, Position, View};

/// Invariant 2: what a replica knows to be committed never becomes less in one run, is in its own log, and follows what any knew
/// before.
pub(crate) fn what_is_known_to_be_committed(world: &mut World, i: usize) {
    let Some(node) = &mut world.nodes[i] else { return };
    let Some(before) = node.committed else { return };
    let committed = node.replica.committed();
    assert!(
        committed.op >= before.op,
        "invariant 2: replica {i} knows {committed} to be committed, and knew {before} before"
    );
    node.committed = Some(committed);
    let disk = &world.disks[i];
    assert!(
        disk.chain_at(committed.op) == Some(committed.chain) || committed.op < disk.pruned.op,
        "invariant 2: replica {i} knows {committed} to be committed, and its log ends at {}",
        disk.position()
    );
    if committed.op > world.ledger.committed.op {
        let Position { op, chain } = world.ledger.committed;
        assert!(
            disk.chain_at(op) == Some(chain) || op < disk.pruned.op || world.lied[i],
            "invariant 2: replica {i} knows {committed} to be committed, and lacks op {op}, which was known to be committed before"
        );
        world.ledger.committed = committed;
    }
}

/// Invariant 2: no tables show what is not committed, whichever replica's they are. Asked of the replica that has just handled an
/// event.
pub(crate) fn tables_show_what_is_committed(world: &World, i: usize) {
    let (disk, committed) = (&world.disks[i], world.ledger.promised());
    let applied = disk.applied();
    let known = disk.chain_at(applied.op).is_none_or(|chain| chain == applied.chain);
    assert!(
        known && (applied.op <= committed.op || world.register.altered || world.lied[i]),
        "invariant 2: the tables of replica {i} show {applied}, and only {committed} is known to be committed anywhere"
    );
}

/// Invariant 2, before a log is cut: nothing goes that this replica knows to be committed, and it is in sync by no view that
/// is or may yet be installed.
pub(crate) fn cut_keeps_what_is_committed(world: &World, i: usize, to: Position) {
    let known = world.nodes[i].as_ref().map_or(Position::ORIGIN, |node| node.replica.committed());
    assert!(
        known.op <= to.op,
        "invariant 2: replica {i} cuts its log to {to}, and knows {known} to be committed"
    );
    let disk = &world.disks[i];
    for view in world.views_to_come() {
        assert!(
            !view.holds(crate::network::index(i), disk.database, disk.position()) || world.register.altered,
            "invariant 2: replica {i} cuts its log to {to}, and is in sync by {view}"
        );
    }
}

/// Invariant 2, when a replica has its log cut: the primary of the newest view that it knows has told it to, by the place where its
/// log ends.
pub(crate) fn cut_is_wanted(world: &World, i: usize) {
    let Some(node) = &world.nodes[i] else { return };
    let end = world.disks[i].position();
    let told = node.told_to_cut.filter(|(_, position)| *position == end);
    assert!(
        told.is_some_and(|(told, _)| by_its_primary(world, node, told)),
        "invariant 2: replica {i} cuts its log, which ends at {end}, was told {:?}, listens on {:?}, and knows {:?}",
        node.told_to_cut,
        node.listens_on,
        newest_view(world, node).map(|view| view.to_string())
    );
}

/// Invariant 2, when a replica gives up its database for a snapshot: the primary of the newest view that it knows has told it to.
pub(crate) fn snapshot_is_wanted(world: &World, i: usize) {
    let Some(node) = &world.nodes[i] else { return };
    assert!(
        node.told_to_take_a_snapshot.is_some_and(|told| by_its_primary(world, node, told)),
        "invariant 2: replica {i} takes a snapshot, was told {:?}, listens on {:?}, and knows {:?}",
        node.told_to_take_a_snapshot,
        node.listens_on,
        newest_view(world, node).map(|view| view.to_string())
    );
}

/// Whether it was the primary of the newest view that this replica knows, and is not in sync by, on the stream on which it has
/// shown its position.
fn by_its_primary(world: &World, node: &Node, told: Told) -> bool {
    let i = usize::from(node.index.0);
    let Some(view) = newest_view(world, node) else { return false };
    let disk = &world.disks[i];
    node.listens_on == Some((told.peer, told.stream))
        && (told.number, told.peer) == (view.number, view.primary())
        && !view.holds(node.index, disk.database, disk.position())
}

/// The newest view that a replica knows.
fn newest_view(world: &World, node: &Node) -> Option<View> {
    node.replica.status(world.local(usize::from(node.index.0))).view
}

/// Invariant 2, before entries are applied: they are in this replica's own log, and it knows them to be committed.
pub(crate) fn applies_what_is_committed(world: &World, i: usize, up_to: Position) {
    let Some(node) = &world.nodes[i] else { return };
    let (disk, committed) = (&world.disks[i], node.replica.committed());
    assert!(
        up_to.op <= committed.op
            && (disk.chain_at(up_to.op) == Some(up_to.chain) || up_to.op < disk.pruned.op),
        "invariant 2: replica {i} applies its log up to {up_to}, and knows {committed} to be committed"
    );
}

/// Invariant 2, when a replica shows its position: its durable log ends there, and will be found to end there, because nothing is
/// being written to it and no write has failed.
pub(crate) fn shows_where_its_log_ends(world: &World, i: usize, position: Position) {
    let Some(node) = &world.nodes[i] else { return };
    let end = world.disks[i].position();
    assert!(
        position == end && node.log_queue.is_empty() && !node.log_failed,
        "invariant 2: replica {i} shows {position}; its log ends at {end}, {} writes wait, and one has failed: {}",
        node.log_queue.len(),
        node.log_failed
    );
}

/// Invariant 2, when a replica confirms: what it confirms is in its durable log.
pub(crate) fn confirms_what_is_durable(world: &World, i: usize, position: Position) {
    let disk = &world.disks[i];
    assert!(
        disk.chain_at(position.op) == Some(position.chain) || position.op < disk.pruned.op,
        "invariant 2: replica {i} confirms {position}, and its log ends at {}",
        disk.position()
    );
}

/// Invariant 4, when a replica begins to serve: its tables show everything that it has logged, and all of that is committed.
pub(crate) fn serves_with_complete_tables(world: &World, i: usize) {
    let (disk, committed) = (&world.disks[i], world.nodes[i].as_ref().map(|node| node.replica.committed()));
    assert!(
        disk.applied() == disk.position() && committed == Some(disk.position()),
        "invariant 4: replica {i} begins to serve at {}; its tables show {}, and {committed:?} is committed",
        disk.position(),
        disk.applied()
    );
}

/// Invariant 5, when a primary has a batch executed: its tables show the last batch of this primacy that is a barrier, by which
/// the next one is decided.
pub(crate) fn executes_past_no_barrier(world: &World, i: usize) {
    let Some(node) = &world.nodes[i] else { return };
    let applied = world.disks[i].applied();
    assert!(
        applied.op >= node.barrier,
        "invariant 5: replica {i} executes a batch, its tables show {applied}, and what was executed up to op {} is a barrier",
        node.barrier
    );
}

/// Invariant 5, before a batch is executed: what the tables lack of what was executed in this primacy is all in the overlay, and
/// nothing else is.
pub(crate) fn overlay_is_what_the_tables_lack(world: &World, i: usize) {
    let Some(node) = &world.nodes[i] else { return };
    let applied = world.disks[i].applied();
    assert!(
        applied.extend(&node.overlay) == Some(node.executed),
        "invariant 5: replica {i} has executed up to {}; its tables show {applied}, and the overlay {:?}",
        node.executed,
        node.overlay.iter().map(|entry| entry.op).collect::<Vec<Op>>()
    );
}
