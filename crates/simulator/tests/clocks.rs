//! Wall clocks that are wrong for long: who leads, and who does not.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use simulator::World;

const HOUR: i64 = 3_600_000;

fn serving(world: &World) -> Vec<usize> {
    let nodes = world.nodes.iter().enumerate();
    nodes.filter(|(_, node)| node.as_ref().is_some_and(|node| node.serving)).map(|(i, _)| i).collect()
}

fn settled(replicas: usize) -> World {
    let mut world = World::unfaulty(replicas, 1);
    world.run_for(2_000_000);
    assert_eq!(serving(&world), [0], "the lowest index serves");
    world
}

#[test]
fn a_replica_an_hour_from_two_others_that_agree_does_not_lead_until_its_clock_is_right() {
    for wrong_by in [-40 * 24 * HOUR, -HOUR, HOUR, 40 * 24 * HOUR] {
        let mut world = settled(3);
        world.set_clock_wrong(0, wrong_by);
        world.run_for(2_000_000);
        assert_eq!(serving(&world), [1], "{wrong_by} ms wrong");
        assert!(world.write("meanwhile"));
        world.run_for(10_000_000);
        assert_eq!(serving(&world), [1], "{wrong_by} ms wrong, and still");
        world.set_clock_wrong(0, 0);
        world.run_for(60_000_000);
        assert_eq!(serving(&world), [0], "{wrong_by} ms wrong, and right again");
    }
}

#[test]
fn fewer_witnesses_and_smaller_differences_change_nothing() {
    let cases: [(usize, &[i64]); 4] =
        [(2, &[HOUR]), (3, &[HOUR - 1]), (3, &[HOUR, 2 * HOUR]), (3, &[HOUR, HOUR, HOUR])];
    for (replicas, wrong) in cases {
        let mut world = settled(replicas);
        for (i, by) in wrong.iter().enumerate() {
            world.set_clock_wrong(i, *by);
        }
        world.run_for(5_000_000);
        assert_eq!(serving(&world), [0], "{replicas} replicas, wrong by {wrong:?}");
    }
}

#[test]
fn a_wrong_clock_does_not_keep_the_last_replica_from_serving() {
    let mut world = settled(3);
    world.set_clock_wrong(2, HOUR);
    world.run_for(1_000_000);
    for i in [0, 1] {
        world.crash(i);
        world.run_for(5_000_000);
    }
    assert_eq!(serving(&world), [2]);
}
