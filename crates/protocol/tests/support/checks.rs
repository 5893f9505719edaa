//! The invariants, looked at from outside: one function each.

use super::world::World;
use protocol::{ReplicaIndex, RoleName, ViewNumber};
use std::collections::BTreeMap;

pub type Primaries = BTreeMap<ViewNumber, ReplicaIndex>;

/// Invariant 1: a view number has one primary.
pub fn one_primary_a_view(world: &World, primaries: &mut Primaries) {
    for node in world.nodes.iter().flatten() {
        if let Some(view) = node.replica.leads() {
            let me = node.index;
            let first = *primaries.entry(view.number).or_insert(me);
            assert_eq!(first, me, "invariant 1: view {} is led by {first} and by {me}", view.number);
        }
    }
}

/// Invariant 2: an acknowledged entry is in the log of every replica that is in sync.
pub fn acknowledged_is_everywhere(world: &World) {
    let Some(view) = world.register.last() else { return };
    for index in view.in_sync.iter() {
        let disk = &world.disks[usize::from(index.0)];
        if !view.holds(index, disk.database, disk.position()) {
            continue;
        }
        for word in &world.acknowledged {
            let pruned = world.prunes && !disk.contains(word);
            assert!(
                pruned || disk.contains(word),
                "invariant 2: {word} was acknowledged and is not at replica {index}, in sync by {view}"
            );
        }
    }
}

/// Invariant 3: equal ops mean equal chains among the replicas that are in sync.
pub fn no_fork_in_sync(world: &World) {
    let Some(view) = world.register.last() else { return };
    // Until its primary serves, a new view may still hold a replica that is found to be forked while it is levelled.
    let serving = world.nodes.iter().flatten().any(|node| node.serving && node.replica.leads() == Some(view));
    if !serving {
        return;
    }
    let disks: Vec<_> = view.in_sync.iter().map(|index| &world.disks[usize::from(index.0)]).collect();
    for pair in disks.windows(2) {
        let op = pair[0].position().op.min(pair[1].position().op);
        if let (Some(a), Some(b)) = (pair[0].chain_at(op), pair[1].chain_at(op)) {
            assert_eq!(a, b, "invariant 3: two replicas in sync by {view} differ at op {op}");
        }
    }
}

/// Invariant 4, at the moment a read is answered: everything acknowledged before it began is there.
pub fn read_sees(world: &World, reader: usize, acknowledged_before: usize) {
    for word in &world.acknowledged[..acknowledged_before] {
        assert!(
            world.prunes || world.disks[reader].contains(word),
            "invariant 4: a read at replica {reader} misses {word}, acknowledged before it began"
        );
    }
}

/// Invariant 5: a word takes effect at most once in any log.
pub fn once(world: &World) {
    for (index, disk) in world.disks.iter().enumerate() {
        let mut words: Vec<_> = disk.log.iter().map(|entry| entry.fact.0.clone()).collect();
        let all = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all, "invariant 5: a word stands twice in the log of replica {index}");
    }
}

/// Invariant 7, once faults have stopped: someone serves, and everyone is in sync.
pub fn healed(world: &World) -> Result<(), String> {
    let view = world.register.last().ok_or("there is no view")?;
    if view.in_sync.len() != world.nodes.len() {
        return Err(format!("only {} of {} are in sync by {view}", view.in_sync.len(), world.nodes.len()));
    }
    let serving: Vec<_> =
        world.nodes.iter().flatten().filter(|node| node.serving).map(|node| node.index).collect();
    if serving != [ReplicaIndex(0)] {
        return Err(format!("serving: {serving:?} by {view}"));
    }
    let halted = world
        .nodes
        .iter()
        .flatten()
        .any(|node| matches!(node.replica.status(world.now).role, RoleName::Halted(_)));
    if halted { Err("a replica has halted".into()) } else { Ok(()) }
}
