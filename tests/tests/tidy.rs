//! Rules of the code base that a test can keep.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use whole_process_tests::workspace::{CRATES, root};

/// The crates of this workspace that a crate depends on, tests aside.
fn dependencies(name: &str) -> Vec<String> {
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
    let allowed: [(&str, &[&str]); 11] = [
        ("protocol", &[]),
        ("simulator", &["protocol"]),
        ("chat", &["protocol"]),
        ("files", &[]),
        ("replica-log", &["files", "protocol"]),
        ("store", &["chat", "files", "protocol", "replica-log"]),
        ("api", &["chat", "protocol"]),
        ("server", &["api", "chat", "files", "protocol", "replica-log", "store"]),
        ("client", &["api", "chat"]),
        ("people", &["chat", "client"]),
        ("trialogue", &["api", "chat", "client", "files", "people", "protocol", "server", "store"]),
    ];
    for (name, allowed) in allowed {
        for dependency in dependencies(name) {
            assert!(allowed.contains(&&*dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_core_stays_pure() {
    let core = std::fs::read_to_string(root().join("crates/protocol/src/lib.rs")).unwrap();
    assert!(core.contains("#![no_std]"), "the compiler holds the protocol to purity");
}

/// What may be in this program, from the file that `cargo deny` reads.
struct Rules {
    licences: Vec<String>,
    exceptions: BTreeMap<String, Vec<String>>,
    registries: Vec<String>,
}

impl Rules {
    fn read() -> Self {
        let rules: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
        let texts = |value: &toml::Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let exceptions = rules["licenses"]["exceptions"].as_array().unwrap().iter();
        Self {
            licences: texts(&rules["licenses"]["allow"]),
            exceptions: exceptions
                .map(|exception| {
                    (exception["crate"].as_str().unwrap().to_owned(), texts(&exception["allow"]))
                })
                .collect(),
            registries: texts(&rules["sources"]["allow-registry"]),
        }
    }

    /// Whether a package may be used under an expression (SPDX, and `/` for "or" as older crates write it).
    fn allow_licence(&self, package: &str, expression: &str) -> bool {
        let Ok(expression) = Expression::parse_mode(expression, ParseMode::LAX) else { return false };
        let excepted = self.exceptions.get(package);
        expression.evaluate(|asked: &LicenseReq| {
            let asked = asked.to_string();
            self.licences.contains(&asked) || excepted.is_some_and(|excepted| excepted.contains(&asked))
        })
    }

    /// Whether a package may come from there; those of this workspace have no source.
    fn allow_source(&self, source: &str) -> bool {
        source.strip_prefix("registry+").is_some_and(|url| self.registries.iter().any(|known| known == url))
    }
}

#[test]
fn everything_that_this_program_is_made_of_has_a_licence_and_a_source_that_are_allowed() {
    let rules = Rules::read();
    let host = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // The packages of other platforms need not be on this machine.
    let asked = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(rules.allow_licence(name, licence), "{name} has the licence {licence:?}; see deny.toml");
        if let Some(source) = package["source"].as_str() {
            assert!(rules.allow_source(source), "{name} comes from {source}; see deny.toml");
        } else {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            assert!(manifest.starts_with(root()), "{name} comes from {}", manifest.display());
        }
    }
    // The sources of those of other platforms are in the lock file.
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let source = package.get("source").map_or("", |source| source.as_str().unwrap());
        assert!(
            source.is_empty() || rules.allow_source(source),
            "{package} has another source; see deny.toml"
        );
    }
}

#[test]
fn licences_and_sources_that_the_rules_do_not_allow_are_noticed() {
    let rules = Rules::read();
    for (package, licence, allowed) in [
        ("any", "MIT OR Apache-2.0", true),
        ("any", "MIT/Apache-2.0", true),
        ("any", "Unlicense OR MIT", true),
        ("any", "(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("webdriver", "MPL-2.0", true),
        ("any", "MPL-2.0", false),
        ("any", "GPL-3.0-only", false),
        ("any", "MIT AND GPL-3.0-only", false),
        ("any", "", false),
        ("any", "ask the author", false),
    ] {
        assert_eq!(rules.allow_licence(package, licence), allowed, "{package} {licence:?}");
    }
    for source in [
        "git+https://github.com/a/b",
        "registry+https://example.org/index",
        "sparse+https://example.org/",
        "",
    ] {
        assert!(!rules.allow_source(source), "{source:?}");
    }
}
