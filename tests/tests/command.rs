//! The command as scripts and people use it.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use whole_process_tests::cluster::{Cluster, free_ports, program};
use whole_process_tests::command::{Shell, json_lines};
use whole_process_tests::people::PASSWORD;
use whole_process_tests::up::Up;
use whole_process_tests::wait;

fn status(shell: &Shell) -> Value {
    serde_json::from_str(&shell.ok(&["status", "--json"])).unwrap()
}

fn pids(status: &Value) -> Vec<i32> {
    let replicas = status["replicas"].as_array().unwrap();
    replicas
        .iter()
        .filter_map(|replica| replica["pid"].as_i64())
        .map(|pid| i32::try_from(pid).unwrap())
        .collect()
}

/// Whether a process of that id lives; a zombie that its parent has not collected does not.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether every thread of a process is stopped.
fn is_stopped(pid: i32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.contains(") T ")
    })
}

#[tokio::test]
async fn up_serves_restarts_what_dies_and_ends_cleanly() {
    let mut up = Up::start(&[]);
    assert!(up.ready.starts_with("ready"), "{:?}", up.ready);
    let shell = Shell::with_servers(&up.servers());
    shell.register("alice");
    let before = status(&shell);
    assert_eq!(before["primary"], 0);
    assert_eq!(before["in_sync"], serde_json::json!([0, 1, 2]));
    for (i, replica) in before["replicas"].as_array().unwrap().iter().enumerate() {
        assert_eq!(replica["index"], i);
        assert_eq!(replica["address"], format!("127.0.0.1:{}", up.port + u16::try_from(i).unwrap()));
        assert_eq!((&replica["alive"], &replica["in_sync"]), (&true.into(), &true.into()));
        assert_eq!(replica["role"], if i == 0 { "primary" } else { "secondary" });
        assert_eq!(replica["chain"].as_str().unwrap().len(), 64);
        assert!(replica["view"].is_u64() && replica["op"].is_u64() && replica["pid"].is_u64());
        let folder = up.folder.path().join(format!("data/replica-{i}"));
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        for file in ["chat.db", "lock", "replica.log"] {
            assert_eq!(std::fs::metadata(folder.join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
        }
    }
    assert_eq!(std::fs::metadata(up.folder.path().join("data/cluster.key")).unwrap().mode() & 0o777, 0o600);
    // Any one replica is enough, and the page for people says the same.
    let with_one_server = Shell::with_servers(&format!("127.0.0.1:{}", up.port + 2));
    assert_eq!(status(&with_one_server)["replicas"].as_array().unwrap().len(), 3);
    assert!(shell.ok(&["status"]).contains("primary"));

    let victim = pids(&before)[0];
    kill_process(Pid::from_raw(victim).unwrap(), Signal::KILL).unwrap();
    wait::until("another process has its place", async || {
        let now = status(&shell);
        let another = now["replicas"][0]["pid"].as_i64().is_some_and(|pid| pid != i64::from(victim));
        now["primary"] == 0
            && now["in_sync"] == serde_json::json!([0, 1, 2])
            && another
            && pids(&now).len() == 3
    })
    .await;
    let children = pids(&status(&shell));
    assert_eq!(children.len(), 3);
    up.signal(Signal::INT);
    assert!(up.child.wait().unwrap().success());
    assert!(children.iter().all(|pid| !lives(*pid)), "a stray process is left");
    // Nobody answers now, and that has a code of its own.
    shell.fails(&["status", "--timeout", "300ms"], 3, "trialogue up");
    shell.fails(&["send", "--as", "alice", "alice", "x", "--timeout", "300ms"], 3, "nobody serves");
}

#[tokio::test]
async fn when_up_is_killed_no_replica_stays_behind_and_nothing_is_lost() {
    let up = Up::start(&["--replicas", "2", "--no-restart"]);
    let shell = Shell::with_servers(&up.servers());
    shell.register("alice");
    shell.ok(&["send", "alice", "kept"]);
    let children = pids(&status(&shell));
    up.signal(Signal::KILL);
    wait::until("the replicas end too", async || children.iter().all(|pid| !lives(*pid))).await;
    let data = up.folder.path().join("data");
    let verified = Command::new(program()).args(["verify", "--data"]).arg(&data).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A terminal that closes ends `up`, and not one that was started by `nohup`; and no replica by itself.
#[tokio::test]
async fn a_hang_up_ends_what_was_not_told_to_ignore_it() {
    let up = Up::start_ignoring_hang_ups(&["--replicas", "2"]);
    let shell = Shell::with_servers(&up.servers());
    shell.register("alice");
    let replicas = pids(&status(&shell));
    up.signal(Signal::HUP);
    for replica in &replicas {
        kill_process(Pid::from_raw(*replica).unwrap(), Signal::HUP).unwrap();
    }
    shell.ok(&["send", "alice", "still there"]);
    assert_eq!(pids(&status(&shell)), replicas);
    let mut other = Up::start(&["--replicas", "1"]);
    other.signal(Signal::HUP);
    assert!(other.child.wait().unwrap().success());
}

/// One long line keeps none of its neighbours from being sent, and is not called an outage.
#[tokio::test]
async fn a_line_that_is_too_long_is_named_and_the_others_are_sent() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    let lines = ["before", &"x".repeat(66_000), "between\r", &"x".repeat(3_000_000), "after"].join("\n");
    let done = shell.run_with_input(&["send", "alice", "--stdin-lines"], lines.as_bytes());
    assert_eq!(done.code, 1, "{}", done.stderr);
    for line in ["line 2: the message has more than", "line 4: the message has more than"] {
        assert!(done.stderr.contains(line), "{}", done.stderr);
    }
    let said = json_lines(&shell.ok(&["history", "alice", "--json"]));
    let texts: Vec<&str> = said.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["before", "between", "after"]);
    let whole = shell.run_with_input(&["send", "alice"], &b"x".repeat(66_000));
    assert!(whole.code == 1 && whole.stderr.contains("16384 bytes"), "{}", whole.stderr);
}

#[tokio::test]
async fn up_says_what_is_in_its_way() {
    let up = Up::start(&["--replicas", "1"]);
    let data = up.folder.path().join("data");
    let try_up = |data: &std::path::Path, port: u16| {
        let output = Command::new(program())
            .args(["up", "--replicas", "1", "--port", &port.to_string(), "--data"])
            .arg(data)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        (output.status.code(), said)
    };
    let (code, said) = try_up(&data, free_ports(1));
    assert!(code == Some(1) && said.contains("in use by another process"), "{said}");
    let (code, said) = try_up(&up.folder.path().join("other"), up.port);
    assert!(code == Some(1) && said.contains("--port"), "{said}");
    let file = up.folder.path().join("a-file");
    std::fs::write(&file, "not a folder").unwrap();
    let (code, said) = try_up(&file.join("data"), free_ports(1));
    assert!(code == Some(1) && said.contains("a-file"), "{said}");
    let (code, said) = try_up(std::path::Path::new("/proc/no-such-folder"), free_ports(1));
    assert!(code == Some(1) && said.contains("can write to"), "{said}");
    std::fs::write(up.folder.path().join("trialogue.toml"), "min_in_sync = 9").unwrap();
    let (code, said) = try_up(up.folder.path(), free_ports(1));
    assert!(code == Some(1) && said.contains("min_in_sync is 9"), "{said}");
    std::fs::remove_file(up.folder.path().join("trialogue.toml")).unwrap();
    let key = up.folder.path().join("cluster.key");
    std::fs::write(&key, "0".repeat(64)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = try_up(up.folder.path(), free_ports(1));
    assert!(code == Some(1) && said.contains("chmod 600"), "{said}");
}

#[tokio::test]
async fn a_second_interrupt_ends_up_at_once_even_if_a_replica_hangs() {
    let mut up = Up::start(&[]);
    let children = pids(&status(&Shell::with_servers(&up.servers())));
    // This one will not end by itself.
    kill_process(Pid::from_raw(children[1]).unwrap(), Signal::STOP).unwrap();
    wait::until("it is stopped", async || is_stopped(children[1])).await;
    up.signal(Signal::INT);
    wait::until("the others end in order", async || !lives(children[0]) && !lives(children[2])).await;
    up.signal(Signal::INT);
    wait::until("it ends", async || up.child.try_wait().unwrap().is_some()).await;
    assert!(!lives(children[1]));
}

#[tokio::test]
async fn people_register_talk_and_leave() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("Alice");
    shell.register("bob");
    let sessions = shell.home().join("sessions.json");
    assert_eq!(std::fs::metadata(&sessions).unwrap().mode() & 0o777, 0o600);

    let id: u64 = shell.ok(&["send", "--as", "alice", "bob", "hello bob"]).trim().parse().unwrap();
    let sent =
        json_lines(&shell.ok(&["send", "--as", "alice", "bob", "again", "--json", "--min-copies", "3"]));
    assert_eq!((&sent[0]["copies"], &sent[0]["replicas"]), (&3.into(), &3.into()));
    assert!(sent[0]["id"].as_u64().unwrap() > id);
    // From standard input, whole.
    let piped = shell.run_with_input(&["send", "--as", "alice", "bob"], b"two\nlines\n");
    assert_eq!(piped.code, 0, "{}", piped.stderr);

    let heard = json_lines(&shell.ok(&["listen", "--as", "bob", "--count", "3", "--json"]));
    let texts: Vec<&str> = heard.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello bob", "again", "two\nlines"]);
    assert_eq!(
        (&heard[0]["id"], &heard[0]["from"], &heard[0]["to"]),
        (&id.into(), &"Alice".into(), &"bob".into())
    );
    assert!(heard[0]["sent_at"].as_u64().unwrap() > 1_600_000_000_000);
    // What was printed is acknowledged: the next to listen hears only what is new.
    shell.ok(&["send", "--as", "alice", "bob", "new"]);
    let line = shell.ok(&["listen", "--as", "bob", "--count", "1"]);
    assert!(line.contains("Alice → bob: new"), "{line}");
    let again = json_lines(&shell.ok(&[
        "listen",
        "--as",
        "bob",
        "--after",
        &id.to_string(),
        "--count",
        "3",
        "--json",
    ]));
    assert_eq!(again[0]["text"], "again");

    let history = json_lines(&shell.ok(&["history", "--as", "alice", "bob", "--json", "--limit", "2"]));
    assert_eq!(
        history.iter().map(|m| m["text"].as_str().unwrap()).collect::<Vec<_>>(),
        ["two\nlines", "new"]
    );
    let before = history[0]["id"].as_u64().unwrap().to_string();
    let older = json_lines(&shell.ok(&["history", "--as", "alice", "bob", "--json", "--before", &before]));
    assert_eq!(older.len(), 2);
    assert!(older.iter().all(|message| message["delivered"] == true));

    assert_eq!(shell.ok(&["accounts", "--as", "alice"]), "Alice\nbob\n");
    assert_eq!(shell.ok(&["accounts", "--as", "bob", "^B"]), "bob\n");
    assert_eq!(shell.ok(&["accounts", "--as", "bob", "--glob", "al*"]), "Alice\n");
    assert_eq!(json_lines(&shell.ok(&["accounts", "--as", "bob", "bob", "--json"]))[0]["name"], "bob");
    assert!(shell.ok(&["verify"]).contains("3 replicas are the same"));

    let changed = format!("{PASSWORD}\nanother password\n");
    let done = shell.run_with_input(&["change-password", "bob", "--password-stdin"], changed.as_bytes());
    assert_eq!(done.code, 0, "{}", done.stderr);
    shell.ok(&["logout", "--as", "bob"]);
    shell.fails(&["send", "--as", "bob", "alice", "x"], 1, "trialogue login bob");
    let done = shell.run_with_input(&["login", "bob", "--password-stdin"], b"wrong password\n");
    assert_eq!((done.code, done.stderr.as_str()), (1, "trialogue: wrong name or password\n"));
    let mut login = shell.command(&["login", "bob"]);
    assert!(login.env("TRIALOGUE_PASSWORD", "another password").status().unwrap().success());
    let done = shell.run_with_input(&["delete-account", "bob", "--password-stdin"], b"another password\n");
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(shell.ok(&["accounts", "--as", "alice"]), "Alice\n");
    shell.fails(&["send", "--as", "alice", "bob", "x"], 1, "no account named");
}

#[tokio::test]
async fn accounts_come_whole_however_many_there_are() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("someone");
    // Straight into every database: registering hundreds would only measure Argon2.
    for i in 0..3 {
        let sql = cluster.sql(i);
        sql.execute_batch("BEGIN").unwrap();
        for n in 0..350 {
            let values = (1_000_000 + n, format!("extra{n:03}"));
            sql.execute(
                "INSERT INTO accounts (id, name, key, password, created_at) VALUES (?1, ?2, ?2, '', 0)",
                values,
            )
            .unwrap();
        }
        sql.execute_batch("COMMIT").unwrap();
    }
    let all = shell.ok(&["accounts"]);
    assert_eq!(all.lines().count(), 351);
    assert!(all.lines().is_sorted());
}

