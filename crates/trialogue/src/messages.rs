//! Talking: send, accounts, history.

use crate::account::session_of;
use crate::arguments::{Accounts, Common, History, Send};
use crate::failure::{Failure, complain};
use crate::input::{self, Given};
use crate::output;
use chat::{MESSAGE_BYTES_MAX, NamePattern};
use client::{ClientError, MessageId, Outbox, Reason, Sent, Ticket, To};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Lines that were given and have no answer yet.
const LINES_WAITING: usize = 1024;
const PAGE: u32 = 200;

pub(crate) async fn send(common: &Common, send: Send) -> Result<(), Failure> {
    let session = session_of(common, &send.caller).await?;
    if send.stdin_lines {
        return send_lines(session.outbox(), send).await;
    }
    let text = match send.text {
        Some(text) => text,
        None => text_of(input::whole(io::stdin().lock(), MESSAGE_BYTES_MAX)?).map_err(Failure::Failed)?,
    };
    let sent = session.send(&send.to, &text, send.min_copies).await?;
    output::report(&format!("the message was sent as {}", sent.id.0), print_sent(&sent, send.json))
}

/// What was given, or what is wrong with it.
fn text_of(given: Given) -> Result<String, String> {
    match given {
        Given::Text(text) => Ok(text),
        Given::TooLong(limit) => {
            Err(format!("the message has more than the {limit} bytes that are allowed; send it in parts"))
        }
        Given::NotUtf8 => Err("it is not valid UTF-8".into()),
    }
}

fn print_sent(sent: &Sent, json: bool) -> io::Result<()> {
    if json {
        output::json(
            &serde_json::json!({ "id": sent.id.0, "copies": sent.copies, "replicas": sent.replicas }),
        )
    } else {
        output::line(&sent.id.0.to_string())
    }
}

/// Each line as one message, pipelined; the answers are printed in the same order.
async fn send_lines(outbox: Outbox, send: Send) -> Result<(), Failure> {
    let (given, mut tickets) = mpsc::channel::<(u64, Result<Ticket, ClientError>)>(LINES_WAITING);
    let (lines, mut read) = mpsc::channel::<io::Result<Given>>(LINES_WAITING);
    // A thread of its own: reading standard input can't be interrupted.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = input::line(&mut input, MESSAGE_BYTES_MAX).transpose() {
            // What can't be read once is not read again.
            let over = line.is_err();
            if lines.blocking_send(line).is_err() || over {
                return;
            }
        }
    });
    let (to, min_copies) = (send.to.clone(), send.min_copies);
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(line) = read.recv().await {
            number += 1;
            let line = line.map_err(|error| format!("it could not be read: {error}")).and_then(text_of);
            let ticket = match line {
                Ok(line) => outbox.send(&to, &line, min_copies).await,
                Err(message) => Err(ClientError::Refused { reason: Reason::InvalidInput, message }),
            };
            if given.send((number, ticket)).await.is_err() {
                return;
            }
        }
    });
    let mut progress = Progress::new();
    let (mut refused, mut kept) = (0_u64, 0_u64);
    let mut unwritten = None;
    while let Some((number, ticket)) = tickets.recv().await {
        let answer = match ticket {
            Ok(ticket) => ticket.answered().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(sent) => {
                progress.count(number);
                // Those after it are on their way, and must be told of at the end.
                if unwritten.is_none()
                    && let Err(error) = print_sent(&sent, send.json)
                {
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        return Err(error.into());
                    }
                    unwritten = Some((number, sent.id.0, error));
                }
            }
            Err(error @ ClientError::Refused { .. }) if !error.is_refused_for(&Reason::SessionInvalid) => {
                refused += 1;
                complain(&format!("line {number}: {error}"));
            }
            Err(error @ ClientError::KeptOnFewer { .. }) => {
                kept += 1;
                complain(&format!("line {number}: {error}"));
            }
            Err(error) => {
                progress.clear();
                complain(&format!("line {number} and those after it have no answer"));
                return Err(error.into());
            }
        }
    }
    progress.clear();
    if let Some((number, id, error)) = unwritten {
        return Err(Failure::Failed(format!(
            "line {number} was sent as {id}, but this and what came after it could not be written ({error}); {refused} lines \
             were refused, the others were sent"
        )));
    }
    match (refused, kept) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::KeptOnFewer(format!(
            "all lines were sent; {kept} are kept on fewer replicas than were asked for"
        ))),
        _ => Err(Failure::Failed(format!("{refused} lines were refused; the others were sent"))),
    }
}

/// A line on the terminal that says how far it is.
struct Progress {
    shown: Option<Instant>,
    on: bool,
    began: Instant,
}

impl Progress {
    fn new() -> Self {
        // Where the ids go to the same terminal, they are the progress.
        let on = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { shown: None, on, began: Instant::now() }
    }

    fn count(&mut self, sent: u64) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(200));
        if self.on && due {
            self.shown = Some(Instant::now());
            let seconds = self.began.elapsed().as_secs();
            // A progress line that can't be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r{sent} acknowledged in {seconds} s");
        }
    }

    fn clear(&mut self) {
        if self.on && self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

pub(crate) async fn accounts(common: &Common, accounts: Accounts) -> Result<(), Failure> {
    let session = session_of(common, &accounts.caller).await?;
    let pattern =
        accounts.glob.as_deref().map(NamePattern::from_glob).or(accounts.pattern).unwrap_or_default();
    let mut page_token = String::new();
    loop {
        let page = session.accounts(&pattern, &page_token).await?;
        for account in page.accounts {
            if accounts.json {
                output::json(&serde_json::json!({ "id": account.id, "name": account.name }))?;
            } else {
                output::line(&output::plain(&account.name))?;
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        page_token = page.next_page_token;
    }
}

pub(crate) async fn history(common: &Common, history: &History) -> Result<(), Failure> {
    let session = session_of(common, &history.caller).await?;
    let mut messages = Vec::new();
    let mut before = history.before.map(MessageId);
    loop {
        let missing = history.limit.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        let page = session.conversation(To::parse(&history.with), before, missing.min(PAGE)).await?;
        before = page.messages.last().map(|oldest| MessageId(oldest.id)).or(before);
        let (more, got) = (page.more, page.messages.len());
        messages.extend(page.messages);
        if !more || got == 0 || messages.len() >= usize::try_from(history.limit).unwrap_or(usize::MAX) {
            break;
        }
    }
    for message in messages.iter().rev() {
        if history.json {
            let mut value = output::message_json(message);
            value["delivered"] = message.delivered.into();
            value["undeliverable"] = message.undeliverable.into();
            output::json(&value)?;
        } else {
            output::line(&output::message_line(message))?;
        }
    }
    Ok(())
}
