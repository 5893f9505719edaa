//! The layout shows the architecture: which file may use which, what the driver may not name, and that what the documents
//! name is there.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use whole_process_tests::workspace::{CRATES, root};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_in(folder, &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// A module as the names on the way to it: `["service", "messages"]`.
type Module = Vec<String>;

/// The source of each module of a crate, tests aside.
fn modules(name: &str) -> BTreeMap<Module, String> {
    let source = root().join("crates").join(name).join("src");
    let mut modules = BTreeMap::new();
    for file in rust_files(&source) {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module == ["lib"] || module == ["main"] {
            module.clear();
        }
        let text = read(&file);
        modules.insert(module, text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned());
    }
    modules
}

/// The paths that a `use` names, without its groups.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, group)) = path.split_once('{') else { return vec![path.to_owned()] };
    let group = group.strip_suffix('}').unwrap();
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.flat_map(|part| expanded(&format!("{before}{part}"))).collect()
}

/// What a module uses of its own crate, each as a path from the crate on.
fn uses(module: &Module, text: &str) -> Vec<Vec<String>> {
    let begins = |line: &str| {
        let line = line.trim_start();
        ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().any(|begin| line.starts_with(begin))
    };
    let statements = text.split(';').filter_map(|statement| {
        let line = statement.lines().position(begins)?;
        let statement: String = statement.lines().skip(line).collect();
        let (_, path) = statement.split_once("use ")?;
        Some(path.replace(char::is_whitespace, ""))
    });
    let of_the_crate = statements
        .filter(|path| ["crate::", "super::", "self::"].iter().any(|begin| path.starts_with(begin)));
    of_the_crate
        .flat_map(|path| expanded(&path))
        .map(|path| {
            let mut from = module.clone();
            let mut names = path.split("::").peekable();
            while let Some(name) = names.next_if(|name| ["crate", "super", "self"].contains(name)) {
                match name {
                    "crate" => from.clear(),
                    "super" => drop(from.pop()),
                    _ => {}
                }
            }
            from.extend(names.map(str::to_owned));
            from
        })
        .collect()
}

/// Which children of a folder use which, each child with all that is in its own folder.
fn arrows(modules: &BTreeMap<Module, String>, folder: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let children: BTreeSet<&String> = modules
        .keys()
        .filter(|module| module.starts_with(folder))
        .filter_map(|module| module.get(folder.len()))
        .collect();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in modules {
        let Some(child) = module.get(folder.len()).filter(|_| module.starts_with(folder)) else { continue };
        let used = uses(module, text).into_iter().filter(|path| path.starts_with(folder));
        let used = used.filter_map(|path| path.get(folder.len()).cloned());
        let used = used.filter(|name| name != child && children.contains(name));
        arrows.entry(child.clone()).or_default().extend(used);
    }
    arrows
}

/// The children that can be reached from themselves.
fn in_circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let reached = |from: &String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(name) = next.pop() {
            for used in arrows.get(&name).into_iter().flatten() {
                if reached.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        reached
    };
    arrows.keys().filter(|name| reached(name).contains(*name)).cloned().collect()
}

/// Folders in which files may use each other, and why.
const CIRCLES: [(&str, &str, &[&str]); 3] = [
    // One object in chapters: `Common` holds what each rule keeps, and each rule is methods of `Common`.
    ("protocol", "", &["common", "doubt", "event", "impairment", "memory", "note"]),
    // One object in chapters: every part of the world is methods of `World`, and an event may concern any of them.
    (
        "simulator",
        "",
        &[
            "agenda", "checks", "client", "listener", "looks", "network", "node", "register", "sender",
            "storage", "world",
        ],
    ),
    // The faults of disks are a chapter of the nemesis.
    ("trialogue", "prove", &["disks", "nemesis"]),
];

#[test]
fn no_files_use_each_other_in_a_circle_but_those_that_are_named_with_a_reason() {
    for name in CRATES {
        let modules = modules(name);
        let folders: BTreeSet<&[String]> = modules
            .keys()
            .filter(|module| !module.is_empty())
            .map(|module| &module[..module.len() - 1])
            .collect();
        for folder in folders {
            let found = in_circles(&arrows(&modules, folder));
            let named = CIRCLES.iter().find(|(of, place, _)| *of == name && *place == folder.join("/"));
            let named = named.map(|(_, _, files)| files.iter().map(|file| (*file).to_owned()).collect());
            assert_eq!(
                found,
                named.unwrap_or_default(),
                "files of {name}/{} use each other",
                folder.join("/")
            );
        }
    }
}