#[tokio::test]
async fn each_line_of_standard_input_is_a_message_in_order_over_a_fail_over() {
    const LINES: usize = 20_000;
    let mut cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    let mut child = shell
        .command(&["send", "--as", "alice", "alice", "--stdin-lines"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        for line in 0..LINES {
            writeln!(stdin, "line {line}").unwrap();
        }
    });
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    cluster.kill(0);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success());
    let ids: Vec<u64> = first.lines().chain(rest.lines()).map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), LINES);
    assert!(ids.is_sorted_by(|a, b| a < b));
    let heard = json_lines(&shell.ok(&["listen", "--as", "alice", "--count", &LINES.to_string(), "--json"]));
    for (line, message) in heard.iter().enumerate() {
        assert_eq!(
            (message["id"].as_u64(), message["text"].as_str()),
            (Some(ids[line]), Some(&*format!("line {line}")))
        );
    }
}

#[tokio::test]
async fn refused_lines_are_named_and_the_others_are_sent() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    let done = shell.run_with_input(&["send", "alice", "--stdin-lines"], b"one\n\nbell\x07\n\xff\xfe\nfive");
    assert_eq!(done.code, 1);
    assert_eq!(done.stdout.lines().count(), 2);
    for line in [
        "line 2: the message is empty",
        "line 3: the message contains",
        "line 4: it is not valid UTF-8",
        "3 lines were refused",
    ] {
        assert!(done.stderr.contains(line), "{}", done.stderr);
    }
}

