//! The invariants, looked at from outside: a function each. All but the last are asked after every step.

use crate::fact::Request;
use crate::world::World;
use crate::zones;
use protocol::{Op, Position, ReplicaIndex, RoleName};
use std::time::Duration;

/// A request may be forgotten this much too early: monotonic clocks run up to a fifth fast.
const AGE_SLACK: Duration = Duration::from_millis(200);

/// Invariant 1: a view number has one primary. Asked of the replica that has just handled an event.
pub(crate) fn one_primary_a_view(world: &mut World, i: usize) {
    let Some(node) = &world.nodes[i] else { return };
    if let Some(view) = node.replica.leads() {
        let me = node.index;
        let first = *world.ledger.primaries.entry(view.number).or_insert(me);
        assert_eq!(first, me, "invariant 1: view {} is led by {first} and by {me}", view.number);
    }
}

/// A disk that had lost what it had confirmed has all of it again.
pub(crate) fn who_is_level_again(world: &mut World) {
    let Position { op, chain } = world.ledger.acknowledged;
    for (lied, disk) in world.lied.iter_mut().zip(&world.disks) {
        *lied = *lied && disk.chain_at(op) != Some(chain);
    }
}

/// Invariant 2: everything acknowledged is in the log of every replica that is in sync. One position stands for all
/// entries up to it, because its chain does.
pub(crate) fn acknowledged_is_everywhere(world: &World) {
    if world.register.hurt {
        return;
    }
    let Some(view) = world.register.newest() else { return };
    let Position { op, chain } = world.ledger.acknowledged;
    for index in view.in_sync.iter() {
        let disk = &world.disks[usize::from(index.0)];
        if !view.holds(index, disk.database, disk.position()) {
            continue;
        }
        // What reads well counts for nothing if a power failure would take it.
        let durable = disk.durable();
        let there = durable.chain_at(op);
        let pruned = op < durable.pruned.op;
        let serves = world.nodes[usize::from(index.0)].as_ref().is_some_and(|node| node.serving);
        let lost = world.lied[usize::from(index.0)] && !serves;
        assert!(
            there == Some(chain) || pruned || lost,
            "invariant 2: op {op} was acknowledged and is not at replica {index} ({} on its disk, {} as it reads), in sync by {view}",
            durable.position(),
            disk.position()
        );
    }
}

/// Invariant 2, at the moment when a replica acknowledges something new, whatever the register says: it follows what was
/// acknowledged before.
pub(crate) fn follows_what_was_acknowledged(world: &World, i: usize) {
    let Position { op, chain } = world.ledger.acknowledged;
    let disk = &world.disks[i];
    assert!(
        disk.chain_at(op) == Some(chain) || op < disk.pruned.op || world.lied[i],
        "invariant 2: replica {i} acknowledges something new, ends at {}, and lacks op {op}, which was acknowledged",
        disk.position()
    );
}

/// Invariant 3: equal ops mean equal chains among the replicas that are in sync.
pub(crate) fn no_fork_in_sync(world: &World) {
    if world.register.hurt {
        return;
    }
    let Some(view) = world.register.newest() else { return };
    // Until its primary serves, a new view may still hold a replica that is found to be forked while it is levelled.
    let primary = &world.nodes[usize::from(view.primary().0)];
    if !primary.as_ref().is_some_and(|node| node.serving && node.replica.leads() == Some(view)) {
        return;
    }
    let leader = &world.disks[usize::from(view.primary().0)];
    for index in view.in_sync.iter() {
        let disk = &world.disks[usize::from(index.0)];
        if !view.holds(index, disk.database, disk.position()) {
            continue;
        }
        let op = leader.position().op.min(disk.position().op);
        if let (Some(a), Some(b)) = (leader.chain_at(op), disk.chain_at(op)) {
            assert_eq!(
                a,
                b,
                "invariant 3: replicas {} and {index}, in sync by {view}, differ at op {op}",
                view.primary()
            );
        }
    }
}

/// Invariant 4, at the moment a read is answered: everything acknowledged before it began is there.
pub(crate) fn read_sees(reader: usize, position: Position, acknowledged_before: Op) {
    assert!(
        position.op >= acknowledged_before,
        "invariant 4: a read at replica {reader} sees {position}, and op {acknowledged_before} was acknowledged before it began"
    );
}

/// Invariant 5: the answers to one request are the same.
pub(crate) fn same_answer(world: &mut World, request: u32, op: Op) {
    let first = *world.ledger.answers.entry(request).or_insert(op);
    assert_eq!(first, op, "invariant 5: request {request} was answered with op {first} and with op {op}");
}

