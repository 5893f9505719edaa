//! What strangers may do: other programs, other sites, other users of the machine, and people with look-alike names.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

use api::v1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;
use whole_process_tests::cluster::{Cluster, free_ports, program};
use whole_process_tests::command::{Shell, json_lines};
use whole_process_tests::people::Person;
use whole_process_tests::up::Up;
use whole_process_tests::{raw, wait};

/// A text that would begin a line, clear the screen, and turn around what follows it.
const HOSTILE: &str = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{9b}2J\u{202e}\u{2066}y";

fn assert_harmless(text: &str, what: &str) {
    let drives = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert_eq!(text.chars().find(drives), None, "{what}: {text:?}");
}

/// A program on a replica's address that says it serves, and refuses every other call in words of its own.
async fn answer_with(address: String, message: &'static str) {
    let listener = TcpListener::bind(&address).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stands = v1::HeartbeatResponse {
            view: 1,
            primary: Some(0),
            in_sync: vec![0],
            addresses: vec![address.clone()],
            serving: true,
            ..v1::HeartbeatResponse::default()
        };
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<_>| {
                let stands = Stands(stands.clone());
                async move {
                    Ok::<_, Infallible>(if request.uri().path().ends_with("/Heartbeat") {
                        Grpc::new(ProstCodec::default()).unary(stands, request).await
                    } else {
                        Status::permission_denied(message).into_http()
                    })
                }
            });
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The caller may hang up at any time.
            drop(served.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

struct Stands(v1::HeartbeatResponse);

impl UnaryService<v1::HeartbeatRequest> for Stands {
    type Response = v1::HeartbeatResponse;
    type Future = Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<v1::HeartbeatRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

#[tokio::test]
async fn what_a_peer_says_is_one_line_of_the_log() {
    let mut cluster = Cluster::prepared(2, "");
    let peer = tokio::spawn(answer_with(cluster.address(0).to_string(), HOSTILE));
    cluster.start(1);
    wait::until("the peer's words are in the log", async || cluster.log_text(1).contains("forged")).await;
    peer.abort();
    let log = cluster.log_text(1);
    assert_harmless(&log, "the log");
    let told = log.lines().find(|line| line.contains("forged")).unwrap();
    assert!(told.contains("replica 0 at") && told.contains("\\n2026-01-01"), "{log}");
}

#[tokio::test]
async fn what_a_server_says_drives_no_terminal() {
    let mut cluster = Cluster::serving().await;
    let (alice, bob) = (Shell::new(&cluster), Shell::new(&cluster));
    alice.register("alice");
    bob.register("bob");
    alice.ok(&["send", "bob", "right\u{202e}left\u{2066}\u{200f}\u{61c}end"]);
    // A server that holds such names is one that somebody has changed.
    cluster.kill_all();
    for i in 0..3 {
        let name = format!("bob{HOSTILE}");
        let sql = cluster.sql(i);
        sql.execute("UPDATE accounts SET name = ?1 WHERE key = 'bob'", [&name]).unwrap();
        sql.execute("UPDATE messages SET to_name = ?1", [&name]).unwrap();
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    for (shell, arguments) in [
        (&alice, &["accounts"][..]),
        (&alice, &["history", "bob"]),
        (&bob, &["listen", "--count", "1", "--after", "0"]),
        (&alice, &["status"]),
    ] {
        let told = shell.ok(arguments);
        assert_harmless(&told, arguments[0]);
        let lines = match arguments[0] {
            "accounts" => 2,
            "status" => 5,
            _ => 1,
        };
        assert_eq!(told.lines().count(), lines, "{arguments:?}: {told}");
    }
    let password = format!("{}\n", whole_process_tests::people::PASSWORD);
    let login = bob.run_with_input(&["login", "bob", "--password-stdin"], password.as_bytes());
    assert_harmless(&login.stdout, "login");
    assert_eq!(login.stdout.lines().count(), 1, "{}", login.stdout);
    for arguments in [&["accounts", "--json"][..], &["history", "bob", "--json"]] {
        let told = alice.ok(arguments);
        assert_harmless(&told, "--json");
        let escaped = json_lines(&told);
        assert!(escaped.iter().any(|line| line.to_string().contains('\u{202e}')), "nothing is lost: {told}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_server_is_one_harmless_line() {
    let port = free_ports(1);
    let server = tokio::spawn(answer_with(format!("127.0.0.1:{port}"), HOSTILE));
    let shell = Shell::with_servers(&format!("127.0.0.1:{port}"));
    let password = format!("{}\n", whole_process_tests::people::PASSWORD);
    let done = tokio::task::spawn_blocking(move || {
        shell.run_with_input(&["login", "alice", "--password-stdin"], password.as_bytes())
    });
    let done = done.await.unwrap();
    server.abort();
    assert_harmless(&done.stderr, "a refusal");
    assert!(done.stderr.contains("forged") && done.stderr.lines().count() == 1, "{}", done.stderr);
}

#[tokio::test]
async fn the_scheme_of_a_token_is_known_in_any_case() {
    let cluster = Cluster::serving_with(1, "").await;
    let alice = Person::register(&cluster, "alice").await;
    let mut chat = raw::chat(&cluster, 0).await;
    for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  "] {
        let request =
            raw::with_authorization(v1::GetAccountRequest {}, &format!("{scheme}{}", alice.session.token()));
        assert_eq!(chat.get_account(request).await.unwrap().into_inner().name, "alice", "{scheme:?}");
    }
    for wrong in ["Basic ", "Bearer", "Bearer:", "", "Bearers ", "Bear\u{e9}r "] {
        let request =
            raw::with_authorization(v1::GetAccountRequest {}, &format!("{wrong}{}", alice.session.token()));
        let refused = chat.get_account(request).await.unwrap_err();
        assert_eq!(raw::reason(&refused), "SESSION_INVALID", "{wrong:?}");
    }
}

/// What a browser is answered that asks for a path by these names, in lower case.
async fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    let mut rest = vec![0; 8192];
    let read = stream.read(&mut rest).await.unwrap();
    answer.extend_from_slice(&rest[..read]);
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test]
async fn a_name_that_a_stranger_made_to_point_here_opens_nothing() {
    let up = Up::start(&["--playground"]);
    let settings = "host_names = ['Chat.example', 'other.example:8080', '10.0.0.9']";
    let named = Cluster::serving_with(1, settings).await;
    let (port, other) = (up.port, named.address(0).to_string());
    let (replica, playground) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 3));
    let own = [
        format!("127.0.0.1:{port}"),
        format!("LocalHost:{port}"),
        format!("[::1]:{port}"),
        format!("127.0.0.1:{}", port + 2),
    ];
    let foreign = [
        format!("evil.example:{port}"),
        "localhost".into(),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost:{}", port + 9),
    ];
    for (address, paths) in [
        (&replica, &["/", "/main.js", "/cluster", "/nothing", "/socket", "/cluster/socket"][..]),
        (&playground, &["/", "/cluster", "/style.css", "/cluster/socket", "/playground/socket"]),
    ] {
        for path in paths {
            let upgrade = if path.ends_with("socket") { format!("\r\n{UPGRADE}") } else { String::new() };
            for host in &foreign {
                let told = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}{upgrade}")).await;
                assert!(told.starts_with("http/1.1 421"), "{path} as {host}: {told}");
                assert!(told.contains("content-security-policy"), "{told}");
            }
            for host in &own {
                let told = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}{upgrade}")).await;
                assert!(!told.starts_with("http/1.1 421"), "{path} as {host}: {told}");
            }
        }
        // An address in the request's first line counts before the header (RFC 9112, section 3.2.2).
        let told =
            ask(address, &format!("GET http://evil.example:{port}/ HTTP/1.1\r\nHost: {replica}")).await;
        assert!(told.starts_with("http/1.1 421"), "{told}");
        for unclear in ["X-Nothing: x", &format!("Host: {replica}\r\nHost: {replica}")] {
            let told = ask(address, &format!("GET / HTTP/1.1\r\n{unclear}")).await;
            assert!(told.starts_with("http/1.1 400"), "{told}");
        }
        // Nothing that old is a browser.
        assert!(ask(address, "GET / HTTP/1.0").await.starts_with("http/1.0 200"));
    }
    for (host, allowed) in [
        ("chat.example", true),
        ("chat.example:9999", true),
        ("other.example:8080", true),
        ("10.0.0.9:5100", true),
        ("other.example", false),
        ("sub.chat.example", false),
    ] {
        let told = ask(&other, &format!("GET / HTTP/1.1\r\nHost: {host}")).await;
        assert!(told.starts_with(if allowed { "http/1.1 200" } else { "http/1.1 421" }), "{host}: {told}");
        let socket = format!("GET /socket HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\n{UPGRADE}");
        let told = ask(&other, &socket).await;
        assert!(told.starts_with(if allowed { "http/1.1 101" } else { "http/1.1 421" }), "{host}: {told}");
    }
    let told = ask(&replica, &format!("GET / HTTP/1.1\r\nHost: {replica}")).await;
    assert!(told.contains("permissions-policy:") && told.contains("camera=()"), "{told}");
}

