//! The supervisor: starts replicas as child processes, and keeps or loses them as ordered.
//!
//! A child's standard input is a pipe that only this process holds. It closes when this process ends, however it ends,
//! and then the child ends too: no stray process is left behind.

use crate::failure::Failure;
use crate::{password, replica_logs};
use chat::Address;
use rustix::process::{Pid, Signal, kill_process};
use server::{ClusterKey, FolderLock, RunError, SETTINGS_FILE, Settings, UP_LOCK_FILE, check_data_folder};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

/// How long children may take to end by themselves.
const END_LIMIT: Duration = Duration::from_secs(5);
/// After how many milliseconds a replica's allocator gives pages that are free back to the system. It reads this before the program
/// begins. By itself it waits for a second and then for its next use: what 10,000 listeners had was kept after they had left.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// The replicas of one data folder.
#[derive(Debug)]
pub(crate) struct Supervisor {
    settings: Settings,
    config: PathBuf,
    /// Where each replica reaches the others.
    addresses: Vec<Vec<Address>>,
    children: Vec<Option<Running>>,
    /// What each child finds in its environment besides what this process has.
    environment: Vec<(&'static str, PathBuf)>,
    logs: JoinHandle<()>,
    _lock: FolderLock,
}

/// A child, and the pipe that keeps it alive. Held apart, because waiting for a `Child` closes what it holds.
#[derive(Debug)]
struct Running {
    child: Child,
    lifeline: Option<ChildStdin>,
    paused: bool,
}

impl Supervisor {
    /// Takes the folder, making it if there is none, and checks that the ports are free. Starts nothing yet.
    pub(crate) fn prepare(data: &Path, port: u16, replicas: u8) -> Result<Self, Failure> {
        Self::prepare_playground(data, port, replicas, None)
    }

    /// The same, for replicas that tell their pages where orders are taken.
    pub(crate) fn prepare_playground(
        data: &Path,
        port: u16,
        replicas: u8,
        playground: Option<Address>,
    ) -> Result<Self, Failure> {
        // Before anything is made in it: what root leaves behind, its owner can't open.
        check_data_folder(data).map_err(Failure::of)?;
        let lock = FolderLock::acquire(data, UP_LOCK_FILE).map_err(Failure::of)?;
        let data = std::fs::canonicalize(data)
            .map_err(|error| Failure::Failed(format!("{}: {error}", data.display())))?;
        let config = data.join(SETTINGS_FILE);
        let addresses: Vec<Address> = (0..replicas).map(|i| Address::loopback(port + u16::from(i))).collect();
        for address in &addresses {
            TcpListener::bind(address.to_string())
                .map_err(|source| Failure::of(RunError::Listen { address: address.clone(), source }))?;
        }
        let mut settings = Settings::read(&config, Some(addresses)).map_err(Failure::of)?;
        settings.playground = playground;
        ClusterKey::read_or_make(&settings.key_file()).map_err(Failure::of)?;
        let addresses = vec![settings.addresses.clone(); usize::from(replicas)];
        let children = (0..replicas).map(|_| None).collect();
        let logs = replica_logs::keep_all_small(&settings);
        Ok(Self { settings, config, addresses, children, environment: Vec::new(), logs, _lock: lock })
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// From its next start on, a replica has these addresses: its own, and those by which it reaches the others.
    pub(crate) fn set_addresses(&mut self, index: usize, addresses: Vec<Address>) {
        self.addresses[index] = addresses;
    }

    /// From its next start on, each replica finds these in its environment.
    pub(crate) fn set_environment(&mut self, environment: Vec<(&'static str, PathBuf)>) {
        self.environment = environment;
    }

    /// The process of a replica, if one runs.
    pub(crate) fn process(&self, index: usize) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.children[index].as_ref()?.child.id()?).ok()?)
    }

    /// Sends a signal to a replica's process, if one runs.
    pub(crate) fn signal(&self, index: usize, signal: Signal) -> Result<(), Failure> {
        self.process(index).map_or(Ok(()), |process| kill_process(process, signal).map_err(Failure::of))
    }

    /// Stops a replica where it stands: it neither answers nor closes its connections.
    pub(crate) fn pause(&mut self, index: usize) -> Result<(), Failure> {
        self.signal(index, Signal::STOP)?;
        self.set_paused(index, true);
        Ok(())
    }

    /// Lets a paused replica go on.
    pub(crate) fn resume(&mut self, index: usize) -> Result<(), Failure> {
        self.signal(index, Signal::CONT)?;
        self.set_paused(index, false);
        Ok(())
    }

    /// Whether a replica runs and is paused.
    pub(crate) fn is_paused(&self, index: usize) -> bool {
        self.children[index].as_ref().is_some_and(|running| running.paused)
    }