/// Invariant 9, at the moment when a client is sent "done": as many replicas as were asked for are in sync and hold it.
/// One whose folder was replaced meanwhile has held it; the primary can't know yet.
pub(crate) fn as_many_copies(world: &World, i: usize, end: Position, wanted: usize) {
    let Some(led) = world.nodes[i].as_ref().and_then(|node| node.replica.leads()) else { return };
    let to_come = world.views_to_come();
    let in_sync = to_come.iter().fold(led.in_sync, |all, view| all.union(view.in_sync));
    let holds = |index: &ReplicaIndex| {
        let place = usize::from(index.0);
        let disk = &world.disks[place];
        disk.chain_at(end.op) == Some(end.chain)
            || end.op < disk.pruned.op
            || world.replaced[place]
            || world.lied[place]
    };
    let copies = in_sync.iter().filter(holds).count();
    assert!(
        copies >= wanted,
        "invariant 9: replica {i} says that op {} is on {wanted} replicas, and {copies} in sync hold it by {led}",
        end.op
    );
}

/// Invariant 8: what is sent by streams takes effect in the order in which it was sent, over all fail-overs.
fn in_the_order_sent(world: &World) {
    let state = &world.disks[0].state;
    for (i, sender) in world.senders.iter().enumerate() {
        let mut last = Op(0);
        for request in &sender.sent {
            let op = state.effect(*request).expect("every answered message took effect");
            assert!(
                op > last,
                "invariant 8: sender {i}'s message {request} has op {op}, and the one before it op {last}"
            );
            last = op;
        }
    }
}

/// A client that keeps right time is not refused because of it, by a primary that keeps right time now: a new request is
/// taken and a retry gets its answer, however wrong any clock was before (invariants 5 and 7).
pub(crate) fn refused_for_its_date(world: &World, i: usize, request: Request) {
    let (right, age_max) = (world.right_time(), world.profile.remembering.age_max);
    let fresh = request.dated <= right && request.dated.plus(age_max) > right.plus(AGE_SLACK);
    assert!(
        world.wrong_by[i] != 0 || !fresh,
        "invariant 5: request {}, made {:?} ago, is refused for its date, and no clock is wrong{}",
        request.id,
        right.apart(request.dated),
        if world.disks[i].state.effect(request.id).is_some() { "; it took effect" } else { "" }
    );
}

/// At the end: what is in the databases is what was acknowledged, heard and read.
pub(crate) fn the_end(world: &World) {
    let disk = &world.disks[0];
    for (i, other) in world.disks.iter().enumerate() {
        assert_eq!(
            disk.position(),
            other.position(),
            "invariant 3: replica {i} ends elsewhere than replica 0"
        );
        assert!(disk.state == other.state, "invariant 3: replica {i} holds another state than replica 0");
    }
    for (request, op) in &world.ledger.answers {
        assert_eq!(
            disk.state.effect(*request),
            Some(*op),
            "invariant 2: request {request}, answered with op {op}, is not there"
        );
    }
    for (i, listener) in world.listeners.iter().enumerate() {
        let sent = disk.state.messages.iter().filter(|message| usize::from(message.to) == i);
        let sent: Vec<_> = sent.map(|message| (message.op, message.request)).collect();
        assert_eq!(listener.heard, sent, "invariant 6: listener {i} heard something else than what was sent");
    }
    in_the_order_sent(world);
    for (key, history) in world.ledger.history.iter().enumerate() {
        if let Err(violation) = zones::check(history) {
            panic!("the history of register {key} is not linearizable: {violation}\n{history:?}");
        }
    }
}

/// Invariant 7, once faults have stopped: the lowest index serves, everyone is in sync, and everybody has heard.
pub(crate) fn healed(world: &World) -> Result<(), String> {
    let view = world.register.newest().ok_or("there is no view")?;
    let replicas = world.nodes.len();
    if view.in_sync.len() != replicas {
        return Err(format!("only {} of {replicas} are in sync by {view}", view.in_sync.len()));
    }
    for (i, node) in world.nodes.iter().enumerate() {
        let Some(node) = node else { return Err(format!("replica {i} is down")) };
        if let RoleName::Halted(reason) = node.replica.status(world.local(i)).role {
            return Err(format!("replica {i} has halted: {reason}"));
        }
        if node.serving != (node.index == ReplicaIndex(0)) {
            return Err(format!(
                "replica {i} {} by {view}",
                if node.serving { "serves" } else { "does not serve" }
            ));
        }
    }
    let end = world.disks[0].position();
    if world.disks.iter().any(|disk| disk.position() != end) {
        return Err("the replicas are not level".into());
    }
    if world.somebody_waits() {
        return Err("a client has no answer".into());
    }
    for (i, listener) in world.listeners.iter().enumerate() {
        let last = world.disks[0].state.messages.iter().rfind(|message| usize::from(message.to) == i);
        if last.is_some_and(|message| message.op > listener.cursor()) {
            return Err(format!("listener {i} has not heard everything"));
        }
    }
    Ok(())
}