#[test]
fn a_circle_is_found() {
    let modules =
        [("a", "use crate::b::X;"), ("b", "use crate::{c::d::Y, z};"), ("c/d", "use super::super::a;")];
    let modules =
        modules.map(|(name, text)| (name.split('/').map(str::to_owned).collect::<Module>(), text.to_owned()));
    let found = in_circles(&arrows(&modules.into(), &[]));
    assert_eq!(found.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn the_service_knows_no_door_and_no_transport() {
    for (module, text) in modules("server") {
        if module.first().is_some_and(|name| name == "service") {
            for name in ["tonic", "axum", "hyper"] {
                assert!(!text.contains(name), "{} names {name}", module.join("/"));
            }
            let doors = uses(&module, &text).into_iter().filter_map(|path| path.first().cloned());
            for used in doors {
                assert!(
                    !["grpc", "web", "serve", "connections"].contains(&&*used),
                    "{} uses {used}",
                    module.join("/")
                );
            }
        }
    }
}

/// The driver performs effects and decides nothing; nor does the simulated world, in which the core is run.
#[test]
fn neither_the_driver_nor_the_world_names_a_role() {
    for path in [
        "crates/server/src/driver.rs",
        "crates/server/src/driver/batches.rs",
        "crates/simulator/src/effects.rs",
        "crates/simulator/src/world.rs",
    ] {
        let text = read(&root().join(path));
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let text = code.join("\n");
        for name in
            ["Role", "role", "Primary", "Secondary", "Takeover", "Starting", "in_sync()", "is_primary"]
        {
            assert!(!text.contains(name), "{path} names {name}");
        }
    }
}

/// The documents that name files and functions of the code.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_in(&root().join("docs"), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    found
}

/// Each text between backquotes on one line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_file_and_function_that_a_document_names_is_there() {
    let mut files = Vec::new();
    for folder in ["crates", "tests", "web", "docs", "examples"] {
        files_in(&root().join(folder), &mut files);
    }
    let names: Vec<String> = files.iter().map(|file| format!("/{}", file.display())).collect();
    let mut looked_at = 0;
    for document in documents() {
        for line in read(&document).lines() {
            let quotes = quoted(line);
            for (at, name) in quotes.iter().enumerate() {
                let extension = Path::new(name).extension();
                let is_file = extension.is_some_and(|extension| extension == "rs" || extension == "js")
                    && !name.contains("NAME");
                if !is_file || name.contains(char::is_whitespace) {
                    continue;
                }
                looked_at += 1;
                let found: Vec<&PathBuf> = files
                    .iter()
                    .zip(&names)
                    .filter(|(_, path)| path.ends_with(&format!("/{name}")))
                    .map(|(file, _)| file)
                    .collect();
                assert!(!found.is_empty(), "{} names {name}, which is not there", document.display());
                // `file.rs` (`function`): the function is in that file.
                let function = quotes.get(at + 1).filter(|_| line.contains(&format!("`{name}` (`")));
                if let Some(function) =
                    function.filter(|name| name.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_'))
                {
                    let defined = |file: &&PathBuf| read(file).contains(&format!("fn {function}"));
                    assert!(
                        found.iter().any(defined),
                        "{} names {function} in {name}, which is not there",
                        document.display()
                    );
                }
            }
        }
    }
    assert!(looked_at > 20, "{looked_at} names");
}

/// The table that says what defends which rule of the protocol names dialogues, stories and planted faults.
#[test]
fn what_defends_a_rule_is_there() {
    let tests = root().join("crates/protocol/tests");
    let planted = root().join("crates/simulator/planted");
    let readme = read(&tests.join("README.md"));
    let (_, table) = readme.split_once("# What defends which rule").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.split('|').collect())
        .collect();
    for row in &rows {
        let places = [
            (2, tests.join("dialogues"), "txt"),
            (3, tests.join("stories"), "txt"),
            (4, planted.clone(), "patch"),
        ];
        for (column, folder, extension) in places {
            for name in quoted(row[column]).into_iter().filter(|name| !name.contains('.')) {
                let file = folder.join(name).with_extension(extension);
                assert!(file.exists(), "{}: {} is not there", row[1].trim(), file.display());
            }
        }
    }
    let rules: String = rows.iter().map(|row| row[1]).collect();
    for number in 1..=9 {
        assert!(rules.contains(&format!("{number}")), "invariant {number} has no row");
    }
}

/// Vague words make a reader guess who is meant: a client, a peer, a person, a task. Some are left where people see
/// them, and in the names that tests and documents compare.
#[test]
fn few_sentences_leave_open_who_or_how_many() {
    let vague = ["whoever", "somebody", "nobody", "so many", "so long", "has gone away"];
    let mut files = Vec::new();
    files_in(&root().join("crates"), &mut files);
    files_in(&root().join("web"), &mut files);
    let kinds = ["rs", "js", "css", "html"];
    let is_source = |path: &Path| {
        let kind = path.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| kinds.contains(&kind));
        let in_tests =
            path.strip_prefix(root()).unwrap().iter().any(|part| part == "tests" || part == "target");
        kind && !in_tests
    };
    let mut found = Vec::new();
    for file in files.into_iter().filter(|path| is_source(path)) {
        for line in read(&file).lines() {
            let line = line.to_lowercase();
            let words: Vec<&str> = line.split(|sign: char| !sign.is_alphanumeric()).collect();
            let text = format!(" {} ", words.join(" "));
            if vague.iter().any(|word| text.contains(&format!(" {word} "))) {
                found.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.len() < 40, "{} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn files_stay_small() {
    for folder in std::fs::read_dir(root().join("crates")).unwrap() {
        let source = folder.unwrap().path().join("src");
        for file in rust_files(&source) {
            let lines = read(&file).lines().count();
            assert!(lines <= 450, "{} has {lines} lines: does it still do one thing?", file.display());
        }
    }
    for file in rust_files(&root().join("tests")) {
        let lines = read(&file).lines().count();
        assert!(lines <= 550, "{} has {lines} lines: what could go to a file of its own?", file.display());
    }
}
