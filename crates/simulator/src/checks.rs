//! The invariants, looked at from outside: a function each, asked after every step, or at the moment that a function names. What
//! a single replica says and does of its own log is in `log.rs`, how much it has under way in `bounds.rs`.

mod bounds;
mod log;

pub(crate) use self::bounds::{
    confirms_within_the_lag, executes_within_the_lag, queues_for_the_log, under_way,
};
pub(crate) use self::log::{
    applies_what_is_committed, confirms_what_is_durable, cut_is_wanted, cut_keeps_what_is_committed,
    executes_past_no_barrier, overlay_is_what_the_tables_lack, serves_with_complete_tables,
    shows_where_its_log_ends, snapshot_is_wanted, tables_show_what_is_committed,
    what_is_known_to_be_committed,
};
use crate::fact::Request;
use crate::node::Node;
use crate::world::World;
use crate::zones;
use protocol::{Op, Position, ReplicaIndex, RoleName, View};
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
    let Position { op, chain } = world.ledger.promised();
    for (lied, disk) in world.lied.iter_mut().zip(&world.disks) {
        *lied = *lied && disk.chain_at(op) != Some(chain);
    }
}

/// Invariant 2: everything acknowledged, or known to be committed by any replica, is in the log of every replica that is in
/// sync. One position stands for all entries up to it, because its chain does.
pub(crate) fn acknowledged_is_everywhere(world: &World) {
    if world.register.altered {
        return;
    }
    let Some(view) = world.register.newest() else { return };
    let Position { op, chain } = world.ledger.promised();
    for index in view.in_sync.iter() {
        let disk = &world.disks[usize::from(index.0)];
        if !view.holds(index, disk.database, disk.position()) {
            continue;
        }
        let there = disk.chain_at(op);
        let pruned = op < disk.pruned.op;
        let serves = world.nodes[usize::from(index.0)].as_ref().is_some_and(|node| node.serving);
        let lost = world.lied[usize::from(index.0)] && !serves;
        assert!(
            there == Some(chain) || pruned || lost,
            "invariant 2: op {op} was acknowledged, or known to be committed, and is not at replica {index} ({}), in sync by {view}",
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

/// Invariant 2, at the moment when a batch is answered: it is in the synced log of the replica that answers, and in that of every
/// replica that is in sync by any view that is or may yet be installed.
pub(crate) fn answered_is_in_every_required_log(world: &World, i: usize, end: Position) {
    let lacks = |place: usize| {
        let disk = &world.disks[place];
        disk.chain_at(end.op) != Some(end.chain) && end.op >= disk.pruned.op && !world.lied[place]
    };
    assert!(
        !lacks(i),
        "invariant 2: replica {i} acknowledges op {} and its own log ends at {}",
        end.op,
        world.disks[i].position()
    );
    if world.register.altered {
        return;
    }
    for view in world.views_to_come() {
        for index in view.in_sync.iter() {
            let place = usize::from(index.0);
            let disk = &world.disks[place];
            assert!(
                !lacks(place) || !view.holds(index, disk.database, disk.position()),
                "invariant 2: replica {i} acknowledges op {}, and the log of replica {index}, in sync by {view}, ends at {}",
                end.op,
                disk.position()
            );
        }
    }
}

/// Invariant 2, when a view is proposed: a replica that it puts in sync is so from the first, because its log reaches to where the view
/// begins. One whose folder was replaced meanwhile did reach there; its proposer can't know yet.
pub(crate) fn proposes_who_holds_everything(world: &World, view: &View) {
    if world.register.newest().is_some_and(|newest| newest.number.next() != view.number) {
        // It will not be installed.
        return;
    }
    for index in view.in_sync.iter() {
        let place = usize::from(index.0);
        let (disk, replaced) = (&world.disks[place], world.replaced[place] || world.lied[place]);
        assert!(
            view.holds(index, disk.database, disk.position()) || replaced || world.register.altered,
            "invariant 2: {view} is proposed, and the log of replica {index} ends at {}",
            disk.position()
        );
    }
}

/// Invariant 2, when a candidate proposes a view: each of those that have shown their positions to it has what the candidate knows
/// to be committed.
pub(crate) fn keeps_no_member_that_lost_something(world: &World, i: usize, view: &View) {
    let Some(candidate) = world.nodes[i].as_ref().filter(|node| node.replica.leads().is_none()) else {
        return;
    };
    let committed = candidate.replica.committed();
    for index in view.in_sync.without(candidate.index).iter() {
        let shown = world.nodes[usize::from(index.0)].as_ref().and_then(|node| node.shown);
        // What it has shown since to another candidate for the same view, its folder wiped, this one does not hear.
        let lost = shown.is_some_and(|(number, to, position)| {
            (number, to) == (view.number, candidate.index) && position.op < committed.op
        });
        assert!(
            !lost,
            "invariant 2: {view} is proposed, replica {index} has shown {shown:?}, and {committed} is committed"
        );
    }
}

/// Invariant 4, when a read is allowed: no replica serves a newer view, in which something may be acknowledged that this one does
/// not know of.
pub(crate) fn reads_while_no_newer_view_is_served(world: &World, i: usize) {
    let led = |node: &Node| node.replica.leads().map(|view| view.number).filter(|_| node.serving);
    let mine = world.nodes[i].as_ref().and_then(led);
    let newer = world.nodes.iter().flatten().find(|node| led(node) > mine);
    assert!(
        newer.is_none() || world.register.altered,
        "invariant 4: replica {i} allows a read in view {mine:?}, and replica {:?} serves view {:?}",
        newer.map(|node| node.index),
        newer.and_then(led)
    );
}

/// A primary that proposes to hand over has nothing in flight, so that no client is left without an answer by it.
pub(crate) fn hands_over_at_rest(world: &World, i: usize, view: &View) {
    let Some(node) = &world.nodes[i] else { return };
    if !node.serving || view.primary() == node.index {
        return;
    }
    let committed = node.replica.committed().op;
    let executes = node.executing.as_ref().is_some_and(|executing| executing.primacy == node.primacy);
    assert!(
        !executes && node.batches.iter().all(|batch| batch.end.op <= committed),
        "replica {i} proposes {view}, which another leads, and has batches in flight"
    );
}

/// Invariant 3: equal ops mean equal chains among the replicas that are in sync.
pub(crate) fn no_fork_in_sync(world: &World) {
    if world.register.altered {
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
    let state = world.disks[0].state();
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
        if world.disks[i].state().effect(request.id).is_some() { "; it took effect" } else { "" }
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
        assert!(disk.state() == other.state(), "invariant 3: replica {i} holds another state than replica 0");
    }
    for (request, op) in &world.ledger.answers {
        assert_eq!(
            disk.state().effect(*request),
            Some(*op),
            "invariant 2: request {request}, answered with op {op}, is not there"
        );
    }
    for (i, listener) in world.listeners.iter().enumerate() {
        let sent = disk.state().messages.iter().filter(|message| usize::from(message.to) == i);
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
    if world.disks.iter().any(|disk| disk.applied() != end) {
        return Err("the tables are not complete".into());
    }
    if world.somebody_waits() {
        return Err("a client has no answer".into());
    }
    for (i, listener) in world.listeners.iter().enumerate() {
        let last = world.disks[0].state().messages.iter().rfind(|message| usize::from(message.to) == i);
        if last.is_some_and(|message| message.op > listener.cursor()) {
            return Err(format!("listener {i} has not heard everything"));
        }
    }
    Ok(())
}
