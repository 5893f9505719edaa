//! The command, as a person or a script types it.

use crate::cluster::{Cluster, program};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Someone at a terminal, with a home of their own.
#[derive(Debug)]
pub struct Shell {
    home: tempfile::TempDir,
    servers: String,
    key_file: Option<PathBuf>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program, started as from a terminal: a shell that runs the tests in its background lets them ignore interrupts, and the
/// program would too.
pub fn interruptible() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program());
    command
}

impl Shell {
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(cluster, &cluster.servers())
    }

    /// Someone who may read the cluster's key, and reaches the replicas there.
    pub fn of(cluster: &Cluster, servers: &str) -> Self {
        let key_file = Some(cluster.data().join("cluster.key"));
        Self { key_file, ..Self::with_servers(servers) }
    }

    pub fn with_servers(servers: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), servers: servers.to_owned(), key_file: None }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = interruptible();
        command
            .args(arguments)
            .env_remove("TRIALOGUE_PASSWORD")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.lend(&mut command);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        done(self.command(arguments).output().unwrap())
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Done {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // A command that refuses at once does not read what it is given.
            drop(stdin.write_all(&input));
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        done(output)
    }

    /// Runs a line as a shell does, with this search path.
    pub fn shell_line(&self, line: &str, path: &str) -> Done {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", path);
        self.lend(&mut command);
        done(command.stdin(Stdio::null()).output().unwrap())
    }

    fn lend(&self, command: &mut Command) {
        command.env("TRIALOGUE_HOME", self.home.path()).env("TRIALOGUE_SERVERS", &self.servers);
        match &self.key_file {
            Some(path) => command.env("TRIALOGUE_KEY_FILE", path),
            None => command.env_remove("TRIALOGUE_KEY_FILE"),
        };
    }

    /// Runs it and asserts that it succeeds; gives its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
        done.stdout
    }

    /// Registers someone with the password of everyone.
    pub fn register(&self, name: &str) {
        let password = format!("{}\n", crate::people::PASSWORD);
        let done = self.run_with_input(&["create-account", name, "--password-stdin"], password.as_bytes());
        assert_eq!(done.code, 0, "{}", done.stderr);
    }

    /// Runs it and asserts that it fails with that code and one line on stderr that contains `why`.
    pub fn fails(&self, arguments: &[&str], code: i32, why: &str) {
        let done = self.run(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        assert!(done.stderr.contains(why), "{arguments:?} says: {}", done.stderr);
        if code != 2 {
            assert_eq!(done.stderr.lines().count(), 1, "{arguments:?} says: {}", done.stderr);
        }
    }
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Each line as JSON.
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
