//! Stories: a script and, under each step, what the replicas said and acknowledged. One file a behaviour.
//!
//! `REWRITE=1 cargo test --release -p protocol --test stories` writes what happens now into the files; a reviewer reads the
//! difference. The format is explained in `README.md` beside this file.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use datadriven::TestCase;
use simulator::World;

/// Milliseconds, with up to three places after the point.
fn micros(text: &str) -> u64 {
    let (millis, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{millis}{fraction:0<3}").parse().unwrap()
}

/// Carries out one step and gives what was said meanwhile.
fn step(world: &mut Option<World>, case: &TestCase) -> String {
    let words: Vec<String> = case.args.keys().cloned().collect();
    let lines: Vec<&str> = case.input.lines().collect();
    assert!(words.is_empty(), "the steps stand below their heading, a line each");
    for line in lines {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| parts[place].parse::<usize>().unwrap();
        if parts[0] == "replicas" {
            *world = Some(World::story(number(1)));
            continue;
        }
        let world = world.as_mut().expect("a story begins with `replicas N`");
        match parts[0] {
            "wait" => world.run_for(micros(parts[1])),
            "start" => parts[1..].iter().for_each(|i| world.start(i.parse().unwrap())),
            "crash" => parts[1..].iter().for_each(|i| world.crash(i.parse().unwrap())),
            "pause" => world.pause(number(1)),
            "resume" => world.resume(number(1)),
            "wipe" => world.wipe(number(1)),
            "stop" => parts[1..].iter().for_each(|i| world.stop(i.parse().unwrap())),
            "power-fails" => world.lose_power(),
            "take-over-folder" => world.remake_folder(number(1), false, true),
            "copy-folder" => world.remake_folder(number(1), true, false),
            "break" => world.break_stream(number(1), number(2)),
            "cut" => {
                world.cut(number(1), number(2));
                world.cut(number(2), number(1));
            }
            "deafen" => world.cut(number(2), number(1)),
            "heal" => world.heal(),
            "full" => world.health[number(1)].full = true,
            "free" => world.health[number(1)].full = false,
            "syncs-fail" => world.health[number(1)].syncs_fail = true,
            "syncs-work" => world.health[number(1)].syncs_fail = false,
            "lose-power" => parts[1..].iter().for_each(|i| {
                world.crash(i.parse().unwrap());
                world.disk_loses_power(i.parse().unwrap());
            }),
            "lose" => world.lose(number(1), number(2)),
            "prune" => world.profile.log_entries_max = 4,
            "no-register" => world.isolate_from_register(number(1), true),
            "register" => world.isolate_from_register(number(1), false),
            "empty-register" => world.empty_register(),
            "no-proof" => world.profile.proofs_withheld = 100,
            "read" => world.read(number(1)),
            "write" => assert!(world.write(parts[1]), "nobody serves:\n{}", world.trace.text),
            "write-at" => world.write_at(number(1), parts[2]),
            other => panic!("no such step: {other}"),
        }
    }
    let world = world.as_mut().expect("a story begins with `replicas N`");
    let said = std::mem::take(&mut world.trace.text);
    if said.is_empty() { "(nothing is said)\n".to_owned() } else { said }
}

#[test]
fn the_stories_are_as_they_are_told() {
    datadriven::walk("tests/stories", |file| {
        let mut world = None;
        file.run(|case| step(&mut world, case));
    });
}
