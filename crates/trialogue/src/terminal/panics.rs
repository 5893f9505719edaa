//! A panic leaves the terminal as a shell wants it, and its words in sight.
//!
//! The panicking half runs as a process of its own on a pseudo-terminal: this very test program, told to run one test.

use super::Screen;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::io::Read;
use std::num::NonZero;

const WORDS: &str = "a broken invariant, for the sake of the test";

#[tokio::test]
#[ignore = "it panics on the terminal that the test below makes for it"]
async fn a_screen_that_panics() {
    let mut screen = Screen::open().unwrap();
    screen.terminal.draw(|frame| frame.render_widget("the whole screen", frame.area())).unwrap();
    panic!("{WORDS}");
}

#[tokio::test]
#[ignore = "it panics on the terminal that the test below makes for it"]
async fn a_screen_whose_task_panics() {
    let mut screen = Screen::open().unwrap();
    screen.terminal.draw(|frame| frame.render_widget("the whole screen", frame.area())).unwrap();
    let ended = tokio::spawn(async { panic!("{WORDS}") }).await;
    std::panic::resume_unwind(ended.unwrap_err().into_panic());
}

#[test]
fn a_panic_leaves_the_terminal_sane_and_its_words_in_sight() {
    for half in ["a_screen_that_panics", "a_screen_whose_task_panics"] {
        let (rows, cols) = (40, 100);
        let pair = native_pty_system().openpty(PtySize { rows, cols, ..PtySize::default() }).unwrap();
        let before = pair.master.get_termios().unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--nocapture", "--exact", &format!("terminal::panics::{half}")]);
        command.env("TERM", "xterm-256color");
        command.env("RUST_BACKTRACE", "0");
        let mut child = pair.slave.spawn_command(command).unwrap();
        let cells = |count| NonZero::new(count).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let seen = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // A pseudo-terminal whose other end is closed is an error to read, and the end of it.
            let _ = reader.read_to_end(&mut bytes);
            bytes
        });
        assert!(!child.wait().unwrap().success(), "{half} panics");
        let after = pair.master.get_termios().unwrap();
        drop(pair);
        let bytes = seen.join().unwrap();
        let mut parser = vt100::Parser::new(cells(rows), cells(cols), 0);
        let entered = bytes.windows(8).any(|window| window == b"\x1b[?1049h");
        parser.process(&bytes);
        let screen = parser.screen();
        assert!(entered, "{half} had the whole screen:\n{}", screen.contents());
        assert!(screen.contents().contains(WORDS), "{half}:\n{}", screen.contents());
        let modes = (screen.alternate_screen(), screen.bracketed_paste(), screen.hide_cursor());
        assert_eq!(modes, (false, false, false), "{half}");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "{half}");
        assert_eq!(
            before.local_flags, after.local_flags,
            "{half}: the keyboard is echoed, line by line, as before"
        );
    }
}
