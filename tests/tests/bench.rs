//! `trialogue bench`: every figure is there, beside its limit. How quick a machine is that runs the tests is not judged.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use whole_process_tests::cluster::{Cluster, program};
use whole_process_tests::command::interruptible;
use whole_process_tests::people::Person;
use whole_process_tests::wait;

fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(program());
    command.args(["bench", "--json", "--seconds", "0.1"]).args(arguments);
    let output = command.output().unwrap();
    let figures = String::from_utf8(output.stdout).unwrap();
    println!("{figures}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&figures).unwrap()
}

fn figure(report: &Value, pointer: &str) -> f64 {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{pointer} is missing: {report}"))
}

/// What every run measures.
fn assert_measured(report: &Value) {
    assert_eq!(report["replicas"], 3);
    for (place, calls) in [16.0, 64.0, 256.0].into_iter().enumerate() {
        let of = |name: &str| figure(report, &format!("/in_flight/{place}/{name}"));
        assert!((of("calls") - calls).abs() < 0.5);
        let share = of("per_second") / of("do_nothing_per_second");
        assert!((of("share") - share).abs() < 1e-9, "a share is that of one round");
        assert!(of("share_worst") <= share && share <= of("share_best"));
        assert!(share > 0.0 && share < 1.0, "the service does more than nothing: {share}");
    }
    let quantiles = ["/one_sender/p50_ms", "/one_sender/p99_ms", "/one_sender/p999_ms"];
    assert!(quantiles.map(|quantile| figure(report, quantile)).is_sorted());
    assert!(figure(report, "/one_sender/do_nothing_call_p50_ms") < figure(report, "/one_sender/p50_ms"));
    assert!(figure(report, "/pipelined_per_second") > 0.0);
    assert!(figure(report, "/delivery/p50_ms") > 0.0);
    assert!(figure(report, "/logins/per_second") > 0.0 && figure(report, "/logins/p50_ms") > 0.0);
    let rungs = report["ladder"].as_array().unwrap();
    assert_eq!(rungs.len(), 5);
    for rung in rungs {
        let of = |name: &str| figure(rung, &format!("/{name}"));
        assert!(
            of("per_second") > 0.0 && of("do_nothing_p50_ms") > 0.0 && of("do_nothing_p50_ms") < of("p50_ms")
        );
        assert!([of("p50_ms"), of("p99_ms"), of("p999_ms")].is_sorted(), "{rung}");
    }
}

