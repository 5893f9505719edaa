//! One replica as a process.

use crate::arguments::{Common, Replica};
use crate::failure::Failure;
use crate::log;
use crate::signals::Caught;
use rustix::process::{Resource, Rlimit, setrlimit};
use server::{Ending, Settings};
use std::io::Read;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Names another file that identifies the machine's boot, for tests of power failures.
const BOOT_ID_FILE: &str = "TRIALOGUE_BOOT_ID_FILE";
/// "File size limit exceeded", the same number on Linux and the BSDs.
const SIGXFSZ: i32 = 25;

pub(crate) async fn replica(common: &Common, replica: Replica) -> Result<(), Failure> {
    server::end_process_on_panic();
    log::start();
    let addresses = replica.addresses_from_servers.then(|| common.servers.0.clone());
    let mut settings = Settings::read(&replica.config, addresses).map_err(Failure::of)?;
    settings.playground = replica.playground;
    if let Some(file) = std::env::var_os(BOOT_ID_FILE) {
        settings.boot_id_file = file.into();
    }
    if !settings.core_dumps {
        // Before a secret is read: a core would hold the cluster's key, and passwords that are being verified.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, none)
            .map_err(|error| Failure::Failed(format!("cores could not be turned off: {error}")))?;
    }
    let mut terminate = Caught::new(SignalKind::terminate())?;
    let mut interrupt = Caught::new(SignalKind::interrupt())?;
    // A terminal that closes is no reason to end: a replica ends with its supervisor, or when it is told to.
    let _hang_up = Caught::new(SignalKind::hangup())?;
    // A file that reaches a size limit must fail like a full disk, not end the process: a process that catches the signal gets
    // an error from the write instead.
    let _size_limit = signal(SignalKind::from_raw(SIGXFSZ))?;
    let orphaned = replica.until_stdin_closes.then(stdin_closes);
    let shutdown = async {
        let orphaned = async {
            match orphaned {
                // The thread that watches standard input ends only when that has closed.
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = terminate.received() => Ending::Alone,
            () = interrupt.received() => Ending::Alone,
            () = orphaned => Ending::WithTheOthers,
        }
    };
    server::run(settings, replica.index, shutdown).await.map_err(Failure::of)
}

/// Ready when standard input closes, which is when the process that holds its other end has ended, however it ended.
fn stdin_closes() -> oneshot::Receiver<()> {
    let (closed, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while std::io::stdin().lock().read(&mut buffer).is_ok_and(|read| read > 0) {}
        drop(closed);
    });
    receiver
}
