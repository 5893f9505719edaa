//! The page's JavaScript is checked: by TypeScript, with the calls as the schema of the frames has them, and by a linter.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::skipped::skipped;
use whole_process_tests::workspace::root;

/// The tools that `tests/install` has brought.
fn tools() -> Option<PathBuf> {
    let tools = root().join("target/javascript/node_modules");
    if tools.join(".bin/tsc").exists() {
        return Some(tools);
    }
    skipped("there is no TypeScript");
    None
}

/// A module that a replica makes of what the program says elsewhere.
async fn served(cluster: &Cluster, path: &str) -> String {
    let address = cluster.address(0).to_string();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn said(command: &mut Command) -> (bool, String) {
    let done = command.output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// The page's modules, beside what the tools need to know of the rest of the program.
async fn checked(tools: &Path) -> tempfile::TempDir {
    // Below the tools, which look for each other above what they check.
    let folder = tempfile::Builder::new().prefix("checked-").tempdir_in(tools.parent().unwrap()).unwrap();
    for file in std::fs::read_dir(root().join("web")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "js") {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    let cluster = Cluster::serving().await;
    let state = served(&cluster, "/service-state.js").await;
    std::fs::write(folder.path().join("service-state.js"), state).unwrap();
    let schema = root().join("docs/web-socket.schema.json");
    let arguments = ["--no-additionalProperties", "--unreachableDefinitions", "-i"];
    let (ok, types) = said(Command::new(tools.join(".bin/json2ts")).args(arguments).arg(schema));
    assert!(ok, "{types}");
    let names = std::fs::read_to_string(root().join("tests/javascript/calls.d.ts")).unwrap();
    std::fs::write(folder.path().join("frames.d.ts"), types + &names).unwrap();
    folder
}

/// What TypeScript says of the modules in that folder.
fn types(tools: &Path, folder: &Path) -> (bool, String) {
    let mut complaints = String::new();
    let mut all_ok = true;
    // A service worker lives in another world than a page.
    for (library, worker) in [("es2023,dom,dom.iterable", false), ("es2023,webworker", true)] {
        let modules = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let modules: Vec<PathBuf> = modules
            .filter(|file| file.extension().is_some_and(|extension| extension == "js"))
            .filter(|file| file.ends_with("worker.js") == worker)
            .collect();
        let (ok, said) = said(
            Command::new(tools.join(".bin/tsc"))
                .args(["--noEmit", "--allowJs", "--checkJs", "--strict", "false", "--target", "es2023"])
                .args(["--module", "esnext", "--moduleResolution", "bundler", "--lib", library])
                .args(modules),
        );
        all_ok &= ok;
        complaints += &said;
    }
    (all_ok, complaints)
}

#[tokio::test]
async fn the_pages_modules_fit_each_other_and_the_frames() {
    let Some(tools) = tools() else { return };
    let folder = checked(&tools).await;
    let (ok, said) = types(&tools, folder.path());
    assert!(ok, "{said}");

    // The check notices a field and a call that the schema does not have.
    let talk = folder.path().join("talk.js");
    let right = std::fs::read_to_string(&talk).unwrap();
    for (field, wrong) in
        [("with_id: conversation.id", "with: conversation.id"), ("\"mark_read\"", "\"mark_seen\"")]
    {
        assert!(right.contains(field));
        std::fs::write(&talk, right.replace(field, wrong)).unwrap();
        let (ok, said) = types(&tools, folder.path());
        assert!(!ok && said.contains("talk.js"), "{wrong} is not noticed: {said}");
    }
}

#[tokio::test]
async fn the_linter_finds_nothing_in_the_pages_modules() {
    let Some(tools) = tools() else { return };
    let folder = checked(&tools).await;
    let rules = tools.parent().unwrap().join("eslint.config.mjs");
    std::fs::copy(root().join("tests/javascript/eslint.config.mjs"), &rules).unwrap();
    let lint = |folder: &Path| {
        let mut eslint = Command::new(tools.join(".bin/eslint"));
        said(eslint.current_dir(tools.parent().unwrap()).arg("--config").arg(&rules).arg(folder))
    };
    let (ok, complaints) = lint(folder.path());
    assert!(ok, "{complaints}");
    std::fs::write(folder.path().join("careless.js"), "var text = prompt(); if (text == 1) eval(text);")
        .unwrap();
    let (ok, complaints) = lint(folder.path());
    assert!(!ok && complaints.contains("no-eval") && complaints.contains("eqeqeq"), "{complaints}");
}