#[tokio::test]
async fn a_listener_ends_with_its_pipe_or_an_interrupt_and_acknowledges_what_it_printed() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    for i in 0..5 {
        shell.ok(&["send", "alice", &format!("message {i}")]);
    }
    // As in `| head -1`: whoever reads goes away after one line.
    let mut child = shell.command(&["listen", "--json"]).spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    // The next line finds nobody.
    shell.ok(&["send", "alice", "to nobody"]);
    wait::until("it ends", async || child.try_wait().unwrap().is_some()).await;
    assert!(child.wait().unwrap().success());
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");

    let mut child = shell.command(&["listen", "--after", "0", "--json"]).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..6 {
        reader.read_line(&mut line).unwrap();
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    // All six were printed, and so acknowledged.
    shell.ok(&["send", "alice", "the seventh"]);
    assert_eq!(json_lines(&shell.ok(&["listen", "--count", "1", "--json"]))[0]["text"], "the seventh");
}

/// What `--timeout` limits is the wait for the first stream: a subscriber outlives an outage of any length.
#[tokio::test]
async fn a_listener_outlives_an_outage_and_says_so_once() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    shell.ok(&["send", "alice", "before"]);
    let mut child = shell.command(&["--timeout", "300ms", "listen", "--count", "2"]).spawn().unwrap();
    let (mut heard, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    heard.read_line(&mut line).unwrap();
    assert!(line.contains("before"), "{line}");
    for i in 0..3 {
        cluster.pause(i);
    }
    let mut complaints = BufReader::new(child.stderr.take().unwrap());
    let mut complaint = String::new();
    complaints.read_line(&mut complaint).unwrap();
    assert!(complaint.contains("listening goes on once a replica serves"), "{complaint}");
    // No replica serves for longer than several of its time limits: the length of the outage is the subject.
    let paused = std::time::Instant::now();
    wait::until("a while passes", async || paused.elapsed() > 4 * std::time::Duration::from_millis(300))
        .await;
    assert!(child.try_wait().unwrap().is_none(), "it goes on listening");
    for i in 0..3 {
        cluster.resume(i);
    }
    shell.ok(&["send", "alice", "after"]);
    line.clear();
    heard.read_line(&mut line).unwrap();
    assert!(line.contains("after"), "{line}");
    wait::until("it ends", async || child.try_wait().unwrap().is_some()).await;
    complaint.clear();
    complaints.read_to_string(&mut complaint).unwrap();
    assert_eq!(complaint, "", "the outage is told once");
    assert!(child.wait().unwrap().success());

    for i in 0..3 {
        cluster.pause(i);
    }
    shell.fails(&["--timeout", "300ms", "listen"], 3, "replica");
}