#[test]
fn a_bench_of_its_own_measures_the_service_the_machine_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let charts = folder.path().join("charts");
    let report = bench(
        &[
            ["--kills", "1"],
            ["--entries", "300"],
            ["--accounts", "12000"],
            ["--messages", "90000"],
            ["--listeners", "3,40"],
            ["--charts", charts.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_measured(&report);
    let unit = 2.0 * figure(&report, "/one_sender/do_nothing_call_p50_ms")
        + figure(&report, "/one_sender/fdatasync_p50_ms");
    let ratio = figure(&report, "/one_sender/p50_ms") / unit;
    assert!((figure(&report, "/one_sender/ratio") - ratio).abs() < 1e-9);
    let ratio =
        figure(&report, "/one_sender/p50_ms") / figure(&report, "/one_sender/two_calls_and_a_sync_p50_ms");
    assert!((figure(&report, "/one_sender/ratio_in_a_row") - ratio).abs() < 1e-9);
    for name in ["idle_mib_a_replica", "cpu_us_a_message", "written_bytes_a_message_and_replica"] {
        assert!(figure(&report, &format!("/cost/{name}")) > 0.0, "{name}");
    }
    assert_eq!(report["gaps"]["kills"], 1);
    assert!(figure(&report, "/gaps/worst_ms") > 0.0 && figure(&report, "/start_to_ready_ms") > 0.0);
    let moments = report["gaps"]["moments"].as_array().unwrap();
    assert!(moments.first().unwrap()["since_kill_ms"].as_f64().unwrap() < 0.0);
    assert!(moments.last().unwrap()["since_kill_ms"].as_f64().unwrap() > 0.0);
    let longest = moments.iter().map(|moment| figure(moment, "/took_ms")).fold(0.0, f64::max);
    assert!(longest >= figure(&report, "/gaps/worst_ms"), "the silence after the kill is in the picture");
    let [closed, gap, silence] = ["connections_closed_median_ms", "worst_ms", "longest_silence_after_ms"]
        .map(|name| figure(&report, &format!("/gaps/{name}")));
    assert!(0.0 < closed && closed < gap && gap <= silence, "{closed}, {gap}, {silence}");
    assert_eq!(report["catch_up"]["entries"], 300);
    assert!(figure(&report, "/catch_up/entries_per_second") > 0.0);
    let filled = &report["filled"];
    assert_eq!((filled["accounts"].as_u64(), filled["messages"].as_u64()), (Some(12_000), Some(90_000)));
    for name in ["start_to_ready_ms", "snapshot/mib", "snapshot/mib_per_second", "log_alone_per_second"] {
        assert!(figure(filled, &format!("/{name}")) > 0.0, "{name}");
    }
    assert_eq!(filled["sends"].as_array().unwrap().len(), 2);
    assert_eq!(filled["listing"]["pages"], 2, "a page looks at 10,000 names");
    assert!(figure(filled, "/listing/sends_kept") > 0.0);
    let listeners: Vec<_> =
        report["crowds"].as_array().unwrap().iter().map(|crowd| &crowd["listeners"]).collect();
    assert_eq!(listeners, [3, 40]);
    assert!(figure(&report, "/crowds/1/delivery/p50_ms") > 0.0);
    for chart in ["throughput.svg", "latency.svg", "fail-over.svg"] {
        assert!(std::fs::read_to_string(charts.join(chart)).unwrap().starts_with("<svg"), "{chart}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_of_a_running_service_kills_nothing_and_leaves_no_account() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let servers = cluster.servers();
    let report = tokio::task::spawn_blocking(move || bench(&["--servers", &servers])).await.unwrap();
    assert_measured(&report);
    for missing in ["gaps", "cost", "start_to_ready_ms", "catch_up", "filled"] {
        assert!(report[missing].is_null(), "{missing}");
    }
    let accounts = alice.session.accounts("", "").await.unwrap().accounts;
    assert_eq!(accounts.len(), 1, "only alice is left: {accounts:?}");
    cluster.until_all_in_sync().await;
    cluster.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_bench_leaves_no_account_in_a_running_service_and_no_replica_of_its_own() {
    let cluster = Cluster::serving().await;
    let alice = Person::register(&cluster, "alice").await;
    let accounts = async || alice.session.accounts("", "").await.unwrap().accounts.len();
    let mut bench = interruptible();
    bench.args(["bench", "--servers", &cluster.servers()]).stderr(Stdio::null()).stdout(Stdio::null());
    let mut bench = bench.spawn().unwrap();
    wait::until("the bench has its accounts", async || accounts().await == 17).await;
    interrupt(&bench);
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    assert_eq!(accounts().await, 1, "only alice is left");

    for (arguments, at) in [
        (&[][..], "16 accounts"),
        // What fills the database is at work for minutes.
        (&["--seconds", "0.05", "--kills", "0", "--entries", "0", "--messages", "10000000"], "filling"),
    ] {
        assert_interrupted_bench_leaves_nothing(arguments, at);
    }
}

/// Interrupts a bench once it says that it is there.
fn assert_interrupted_bench_leaves_nothing(arguments: &[&str], at: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = interruptible();
    bench.arg("bench").args(arguments).env("TMPDIR", folder.path());
    let mut bench = bench.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(bench.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(at)), "it ends before it says {at}");
    interrupt(&bench);
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "its folder is gone");
    let of_its_own = format!("{}", folder.path().display());
    let left = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&of_its_own)
    });
    assert_eq!(left.count(), 0, "its replicas have ended");
}

fn interrupt(process: &Child) {
    kill_process(Pid::from_child(process), Signal::INT).unwrap();
}
