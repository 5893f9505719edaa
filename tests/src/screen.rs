//! A person at a terminal: the real program on a pseudo-terminal, whose screen is read as a person would read it.

use crate::cluster::program;
use crate::terminal_picture;
use crate::wait::{self, GENEROUS};
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A terminal with a program on it.
pub struct Screen {
    parser: Arc<Mutex<vt100::Parser>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text())
    }
}

impl Screen {
    /// Starts the program with these arguments, its settings in `home`, on a terminal of 80 by 24.
    pub fn start(home: &Path, servers: &str, arguments: &[&str]) -> Self {
        let (rows, cols) = (24, 80);
        let pair = native_pty_system().openpty(PtySize { rows, cols, ..PtySize::default() }).unwrap();
        let mut command = CommandBuilder::new(program());
        command.args(arguments);
        command.env("TRIALOGUE_HOME", home);
        command.env("TRIALOGUE_SERVERS", servers);
        command.env("TERM", "xterm-256color");
        command.env("TZ", "UTC");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(cols), 1000)));
        let (mut output, screen) = (pair.master.try_clone_reader().unwrap(), parser.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with the program.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().process(&bytes[..count]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { parser, keyboard, child, master: pair.master }
    }

    /// Types: `\r` is Enter, `\x12` Ctrl-R, and so on.
    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// The screen as a page, for a picture of it.
    pub fn page(&self, dark: bool) -> String {
        terminal_picture::page(self.parser.lock().unwrap().screen(), dark)
    }

    /// Waits until something is on the screen; otherwise shows what was there in the end.
    pub async fn until_shows(&self, wanted: &str) {
        let shows = wait::until("it is on the screen", async || self.text().contains(wanted));
        let shown = tokio::time::timeout(GENEROUS / 2, shows).await;
        assert!(shown.is_ok(), "{wanted:?} is not on the screen:\n{self:?}");
    }

    /// Whether the terminal is as a shell wants it.
    pub fn is_sane(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        !screen.alternate_screen()
            && !screen.bracketed_paste()
            && !screen.hide_cursor()
            && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
    }

    /// The window changes: first itself, then the program is told, as terminals do it.
    pub fn resize(&mut self, rows: u16, cols: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(cells(rows), cells(cols));
        self.master.resize(PtySize { rows, cols, ..PtySize::default() }).unwrap();
    }

    /// Ends the program at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Waits until the program has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait::until("the program ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a terminal has rows and columns")
}
