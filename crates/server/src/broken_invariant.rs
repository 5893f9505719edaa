//! A broken invariant ends the process, whichever thread or task finds it.
//!
//! Otherwise the panic would end that thread alone, and leave a process that lives, holds its lock, answers heartbeats and
//! does nothing: the other replicas could not tell it from one that works, and its supervisor would not start it again.

/// From now on a panic anywhere in this process writes its message to standard error, which is the replica's log, and then
/// ends the process at once (by `SIGABRT`). Nothing is lost by that: what was acknowledged is on the disk.
pub fn end_process_on_panic() {
    let write_message = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        write_message(panic);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    const MESSAGE: &str = "a broken invariant, for the sake of the test";
    const SIGABRT: i32 = 6;

    #[test]
    #[ignore = "it ends the process; the test below runs it in one of its own"]
    fn a_thread_finds_a_broken_invariant() {
        end_process_on_panic();
        drop(std::thread::spawn(|| panic!("{MESSAGE}")).join());
    }

    #[tokio::test]
    #[ignore = "it ends the process; the test below runs it in one of its own"]
    async fn a_task_finds_a_broken_invariant() {
        end_process_on_panic();
        drop(tokio::spawn(async { panic!("{MESSAGE}") }).await);
    }

    #[tokio::test]
    #[ignore = "it ends the process; the test below runs it in one of its own"]
    async fn blocking_work_finds_a_broken_invariant() {
        end_process_on_panic();
        drop(tokio::task::spawn_blocking(|| panic!("{MESSAGE}")).await);
    }

    #[test]
    fn whichever_thread_or_task_finds_it_the_process_ends_with_the_message_in_its_log() {
        for finder in ["a_thread", "a_task", "blocking_work"] {
            let half = format!("broken_invariant::tests::{finder}_finds_a_broken_invariant");
            let ended = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--nocapture", "--exact", &half])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let log = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.signal(), Some(SIGABRT), "{finder}: {:?}\n{log}", ended.status);
            assert!(log.contains(MESSAGE), "{finder}:\n{log}");
        }
    }
}
