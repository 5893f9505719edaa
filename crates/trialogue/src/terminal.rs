//! `chat`: the whole screen. The state stands in [`app`] and knows nothing outside; this file connects it with the terminal
//! and, by [`online`], with the service.

mod app;
mod commands;
mod conversation;
mod drafts;
mod input;
mod kept;
mod layout;
mod online;
mod palette;
#[cfg(test)]
mod panics;
mod question;
mod screen;
#[cfg(test)]
mod screens;
mod sign_in;
mod vocabulary;
mod wording;

use crate::account::client_of;
use crate::arguments::{Chat, Common};
use crate::failure::{Failure, complain};
use crate::hang_up;
use crate::output;
use crate::sessions::{KeptSession, Sessions};
use crate::signals::Caught;
use app::App;
use client::{Client, ClientError, OutboxFile, Reason, Session};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
    KeyEventKind, MouseEventKind,
};
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType, SetTitle};
use drafts::Drafts;
use online::Online;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, Frame, Terminal, TerminalOptions, Viewport};
use rustix::process::{Signal, getpid, kill_process};
use sign_in::{SignIn, Wanted};
use std::io::{IsTerminal, Write, stdin, stdout};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vocabulary::{Effect, Me};

/// How often drafts are kept, where something was typed.
const KEEP_DRAFTS_EVERY: Duration = Duration::from_secs(1);
/// Lines that one turn of the wheel moves.
const WHEEL_LINES: isize = 3;

pub(crate) async fn chat(common: &Common, chat: Chat) -> Result<(), Failure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Failure::Usage("chat needs a terminal; scripts use send and listen".into()));
    }
    let client = client_of(common);
    let sessions = Arc::new(Sessions::of(common, &client).await?);
    // Asked for on the terminal as it is, before it becomes a screen.
    let kept = match &chat.name {
        None if sessions.is_empty()? => None,
        None => Some(sessions.find(None, "trialogue chat NAME")?),
        Some(name) => sessions.kept(name)?,
    };
    let colours = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let mut screen = Screen::open()?;
    let signed_in = screen.sign_in(&client, &sessions, chat.name.as_deref(), kept, colours).await?;
    let Some((session, me)) = signed_in else { return Ok(()) };
    let path = sessions.outbox(&session, common)?;
    let (file, waiting) =
        OutboxFile::open(&path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let dated = client.session(&session.token);
    let new_request_id = move || dated.new_request_id();
    let mut app = App::new(me.clone(), colours, jiff::tz::TimeZone::system(), new_request_id);
    app.take_waiting(&waiting);
    if let Some(aside) = file.unreadable() {
        app.notice = Some(format!(
            "some of the outbox could not be read, and may have been messages; it is kept in {}",
            aside.display()
        ));
    }
    let mut drafts = Drafts::beside(&path);
    app.take_drafts(drafts.all());
    let (emit, events) = mpsc::unbounded_channel();
    let online = Online::start(client, session, sessions, &me, (file, waiting), emit);
    let parting = screen.run(&mut app, online, events, &mut drafts).await;
    drop(screen);
    if let Err(error) = drafts.keep(app.drafts()) {
        complain(&format!("what was begun to be written could not be kept: {error}"));
    }
    let parting = parting?;
    for line in app.parting_lines() {
        output::line(&line)?;
    }
    if let Some(parting) = parting {
        output::line(&output::plain(&parting))?;
    }
    Ok(())
}

/// The terminal, in its state for a whole screen.
struct Screen {
    terminal: Shown,
    events: mpsc::Receiver<std::io::Result<Event>>,
    terminate: [Caught; 2],
    /// SIGTSTP, by which a shell stops the program, and SIGCONT, by which it goes on.
    stop: Caught,
    go_on: Caught,
    gone: Pin<Box<dyn Future<Output = ()>>>,
    /// The last to be dropped: it has the last word.
    _restored: Restored,
}

/// What draws on the terminal. Dropped on a terminal that is gone, it would complain on standard error, which is gone too: that
/// is a panic.
struct Shown(Option<DefaultTerminal>);