#[tokio::test]
async fn mistakes_are_answered_with_one_line() {
    let cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.fails(&["send", "bob", "x"], 1, "trialogue login NAME");
    shell.register("alice");
    shell.fails(&["send", "nobody", "x"], 1, "no account named \"nobody\"");
    shell.fails(&["send", "alice", ""], 1, "empty");
    shell.fails(&["accounts", "("], 1, "not valid");
    shell.fails(&["history", "nobody"], 1, "no account named");
    shell.fails(&["listen", "--after", "99999999"], 1, "lost or replaced");
    shell.fails(&["send", "alice", "x", "--min-copies", "4"], 1, "there are 3 replicas");
    shell.fails(&["verify", "--data", "/no/such/folder"], 1, "/no/such/folder");
    shell.fails(&["login", "bob"], 2, "--password-stdin");
    shell.fails(&["send", "--stdin-lines"], 2, "Usage");
    shell.fails(&["listen", "--count", "0"], 2, "count");
    shell.fails(&["status", "--timeout", "forever"], 2, "number and a unit");
    let nobody = Shell::with_servers("127.0.0.1:1");
    nobody.fails(&["status", "--timeout", "200ms"], 3, "127.0.0.1:1");
}

#[tokio::test]
async fn verify_names_the_first_difference() {
    let mut cluster = Cluster::serving().await;
    let shell = Shell::new(&cluster);
    shell.register("alice");
    shell.ok(&["send", "alice", "what was said"]);
    // Its tables show what is committed a moment after the answer.
    wait::until("replica 1 has applied the message", async || {
        cluster.sql(1).execute("UPDATE messages SET text = 'what was not'", []).unwrap() == 1
    })
    .await;
    shell.fails(&["verify"], 1, "replica 0 and replica 1 differ in table messages");
    let data = cluster.data().to_str().unwrap().to_owned();
    let done = shell.run(&["verify", "--data", &data]);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("what was said") && done.stderr.contains("what was not"), "{}", done.stderr);
    cluster.sql(1).execute("UPDATE messages SET text = 'what was said'", []).unwrap();
    shell.ok(&["verify", "--data", &data]);
    // A replica that is behind differs too.
    cluster.kill(2);
    cluster.until_in_sync(&[0, 1]).await;
    shell.ok(&["send", "alice", "more"]);
    shell.fails(&["verify", "--data", &data, "--timeout", "300ms"], 1, "replica 0 and replica 2 differ");
    shell.fails(&["verify", "--timeout", "300ms"], 1, "replica 2");
}

