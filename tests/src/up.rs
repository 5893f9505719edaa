//! `trialogue up` as a child of the test.

use crate::cluster::{free_ports, program};
use crate::command::interruptible;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A service that one command has started, in a folder of its own.
#[derive(Debug)]
pub struct Up {
    pub child: Child,
    pub folder: tempfile::TempDir,
    pub port: u16,
    /// Its first line, which says that it is ready.
    pub ready: String,
}

impl Up {
    /// Starts it and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(interruptible(), arguments)
    }

    /// The same as `nohup` and a shell's `&` start it.
    pub fn start_ignoring_hang_ups(arguments: &[&str]) -> Self {
        let mut command = Command::new("env");
        command.arg("--ignore-signal=HUP").arg(program());
        Self::start_by(command, arguments)
    }

    fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(8);
        let mut child = command
            .args(["up", "--port", &port.to_string(), "--data"])
            .arg(folder.path().join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Self { child, folder, port, ready }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{},{},{}", self.port, self.port + 1, self.port + 2)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
