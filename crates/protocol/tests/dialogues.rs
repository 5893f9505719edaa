//! Dialogues: one replica alone, and a script that plays everybody else: the peers, the register, the store, the clock.
//! Where a story shows what a cluster does, a dialogue shows what one replica does at one moment, and what it leaves.
//!
//! `REWRITE=1 cargo test --release -p protocol --test dialogues` writes what happens now into the files; a reviewer reads
//! the difference. The format is explained in `README.md` beside this file.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod dialogue;

use dialogue::Script;

#[test]
fn the_dialogues_are_as_they_are_told() {
    datadriven::walk("tests/dialogues", |file| {
        let mut script = Script::default();
        file.run(|case| {
            let mut told = String::new();
            for line in case.input.lines() {
                script.step(line, &mut told);
            }
            script.due(&mut told);
            told
        });
    });
}
