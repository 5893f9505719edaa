//! The README tells the truth: every command in it runs, in its order.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use std::path::Path;
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The lines of the shell blocks, without their comments.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).map(|line| line.split("  #").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[tokio::test]
async fn every_command_of_the_first_conversation_works() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    let readme = readme();
    let conversation = readme.split("## A first conversation").nth(1).unwrap().split("\n## ").next().unwrap();
    let talk: Vec<String> =
        commands(conversation).into_iter().filter(|line| !line.starts_with("cargo install")).collect();
    assert!(talk.len() >= 7, "{talk:?}");
    let folder = whole_process_tests::cluster::program().parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    for line in talk {
        let output = shell.shell_line(&line, &path);
        assert_eq!(output.code, 0, "{line}: {}", output.stderr);
        println!("$ {line}\n{}", output.stdout);
    }
}

#[test]
fn the_proof_of_the_readme_finds_nothing() {
    let readme = readme();
    let block = readme.split("## See for yourself").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands = commands(block);
    assert_eq!(commands, ["trialogue prove --minutes 0.1"]);
    let arguments: Vec<&str> = commands[0].split(' ').skip(1).collect();
    let output =
        std::process::Command::new(whole_process_tests::cluster::program()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("lost 0, twice 0, disordered 0, never sent 0, ghosts 0"),
        "{said}"
    );
}

#[test]
fn the_two_commands_are_the_ones_that_are_run() {
    let readme = readme();
    let block = readme.split("## Two commands").nth(1).unwrap().split("\n## ").next().unwrap();
    assert_eq!(commands(block), ["cargo run --release -- up", "cargo test --release --workspace"]);
    let ci = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run")).unwrap();
    assert!(ci.contains("\ncargo test --release --workspace\n"), "CI runs the test command of the README");
    assert!(ci.contains("\ntests/install\n"), "and no test of the page is skipped there");
}

#[test]
fn its_pictures_are_there_and_small() {
    let readme = readme();
    let pictures: Vec<&str> =
        readme.split("](docs/pictures/").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert_eq!(pictures.len(), 2);
    for picture in pictures {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures").join(picture);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() < 60_000, "{picture} has {} bytes", bytes.len());
    }
}