#[tokio::test]
async fn replicas_leave_no_core_and_know_no_password() {
    let mut command = Command::new(program());
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(8);
    let up = command
        .args(["up", "--port", &port.to_string(), "--data"])
        .arg(folder.path().join("data"))
        .env("TRIALOGUE_PASSWORD", "the secret of the day")
        .env("TRIALOGUE_NEW_PASSWORD", "the secret of tomorrow")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _up = Killed(up);
    let shell = Shell::with_servers(&format!("127.0.0.1:{port}"));
    let mut pids = Vec::new();
    wait::until("all replicas run", async || {
        let status: serde_json::Value =
            serde_json::from_str(&shell.run(&["status", "--json"]).stdout).unwrap_or_default();
        let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
        pids = replicas.iter().filter_map(|replica| replica["pid"].as_u64()).collect();
        pids.len() == 3
    })
    .await;
    for pid in pids {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("the secret of"), "replica {pid}");
        assert_eq!(core_limit(pid), ["0", "0"], "replica {pid}");
    }
    let with_cores = Cluster::serving_with(1, "core_dumps = true").await;
    let pid = with_cores.heartbeat(0).await.unwrap().pid;
    assert_eq!(core_limit(pid.into()), core_limit(std::process::id().into()));
}

fn core_limit(pid: u64) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    core.split_whitespace().take(2).map(str::to_owned).collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the command until it ends, which it must do soon.
fn refused(arguments: &[&str], home: &Path) -> String {
    let child = Command::new(program())
        .args(arguments)
        .env("TRIALOGUE_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let until = std::time::Instant::now() + wait::GENEROUS;
    while child.0.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < until, "{arguments:?} went on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut told = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(1), "{arguments:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[tokio::test]
async fn links_in_the_folders_are_not_followed_and_the_folder_itself_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(3).to_string();
    let (real, data) = (folder.path().join("real"), folder.path().join("data"));
    std::fs::create_dir(&real).unwrap();
    symlink(&real, &data).unwrap();
    let arguments = ["up", "--replicas", "1", "--port", &port, "--data", data.to_str().unwrap()];
    {
        let up = Command::new(program()).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = Killed(up);
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(up.0.stdout.take().unwrap()), &mut ready)
            .unwrap();
        assert!(ready.starts_with("ready"), "{ready}");
    }
    wait::until("the replica has ended with its supervisor", async || {
        std::fs::File::open(data.join("replica-0/lock")).unwrap().try_lock().is_ok()
    })
    .await;
    let view = std::fs::read_dir(real.join("register")).unwrap().next().unwrap().unwrap().file_name();
    let view = format!("register/{}", view.to_str().unwrap());
    let elsewhere = folder.path().join("elsewhere");
    for name in [
        "trialogue.toml",
        "cluster.key",
        "up.lock",
        "register",
        &view,
        "replica-0",
        "replica-0/lock",
        "replica-0/replica.log",
        "replica-0/chat.db",
        "replica-0/chat.db-wal",
        "replica-0/log",
    ] {
        let path = real.join(name);
        let had = path.exists();
        if had {
            std::fs::rename(&path, &elsewhere).unwrap();
        }
        symlink(&elsewhere, &path).unwrap();
        let told = refused(&arguments, folder.path());
        assert!(told.contains("symbolic link") && told.contains(name), "{name}: {told}");
        assert!(had || !elsewhere.exists(), "{name} was made where the link leads");
        std::fs::remove_file(&path).unwrap();
        if had {
            std::fs::rename(&elsewhere, &path).unwrap();
        }
    }
    // The same for a replica without `up`, and for whoever recovers.
    let path = real.join("cluster.key");
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    std::fs::write(real.join("trialogue.toml"), format!("addresses = ['127.0.0.1:{port}']")).unwrap();
    let config = data.join("trialogue.toml");
    let told = refused(&["replica", "--index", "0", "--config", config.to_str().unwrap()], folder.path());
    assert!(told.contains("symbolic link"), "{told}");
    let told = refused(&["recover", "--data", data.to_str().unwrap()], folder.path());
    assert!(told.contains("symbolic link"), "{told}");
    // The home of who uses the command.
    let (home, other) = (folder.path().join("home"), folder.path().join("other"));
    for name in ["sessions.json", "sessions.lock", "outbox-1.jsonl"] {
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(&other, "{\"sessions\":{}}").unwrap();
        symlink(&other, home.join(name)).unwrap();
        let told = refused(&["send", "bob", "hello"], &home);
        assert!(told.contains("symbolic link") && told.contains(name), "{name}: {told}");
        std::fs::remove_dir_all(&home).unwrap();
    }
}

#[tokio::test]
async fn what_belongs_to_another_user_is_left_alone_and_the_sentence_says_whose_it_is() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(3).to_string();
    let data = folder.path().join("data");
    let arguments = ["up", "--replicas", "1", "--port", &port, "--data", data.to_str().unwrap()];
    std::fs::create_dir(&data).unwrap();
    for name in
        ["", "cluster.key", "up.lock", "register", "replica-0", "replica-0/chat.db", "replica-0/replica.log"]
    {
        let path = data.join(name);
        if matches!(name, "register" | "replica-0") {
            std::fs::create_dir(&path).unwrap();
        } else if !name.is_empty() {
            std::fs::write(&path, "").unwrap();
        }
        chown(&path, Some(65_534), None).unwrap();
        let told = refused(&arguments, folder.path());
        assert!(told.contains("uid 65534") && told.contains("chown -R"), "{name}: {told}");
        assert!(told.contains("root"), "who runs this is named: {told}");
        chown(&path, Some(0), None).unwrap();
        if path.is_file() {
            std::fs::remove_file(&path).unwrap();
        }
    }
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a start that is refused leaves nothing behind: {left:?}");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(65_534), None).unwrap();
    let told = refused(&["send", "bob", "hello"], &home);
    assert!(told.contains("uid 65534") && told.contains("chown -R"), "{told}");
    chown(&home, Some(0), None).unwrap();
    std::fs::write(home.join("sessions.json"), "{\"sessions\":{}}").unwrap();
    chown(home.join("sessions.json"), Some(65_534), None).unwrap();
    let told = refused(&["send", "bob", "hello"], &home);
    assert!(told.contains("uid 65534") && told.contains("sessions.json"), "{told}");
}

