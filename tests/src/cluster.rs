//! A cluster of real processes in a temporary folder.

use crate::wait::{self, GENEROUS};
use api::v1::chat_client::ChatClient;
use chat::Address;
use client::{Client, Options};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, prlimit, waitid};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use store::{AtRest, log_folder};

/// A replica that does not answer a heartbeat in this time is taken for silent.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The program under test, beside the tests that cargo has built.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("trialogue");
    assert!(
        program.exists(),
        "{} is missing: test the whole workspace, or build it first",
        program.display()
    );
    program
}

/// Each test process looks for free ports from another place on, and each cluster in it from the next.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// The first of `count` free ports in a row.
///
/// # Panics
/// If there are none.
pub fn free_ports(count: u16) -> u16 {
    let start = u16::try_from(std::process::id() % 997).unwrap() * 40;
    for _ in 0..500 {
        // Below the range from which the system draws ports for outgoing connections, and above the last port that
        // browsers refuse to open (10080: https://fetch.spec.whatwg.org/#port-blocking).
        let first = 10_100 + (start + NEXT_PORT.fetch_add(8, Ordering::Relaxed)) % 22_000;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// Replicas that a test can start, kill, pause, starve and wipe one by one.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    children: Vec<Option<Child>>,
    environment: Vec<(&'static str, PathBuf)>,
    /// Folders of replicas that are disks of their own.
    mounted: Vec<PathBuf>,
}

impl Cluster {
    /// Three replicas that serve.
    pub async fn serving() -> Self {
        Self::serving_with(3, "").await
    }

    /// So many replicas with these settings, serving and all in sync.
    pub async fn serving_with(replicas: u8, settings: &str) -> Self {
        let mut cluster = Self::prepared(replicas, settings);
        cluster.start_all();
        cluster.until_all_in_sync().await;
        cluster
    }

    /// The folder of so many replicas with these settings; nothing runs yet.
    pub fn prepared(replicas: u8, settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("trialogue-test-").tempdir().unwrap();
        let port = free_ports(u16::from(replicas));
        let addresses: Vec<String> =
            (0..u16::from(replicas)).map(|i| format!("'127.0.0.1:{}'", port + i)).collect();
        let text = format!("addresses = [{}]\n{settings}\n", addresses.join(", "));
        std::fs::write(folder.path().join("trialogue.toml"), text).unwrap();
        let mut key = OpenOptions::new();
        let mut key =
            key.create_new(true).write(true).mode(0o600).open(folder.path().join("cluster.key")).unwrap();
        let secret = uuid::Uuid::new_v4().simple().to_string();
        writeln!(key, "{secret}{secret}").unwrap();
        let cluster = Self {
            folder,
            port,
            children: (0..replicas).map(|_| None).collect(),
            environment: Vec::new(),
            mounted: Vec::new(),
        };
        cluster.begin_boot();
        cluster
    }

    /// The machine is started again, as far as replicas that start from now on can tell.
    pub fn begin_boot(&self) {
        std::fs::write(self.boot_id_file(), uuid::Uuid::new_v4().to_string()).unwrap();
    }

    /// The power fails: all processes end at once, and the machine is started again.
    pub fn lose_power(&mut self) {
        self.kill_all();
        self.begin_boot();
    }

    /// What `TRIALOGUE_BOOT_ID_FILE` is for the replicas of this cluster.
    pub fn boot_id_file(&self) -> PathBuf {
        self.folder.path().join("boot_id")
    }

    /// Asks a replica to end, and waits until it has.
    pub async fn end_cleanly(&mut self, i: usize) {
        kill_process(self.pid(i), Signal::TERM).unwrap();
        let status = self.until_ended(i).await;
        assert!(status.success(), "replica {i} ended with {status}");
    }

    /// Sets a variable in the environment of every replica that is started from now on.
    pub fn set_environment(&mut self, name: &'static str, value: &Path) {
        self.environment.push((name, value.to_owned()));
    }

    /// Tells one replica alone that the replicas listen elsewhere, from its next start on.
    pub fn tell(&self, i: usize, addresses: &[Address]) {
        let shared = std::fs::read_to_string(self.folder.path().join("trialogue.toml")).unwrap();
        let (_, settings) = shared.split_once('\n').unwrap();
        let addresses: Vec<String> = addresses.iter().map(|address| format!("'{address}'")).collect();
        let text = format!("addresses = [{}]\n{settings}", addresses.join(", "));
        std::fs::write(self.own_settings(i), text).unwrap();
    }

    fn own_settings(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("trialogue-{i}.toml"))
    }

    pub fn start(&mut self, i: usize) {
        let log = File::options().create(true).append(true).open(self.log(i)).unwrap();
        self.start_logging_to(i, log);
    }

    /// Starts a replica whose log goes elsewhere.
    pub fn start_logging_to(&mut self, i: usize, log: File) {
        assert!(self.children[i].is_none(), "replica {i} runs already");
        std::fs::create_dir_all(self.replica_folder(i)).unwrap();
        let own = self.own_settings(i);
        let settings = if own.exists() { own } else { self.folder.path().join("trialogue.toml") };
        let child = Command::new(program())
            .arg("replica")
            .args(["--index", &i.to_string(), "--until-stdin-closes", "--config"])
            .arg(settings)
            .env("TRIALOGUE_BOOT_ID_FILE", self.boot_id_file())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children[i] = Some(child);
    }

    pub fn start_all(&mut self) {
        for i in 0..self.children.len() {
            if self.children[i].is_none() {
                self.start(i);
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, i: usize) {
        let mut child = self.children[i].take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// `kill -9` of several at once: all are hit before any end is waited for.
    pub fn kill_at_once(&mut self, which: &[usize]) {
        let mut children: Vec<Child> =
            which.iter().map(|i| self.children[*i].take().expect("it runs")).collect();
        for child in &mut children {
            child.kill().unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
    }

    pub fn kill_all(&mut self) {
        let running: Vec<usize> = (0..self.children.len()).filter(|i| self.children[*i].is_some()).collect();
        self.kill_at_once(&running);
    }

    /// Waits until a replica ends by itself, and says how.
    pub async fn until_ended(&mut self, i: usize) -> std::process::ExitStatus {
        let mut child = self.children[i].take().expect("it runs");
        let mut status = None;
        wait::until("the process ends", async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Ends whoever runs: some may have ended by themselves.
    pub async fn end_all(&mut self) {
        for i in 0..self.children.len() {
            if let Some(mut child) = self.children[i].take() {
                drop(child.stdin.take());
                wait::until("the process ends", async || child.try_wait().unwrap().is_some()).await;
            }
        }
    }

    /// Closes a replica's standard input, as the end of its supervisor does.
    pub fn orphan(&mut self, i: usize) {
        drop(self.children[i].as_mut().expect("it runs").stdin.take());
    }

    /// Stops a replica where it stands. The signal alone is not enough: until one thread of the process has received
    /// it, the others go on, and on a busy machine they answer meanwhile.
    pub fn pause(&self, i: usize) {
        let pid = self.pid(i);
        kill_process(pid, Signal::STOP).unwrap();
        // The replica stays as it is found: another call waits for its end.
        let until = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(pid), until).unwrap().expect("it waits until there is one");
        assert!(status.stopped(), "replica {i} ended while it was being paused");
    }

    pub fn resume(&self, i: usize) {
        kill_process(self.pid(i), Signal::CONT).unwrap();
    }

    /// From now on no file of that replica can grow beyond `bytes`: its disk is full.
    pub fn limit_files(&self, i: usize, bytes: Option<u64>) {
        prlimit(Some(self.pid(i)), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    }

    /// From now on that replica can open no file and accept no connection; or it can again.
    pub fn limit_open_files(&self, i: usize, limited: bool) {
        let pid = self.pid(i);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let maximum = line.split_whitespace().nth(4).unwrap().parse().unwrap();
        // Fewer than are open already.
        let current = if limited { 8 } else { maximum };
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// Removes a replica's folder.
    pub fn wipe(&self, i: usize) {
        assert!(self.children[i].is_none(), "replica {i} runs");
        std::fs::remove_dir_all(self.replica_folder(i)).unwrap();
    }

    /// Gives a replica's folder a disk of its own, `bytes` large. `None`, with a word on stderr, where this user may not
    /// mount one.
    pub fn mount_disk(&mut self, i: usize, bytes: u64) -> Option<Disk> {
        assert!(self.children[i].is_none(), "replica {i} runs");
        let folder = self.replica_folder(i);
        std::fs::create_dir_all(&folder).unwrap();
        let options = format!("size={bytes},mode=0700");
        if mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &folder) {
            self.mounted.push(folder.clone());
            return Some(Disk { folder });
        }
        eprintln!("SKIPPED: this user may not mount a small disk");
        None
    }

    /// The process of a replica that runs.
    pub fn pid(&self, i: usize) -> Pid {
        let child = self.children[i].as_ref().expect("it runs");
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    pub fn replicas(&self) -> usize {
        self.children.len()
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    pub fn replica_folder(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("replica-{i}"))
    }

    pub fn database(&self, i: usize) -> PathBuf {
        self.replica_folder(i).join("chat.db")
    }

    /// The folder of a replica's log.
    pub fn log_folder(&self, i: usize) -> PathBuf {
        log_folder(&self.database(i))
    }

    /// The newest segment of a replica's log.
    ///
    /// # Panics
    /// If there is none.
    pub fn newest_segment(&self, i: usize) -> PathBuf {
        let files = std::fs::read_dir(self.log_folder(i)).unwrap().map(|entry| entry.unwrap());
        let is_segment = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let names = files.filter(|file| is_segment(&file.file_name().to_string_lossy()));
        names.map(|file| file.path()).max().unwrap()
    }

    /// Waits until the tables of all replicas show all that their logs have, which is the same.
    ///
    /// # Panics
    /// If they do not in time.
    pub async fn until_all_applied(&self) {
        wait::until("all is applied everywhere", async || {
            let ends = (0..self.replicas()).map(|i| {
                let found = AtRest::open(&self.database(i)).ok()?;
                (found.identity().applied == found.end()).then(|| found.end())
            });
            let ends: Vec<_> = ends.collect();
            ends[0].is_some() && ends.iter().all(|end| *end == ends[0])
        })
        .await;
    }

    /// A plain SQL connection to a replica's database.
    pub fn sql(&self, i: usize) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.database(i)).unwrap();
        connection.busy_timeout(GENEROUS).unwrap();
        connection
    }

    fn log(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("replica-{i}.log"))
    }

    /// Everything that a replica has logged.
    pub fn log_text(&self, i: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log(i)).unwrap_or_default()).into_owned()
    }

    pub fn address(&self, i: usize) -> Address {
        Address::loopback(self.port + u16::try_from(i).unwrap())
    }

    /// As `--servers` takes it.
    pub fn servers(&self) -> String {
        (0..self.replicas()).map(|i| self.address(i).to_string()).collect::<Vec<_>>().join(",")
    }

    pub fn client(&self) -> Client {
        self.client_within(GENEROUS)
    }

    pub fn client_within(&self, timeout: Duration) -> Client {
        Client::new((0..self.replicas()).map(|i| self.address(i)).collect(), Options { timeout })
    }

    /// What `trialogue status --json` says; null if nobody answers.
    pub async fn status(&self) -> Value {
        let servers = self.servers();
        let output = tokio::task::spawn_blocking(move || {
            Command::new(program()).args(["status", "--json", "--servers", &servers]).output().unwrap()
        });
        serde_json::from_slice(&output.await.unwrap().stdout).unwrap_or(Value::Null)
    }

    /// The index of the replica that serves now.
    pub async fn primary(&self) -> usize {
        let mut primary = None;
        wait::until("somebody serves", async || {
            for i in 0..self.replicas() {
                let serves = self.heartbeat(i).await.is_some_and(|heartbeat| heartbeat.serving);
                if serves {
                    primary = Some(i);
                }
            }
            primary.is_some()
        })
        .await;
        primary.unwrap()
    }

    /// What one replica says of itself; `None` if it does not answer.
    pub async fn heartbeat(&self, i: usize) -> Option<api::v1::HeartbeatResponse> {
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", self.address(i))).unwrap();
        let endpoint = endpoint.connect_timeout(ANSWER_LIMIT).timeout(ANSWER_LIMIT);
        let mut chat = ChatClient::new(endpoint.connect().await.ok()?);
        Some(chat.heartbeat(api::v1::HeartbeatRequest::default()).await.ok()?.into_inner())
    }

    pub async fn until_serves(&self, i: usize) {
        wait::until(&format!("replica {i} serves"), async || {
            self.heartbeat(i).await.is_some_and(|heartbeat| heartbeat.serving)
        })
        .await;
    }

    /// Waits until exactly these are in sync: one of them serves, and all of them know its view. The word of the one that
    /// serves is not enough: it may not have noticed yet that another was killed and started again.
    pub async fn until_in_sync(&self, wanted: &[u32]) {
        wait::until(&format!("{wanted:?} are in sync"), async || {
            let mut said = Vec::new();
            for i in wanted {
                said.extend(self.heartbeat(usize::try_from(*i).unwrap()).await);
            }
            let serving = said.iter().find(|heartbeat| heartbeat.serving && heartbeat.in_sync == wanted);
            serving.is_some_and(|serving| {
                said.len() == wanted.len() && said.iter().all(|heartbeat| heartbeat.view == serving.view)
            })
        })
        .await;
    }

    pub async fn until_all_in_sync(&self) {
        let all: Vec<u32> = (0..u32::try_from(self.replicas()).unwrap()).collect();
        self.until_in_sync(&all).await;
    }

    /// Asserts that all replicas hold the same rows.
    pub async fn assert_same(&self) {
        let data = self.data().to_owned();
        let output = tokio::task::spawn_blocking(move || {
            Command::new(program()).args(["verify", "--data"]).arg(data).output().unwrap()
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A disk that is mounted in the place of a replica's folder. It goes when no process uses it any more.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// From now on nothing can be written to it, or again. No file on it may be open for writing.
    ///
    /// # Panics
    /// If a file is.
    pub fn set_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        assert!(mount(&["-o", options], &self.folder), "the disk is in use");
    }

    /// Takes all room that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.folder.join("filler")).unwrap();
        let block = vec![7; 64 << 10];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1]).is_ok() {}
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

fn unmount(folder: &Path) {
    // Lazily: a test that fails drops the disk before the replica on it has ended. It may be unmounted already.
    let mut command = Command::new("umount");
    drop(command.arg("--lazy").arg(folder).stderr(Stdio::null()).status());
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
        // Its folder could not be removed with a disk in it.
        self.mounted.iter().for_each(|folder| unmount(folder));
        let panicked: Vec<usize> =
            (0..self.replicas()).filter(|i| self.log_text(*i).contains("panicked")).collect();
        if std::thread::panicking() || !panicked.is_empty() {
            for i in 0..self.replicas() {
                let text = self.log_text(i);
                let tail: Vec<&str> = text.lines().rev().take(25).collect();
                eprintln!("--- replica {i}, last lines:");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        assert!(std::thread::panicking() || panicked.is_empty(), "replicas {panicked:?} have panicked");
    }
}