impl Shown {
    fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> std::io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |terminal| terminal.draw(draw).map(drop))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(mut terminal) = self.0.take()
            && terminal.show_cursor().is_err()
        {
            std::mem::forget(terminal);
        }
    }
}

/// The terminal is as it was before once this is dropped, by a panic too.
struct Restored;

impl Screen {
    fn open() -> Result<Self, Failure> {
        // A panic elsewhere is told on the screen as it was before.
        let restored = Restored;
        ratatui::try_init()?;
        let opened = Self {
            terminal: whole_screen()?,
            events: read_events(),
            terminate: [Caught::new(SignalKind::terminate())?, Caught::new(SignalKind::hangup())?],
            stop: Caught::new(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
            go_on: Caught::new(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            gone: Box::pin(hang_up::gone(stdin())),
            _restored: restored,
        };
        execute!(stdout(), EnableBracketedPaste, EnableMouseCapture)?;
        Ok(opened)
    }

    /// The terminal belongs to the shell until this process goes on.
    async fn stop(&mut self) -> Result<(), Failure> {
        restore();
        kill_process(getpid(), Signal::STOP).map_err(std::io::Error::from)?;
        self.go_on.received().await;
        self.again()
    }

    /// Takes the terminal back, in whatever state it was left.
    fn again(&mut self) -> Result<(), Failure> {
        restore();
        ratatui::try_init()?;
        self.terminal = whole_screen()?;
        Ok(execute!(stdout(), EnableBracketedPaste, EnableMouseCapture)?)
    }

    /// The session to chat in: one that is kept and still good, or one that is opened now. `None` if the person quits.
    async fn sign_in(
        &mut self,
        client: &Client,
        sessions: &Sessions,
        name: Option<&str>,
        kept: Option<KeptSession>,
        colours: bool,
    ) -> Result<Option<(KeptSession, Me)>, Failure> {
        let mut form = SignIn::new(name, colours);
        if let Some(session) = kept {
            form.busy = true;
            self.terminal.draw(|frame| form.draw(frame))?;
            match me(&client.session(&session.token)).await {
                Ok(me) => return Ok(Some((session, me))),
                Err(error) if error.is_refused_for(&Reason::SessionInvalid) => {
                    form = SignIn::new(Some(&session.name), colours);
                }
                Err(error) => form.refused(&error.to_string(), false),
            }
        }
        loop {
            self.terminal.draw(|frame| form.draw(frame))?;
            let wanted = match self.next_event().await? {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => form.key(key),
                Some(Event::Paste(text)) => {
                    form.paste(&text);
                    Wanted::Nothing
                }
                Some(_) => Wanted::Nothing,
                None => Wanted::Quit,
            };
            let (name, password, registers) = match wanted {
                Wanted::Nothing => continue,
                Wanted::Quit => return Ok(None),
                Wanted::SignIn { name, password } => (name, password, false),
                Wanted::Register { name, password } => (name, password, true),
            };
            self.terminal.draw(|frame| form.draw(frame))?;
            let opened = async {
                if registers {
                    client.create_account(&name, &password).await?;
                }
                let opened = client.login(&name, &password).await?;
                let me = me(&opened.session).await?;
                Ok::<_, ClientError>((opened, me))
            };
            match opened.await {
                Ok((opened, me)) => {
                    sessions.keep(&opened)?;
                    return Ok(Some(((&opened).into(), me)));
                }
                Err(error) => {
                    form.refused(&error.to_string(), error.is_refused_for(&Reason::WrongCredentials));
                }
            }
        }
    }

    /// Chats until the person quits. Gives the last words.
    async fn run(
        &mut self,
        app: &mut App,
        mut online: Online,
        mut from_service: mpsc::UnboundedReceiver<vocabulary::Event>,
        drafts: &mut Drafts,
    ) -> Result<Option<String>, Failure> {
        let mut title = String::new();
        let mut keep_drafts = interval(KEEP_DRAFTS_EVERY);
        keep_drafts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.terminal.draw(|frame| screen::draw(frame, app))?;
            let wanted = match app.unread() {
                0 => format!("Trialogue · {}", app.me.name),
                unread => format!("({unread}) Trialogue · {}", app.me.name),
            };
            if wanted != title {
                execute!(stdout(), SetTitle(chat::harmless(&wanted)))?;
                title = wanted;
            }
            let effects = tokio::select! {
                event = self.next_event() => match event? {
                    Some(event) => on_event(app, &event),
                    None => vec![Effect::Quit],
                },
                Some(event) = from_service.recv() => {
                    let mut effects = app.on_event(event);
                    // Whatever else is there is drawn at once.
                    while let Ok(event) = from_service.try_recv() {
                        effects.extend(app.on_event(event));
                    }
                    effects
                }
                _ = keep_drafts.tick() => {
                    if let Err(error) = drafts.keep(app.drafts()) {
                        app.notice = Some(format!("what is begun here could not be kept: {error}"));
                    }
                    continue;
                }
                Some(ended) = online.tasks.join_next(), if !online.tasks.is_empty() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    Vec::new()
                }
            };
            for effect in effects {
                match effect {
                    Effect::Quit => return Ok(app.notice.take()),
                    Effect::Bell => {
                        stdout().write_all(b"\x07")?;
                        stdout().flush()?;
                    }
                    other => online.carry_out(other),
                }
            }
        }
    }