#[test]
fn the_demo_tells_its_story_and_counts() {
    let output = Command::new(program()).arg("demo").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    println!("{told}");
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.matches("is killed").count(), 2);
    assert_eq!(told.matches("ms after the kill the next message is acknowledged").count(), 2);
    assert!(told.trim_end().ends_with("lost 0, twice 0"));
}

/// The log of a replica is kept small while it runs, and what was in it is set aside.
#[tokio::test]
async fn a_log_that_is_full_is_set_aside_while_its_replica_runs() {
    let up = Up::start(&["--replicas", "1"]);
    let log = up.folder.path().join("data/replica-0/replica.log");
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(&vec![b'x'; 17 << 20]).unwrap();
    wait::until("it is set aside", async || std::fs::metadata(&log).unwrap().len() < 1 << 20).await;
    let aside = std::fs::metadata(log.with_extension("log.1")).unwrap();
    assert!(aside.len() >= 17 << 20, "nothing of it is lost: {}", aside.len());
    file.write_all(b"the next line\n").unwrap();
    assert!(std::fs::read_to_string(&log).unwrap().ends_with("the next line\n"));
}

#[tokio::test]
async fn status_says_in_one_sentence_how_things_stand_and_can_be_watched() {
    let mut cluster = Cluster::serving().await;
    cluster.until_all_in_sync().await;
    let shell = Shell::new(&cluster);
    assert!(
        shell.ok(&["status"]).contains("3 of 3 in sync; everything works, with 3 copies of each message")
    );
    let mut watching = shell.command(&["status", "--watch"]).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("view 1: replica 0 leads, in sync [0,1,2]")));
    cluster.kill(0);
    assert!(lines.any(|line| line.contains("everything works, with 2 of 3 copies of each message")));
    assert!(lines.any(|line| line.contains("view 2: replica 1 leads, in sync [1,2]")));
    cluster.kill_all();
    assert!(lines.any(|line| line.contains("nobody serves: nothing can be read or sent")));
    kill_process(Pid::from_raw(i32::try_from(watching.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    drop(lines);
    assert!(watching.wait().unwrap().success(), "an interrupt ends it, and is no failure");
    let nobody = shell.run(&["login", "--timeout", "300ms", "--password-stdin", "alice"]);
    assert_eq!(nobody.code, 3);
    assert!(
        nobody.stderr.contains("nobody serves: nothing can be read or sent; start the replicas"),
        "{}",
        nobody.stderr
    );
}