    fn set_paused(&mut self, index: usize, paused: bool) {
        if let Some(running) = &mut self.children[index] {
            running.paused = paused;
        }
    }

    /// Lets go of every replica, as the end of this process would: each of them ends by itself. Waits until they have.
    pub(crate) async fn let_go(&mut self) {
        let mut children: Vec<Running> = self.children.iter_mut().filter_map(Option::take).collect();
        for running in &mut children {
            drop(running.lifeline.take());
        }
        for running in &mut children {
            // Whatever its status: it has ended.
            let _ = running.child.wait().await;
        }
    }

    /// Starts one replica.
    pub(crate) fn start(&mut self, index: usize) -> Result<(), Failure> {
        let log = replica_logs::open(&self.settings, index).map_err(|error| {
            Failure::Failed(format!("{}: {error}", self.settings.replica_folder(index).display()))
        })?;
        let servers = self.addresses[index].iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        let program = std::env::current_exe().map_err(Failure::of)?;
        let mut command = Command::new(program);
        for variable in password::VARIABLES {
            command.env_remove(variable);
        }
        let (delay, milliseconds) = PURGE_DELAY;
        if std::env::var_os(delay).is_none() {
            command.env(delay, milliseconds);
        }
        let mut child = command
            .args([
                "replica",
                "--until-stdin-closes",
                "--addresses-from-servers",
                "--servers",
                &servers,
                "--index",
            ])
            .arg(index.to_string())
            .arg("--config")
            .arg(&self.config)
            .args(
                self.settings
                    .playground
                    .iter()
                    .flat_map(|address| ["--playground".to_owned(), address.to_string()]),
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C on the terminal is for this process, which then ends its children in order.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::Failed(format!("replica {index} could not be started: {error}")))?;
        let lifeline = child.stdin.take();
        self.children[index] = Some(Running { child, lifeline, paused: false });
        Ok(())
    }

    /// Whether a replica runs, as far as is known.
    pub(crate) fn runs(&self, index: usize) -> bool {
        self.children[index].is_some()
    }

    /// Waits until any child ends. Never ready while none runs.
    pub(crate) async fn ended(&mut self) -> (usize, std::io::Result<ExitStatus>) {
        let waits = self.children.iter_mut().enumerate().filter_map(|(index, child)| {
            let running = child.as_mut()?;
            Some(Box::pin(async move { (index, running.child.wait().await) }))
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        let ((index, status), _, rest) = futures_util::future::select_all(waits).await;
        drop(rest);
        self.children[index] = None;
        (index, status)
    }

    /// Kills one replica as a crash would, and waits for its end.
    pub(crate) async fn kill(&mut self, index: usize) -> Result<(), Failure> {
        if let Some(mut running) = self.children[index].take() {
            running
                .child
                .kill()
                .await
                .map_err(|error| Failure::Failed(format!("replica {index}: {error}")))?;
        }
        Ok(())
    }

    /// Ends all children: in order by closing their standard input, and by force once `impatient` is ready or they
    /// take too long.
    pub(crate) async fn end(mut self, impatient: impl Future<Output = ()>) {
        for index in (0..self.children.len()).filter(|index| self.is_paused(*index)).collect::<Vec<_>>() {
            // A paused process would not notice that its end has come. If it is gone already, so much the better.
            let _ = self.resume(index);
        }
        let mut children: Vec<Running> = self.children.iter_mut().filter_map(Option::take).collect();
        for running in &mut children {
            drop(running.lifeline.take());
        }
        let all_ended = async {
            for running in &mut children {
                // Whatever its status: it has ended.
                let _ = running.child.wait().await;
            }
        };
        let in_order = tokio::select! {
            () = all_ended => true,
            () = tokio::time::sleep(END_LIMIT) => false,
            () = impatient => false,
        };
        if !in_order {
            for running in &mut children {
                // It may have ended by itself meanwhile.
                let _ = running.child.kill().await;
            }
        }
    }

    /// What a replica has logged; nothing, if its log can't be read.
    pub(crate) fn log_text(&self, index: usize) -> String {
        replica_logs::text(&self.settings, index)
    }

    /// The last line of a replica's log: why it ended, if it said so.
    pub(crate) fn last_words(&self, index: usize) -> Option<String> {
        let text = self.log_text(index);
        let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(last.strip_prefix("trialogue: ").unwrap_or(last).to_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.logs.abort();
    }
}

/// The first of as many free ports in a row as there are replicas.
pub(crate) fn free_ports(replicas: u8) -> Result<u16, Failure> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let all = (1..u16::from(replicas))
            .all(|i| first.checked_add(i).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
        if all {
            return Ok(first);
        }
    }
    Err(Failure::Failed(format!("no {replicas} free ports in a row were found")))
}