    /// The next key, paste or change of the window; `None` if the terminal is gone, or this process was told to end.
    async fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        let [terminate, hangup] = &mut self.terminate;
        let event = tokio::select! {
            () = &mut self.gone => return Ok(None),
            () = terminate.received() => return Ok(None),
            () = hangup.received() => return Ok(None),
            () = self.stop.received() => None,
            () = self.go_on.received() => {
                self.again()?;
                return Ok(Some(Event::FocusGained));
            }
            event = self.events.recv() => match event.transpose()? {
                Some(event) => Some(event),
                None => return Ok(None),
            },
        };
        match &event {
            Some(Event::Resize(..)) => self.terminal = whole_screen()?,
            Some(_) => {}
            None => {
                self.stop().await?;
                return Ok(Some(Event::FocusGained));
            }
        }
        Ok(event)
    }
}

/// A terminal of the size that the window has now, on an empty screen. Its size is fixed, and it is made anew when the
/// window changes: otherwise it asks where the cursor is, and waits for an answer that not every terminal gives.
fn whole_screen() -> Result<Shown, Failure> {
    let (width, height) = crossterm::terminal::size()?;
    execute!(stdout(), Clear(ClearType::All))?;
    let viewport = Viewport::Fixed(Rect::new(0, 0, width, height));
    let terminal = Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport })?;
    Ok(Shown(Some(terminal)))
}

/// What is done at the terminal. It is read on a thread of its own, which ends with the process: where the terminal is gone,
/// there is no other end to it.
fn read_events() -> mpsc::Receiver<std::io::Result<Event>> {
    let (emit, events) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let event = crossterm::event::read();
            let over = event.is_err();
            if emit.blocking_send(event).is_err() || over {
                return;
            }
        }
    });
    events
}

fn restore() {
    // What can't be restored on a terminal that is gone needs no restoring.
    let _ = execute!(stdout(), DisableMouseCapture, DisableBracketedPaste, SetTitle(""));
    let _ = ratatui::try_restore();
}

impl Drop for Restored {
    fn drop(&mut self) {
        restore();
    }
}

fn on_event(app: &mut App, event: &Event) -> Vec<Effect> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            app.key(*key, u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        }
        Event::Paste(text) => {
            app.paste(text);
            Vec::new()
        }
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollUp => app.scroll(-WHEEL_LINES),
            MouseEventKind::ScrollDown => app.scroll(WHEEL_LINES),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

async fn me(session: &Session) -> Result<Me, ClientError> {
    let account = session.account().await?;
    Ok(Me { id: account.account_id, name: account.name })
}
