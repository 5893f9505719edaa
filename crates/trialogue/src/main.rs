//! The command `trialogue`: starts replicas, and lets people and scripts use the chat.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no replica served in time, 4 done but kept on fewer replicas
//! than were asked for. Errors are one line on stderr.

mod account;
mod arguments;
mod bench;
mod demo;
mod failure;
mod hang_up;
mod input;
mod listen;
mod log;
mod messages;
mod output;
mod password;
mod playground;
mod prove;
mod recover;
mod replica;
mod replica_logs;
mod sessions;
mod signals;
mod status;
mod supervisor;
mod terminal;
mod up;
mod verify;

use arguments::{Arguments, Command};
use failure::Failure;
use rustix::thread::disable_transparent_huge_pages;
use std::process::ExitCode;

/// A password's 19 MiB go back to the system when they were used: the system's own allocator would keep them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks the system for pages of 2 MiB, each of which takes all of that once a byte of it is used: an idle replica
    // had 34 MiB where it has 19 (docs/performance.md). Where the system knows nothing of this, that is what it costs. What this
    // process starts begins with it.
    let _ = disable_transparent_huge_pages(true);
    signals::note();
    let arguments = Arguments::read();
    let threads = worker_threads(&arguments.command);
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(threads).build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::Failed(format!("the runtime could not start: {error}")).report(),
        };
    let outcome = runtime.block_on(run(arguments));
    // A thread that reads standard input can't be interrupted; nothing waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// How many threads run this command's tasks. A replica has threads of its own for its core, its log and its tables, and shares
/// its machine with two others where `up` starts it: half of the cores is what its calls can use. On two cores a second thread
/// costs a message alone two wake-ups of an idle core (docs/performance.md).
fn worker_threads(command: &Command) -> usize {
    match command {
        Command::Replica(_) => {
            std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4))
        }
        _ => 2,
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { common, command } = arguments;
    match command {
        Command::Up(up) => up::up(&common, up).await,
        Command::Replica(replica) => replica::replica(&common, replica).await,
        Command::Status(status) => status::status(&common, &status).await,
        Command::CreateAccount(account) => account::create(&common, &account).await,
        Command::Login(account) => account::login(&common, &account).await,
        Command::Logout(caller) => account::logout(&common, &caller).await,
        Command::DeleteAccount(account) => account::delete(&common, &account).await,
        Command::ChangePassword(change) => account::change_password(&common, &change).await,
        Command::Chat(chat) => terminal::chat(&common, chat).await,
        Command::Send(send) => messages::send(&common, send).await,
        Command::Listen(listen) => listen::listen(&common, &listen).await,
        Command::Accounts(accounts) => messages::accounts(&common, accounts).await,
        Command::History(history) => messages::history(&common, &history).await,
        Command::Verify(verify) => verify::verify(&common, &verify).await,
        Command::Recover(recover) => recover::recover(&recover),
        Command::Demo => demo::demo().await,
        Command::Bench(bench) => bench::bench(&common, &bench).await,
        Command::Prove(prove) => prove::prove(&prove).await,
    }
}