#[tokio::test]
async fn a_name_that_looks_like_another_account_s_is_taken() {
    let cluster = Cluster::serving().await;
    let alice = Shell::new(&cluster);
    let password = format!("{}\n", whole_process_tests::people::PASSWORD);
    let create = |shell: &Shell, name: &str| {
        shell.run_with_input(&["create-account", name, "--password-stdin"], password.as_bytes())
    };
    alice.register("alice");
    alice.register("Ольга");
    // "modern" and "modem" look alike too, but both can be read by anybody.
    alice.register("modern");
    alice.register("modem");
    for name in ["\u{430}lice", "\u{410}LICE", "al\u{131}ce", "\u{41e}льга2"] {
        let done = create(&alice, name);
        if name.ends_with('2') {
            assert_eq!(done.code, 0, "{}", done.stderr);
        } else {
            assert_eq!(done.code, 1, "{name} was made");
            assert!(done.stderr.contains("looks like"), "{}", done.stderr);
        }
    }
    let mut chat = raw::chat(&cluster, 0).await;
    let request = v1::CreateAccountRequest {
        request_id: raw::id(),
        name: "\u{430}lice".into(),
        password: whole_process_tests::people::PASSWORD.into(),
        ..Default::default()
    };
    assert_eq!(raw::reason(&chat.create_account(request).await.unwrap_err()), "NAME_TAKEN");
    // A name is free again once its account is gone.
    let deleted = alice.run_with_input(&["delete-account", "alice", "--password-stdin"], password.as_bytes());
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    assert_eq!(create(&alice, "\u{430}lice").code, 0);
    assert_eq!(create(&alice, "alice").code, 1, "now the other one was here before");
    cluster.assert_same().await;
    let allowing = Cluster::serving_with(1, "refuse_lookalike_names = false").await;
    let shell = Shell::new(&allowing);
    shell.register("alice");
    assert_eq!(create(&shell, "\u{430}lice").code, 0);
}
