//! Rules of the code base that a test can keep.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The crates of this workspace that a crate depends on, tests aside.
fn dependencies(name: &str) -> Vec<String> {
    const CRATES: [&str; 8] =
        ["protocol", "chat", "store", "api", "server", "client", "simulator", "trialogue"];
    let manifest = std::fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
    let own = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    own.lines()
        .filter_map(|line| line.split('.').next())
        .filter(|name| CRATES.contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_arrows_between_crates_point_one_way() {
    let allowed: [(&str, &[&str]); 8] = [
        ("protocol", &[]),
        ("simulator", &["protocol"]),
        ("chat", &["protocol"]),
        ("store", &["chat", "protocol"]),
        ("api", &["chat", "protocol"]),
        ("server", &["api", "chat", "protocol", "store"]),
        ("client", &["api", "chat"]),
        ("trialogue", &["api", "chat", "client", "protocol", "server", "store"]),
    ];
    for (name, allowed) in allowed {
        for dependency in dependencies(name) {
            assert!(allowed.contains(&&*dependency), "{name} must not depend on {dependency}");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_small_and_the_core_stays_pure() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    sources(&root().join("tests"), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines: does it still do one thing?", file.display());
    }
    let core = std::fs::read_to_string(root().join("crates/protocol/src/lib.rs")).unwrap();
    assert!(core.contains("#![no_std]"), "the compiler holds the protocol to purity");
}
