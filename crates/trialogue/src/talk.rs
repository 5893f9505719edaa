//! Talking: send, listen, accounts, history.

use crate::account::client_of;
use crate::arguments::{Accounts, Common, History, Listen, Send};
use crate::failure::{Failure, complain};
use crate::output;
use crate::sessions::Sessions;
use chat::NamePattern;
use client::{Client, ClientError, Heard, Outbox, Sent, Start, Ticket};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Lines that were given and have no answer yet.
const LINES_WAITING: usize = 1024;
/// How many printed messages may go unacknowledged while more are coming.
const ACKNOWLEDGE_EVERY: u64 = 100;
const PAGE: u32 = 200;

pub(crate) async fn send(common: &Common, send: Send) -> Result<(), Failure> {
    let session = Sessions::open()?.find(send.caller.name.as_deref())?;
    let client = client_of(common);
    if send.stdin_lines {
        let outbox = client.outbox(&session.token);
        return send_lines(outbox, send).await;
    }
    let text = match send.text {
        Some(text) => text,
        None => read_all()?,
    };
    let sent = client.send(&session.token, &send.to, &text, send.min_copies).await?;
    Ok(print_sent(&sent, send.json)?)
}

fn read_all() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(chat::MESSAGE_BYTES_MAX).unwrap_or(u64::MAX) + 2;
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::Failed("the text is not valid UTF-8".into()))?;
    // The newline that ends a file is not part of a message.
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

fn print_sent(sent: &Sent, json: bool) -> io::Result<()> {
    if json {
        output::json(&serde_json::json!({ "id": sent.id, "copies": sent.copies, "replicas": sent.replicas }))
    } else {
        output::line(&sent.id.to_string())
    }
}

/// Each line as one message, pipelined; the answers are printed in the same order.
async fn send_lines(outbox: Outbox, send: Send) -> Result<(), Failure> {
    let (given, mut tickets) = mpsc::channel::<(u64, Result<Ticket, ClientError>)>(LINES_WAITING);
    let (lines, mut read) = mpsc::channel::<io::Result<String>>(LINES_WAITING);
    // A thread of its own: reading standard input can't be interrupted.
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.and_then(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not valid UTF-8"))
            });
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let (to, min_copies) = (send.to.clone(), send.min_copies);
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(line) = read.recv().await {
            number += 1;
            let ticket = match line {
                Ok(line) => outbox.send(&to, &line, min_copies).await,
                Err(error) => Err(ClientError::Refused {
                    reason: "INVALID_INPUT".into(),
                    message: format!("it {error}"),
                }),
            };
            if given.send((number, ticket)).await.is_err() {
                return;
            }
        }
    });
    let mut progress = Progress::new();
    let (mut refused, mut kept) = (0_u64, 0_u64);
    while let Some((number, ticket)) = tickets.recv().await {
        let answer = match ticket {
            Ok(ticket) => ticket.answered().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(sent) => {
                print_sent(&sent, send.json)?;
                progress.count(number);
            }
            Err(error @ ClientError::Refused { .. })
                if !error.is_refused_for(api::status::SESSION_INVALID) =>
            {
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

pub(crate) async fn listen(common: &Common, listen: &Listen) -> Result<(), Failure> {
    let session = Sessions::open()?.find(listen.caller.name.as_deref())?;
    let client = client_of(common);
    let mut ear =
        Ear { client: &client, token: &session.token, history: Vec::new(), printed: 0, unacknowledged: 0 };
    let start = Start { after: listen.after, ..Start::default() };
    let mut listening = client.listen(&session.token, start);
    let mut heard = 0;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        // What is printed is acknowledged when nothing more is there at once.
        let next = tokio::select! {
            biased;
            _ = &mut interrupted => break,
            next = listening.next() => next,
            () = std::future::ready(()), if ear.unacknowledged > 0 => {
                ear.acknowledge().await?;
                continue;
            }
        };
        match next {
            Some(Ok(Heard::Listening { history })) => ear.history = history,
            Some(Ok(Heard::Message(message))) => {
                if listen.json {
                    output::json(&output::message_json(&message))?;
                } else {
                    output::line(&output::message_line(&message))?;
                }
                ear.printed = message.id;
                ear.unacknowledged += 1;
                heard += 1;
                if listen.count.is_some_and(|count| heard >= count) {
                    break;
                }
                if ear.unacknowledged >= ACKNOWLEDGE_EVERY {
                    ear.acknowledge().await?;
                }
            }
            Some(Ok(Heard::Reconnecting | Heard::Receipt(_) | Heard::ReceiptsMissed)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => break,
        }
    }
    ear.acknowledge().await
}

/// What was printed and what of it was acknowledged.
struct Ear<'a> {
    client: &'a Client,
    token: &'a str,
    history: Vec<u8>,
    printed: u64,
    unacknowledged: u64,
}

impl Ear<'_> {
    async fn acknowledge(&mut self) -> Result<(), Failure> {
        if self.unacknowledged > 0 {
            self.client.acknowledge(self.token, self.printed, &self.history).await?;
            self.unacknowledged = 0;
        }
        Ok(())
    }
}

pub(crate) async fn accounts(common: &Common, accounts: Accounts) -> Result<(), Failure> {
    let session = Sessions::open()?.find(accounts.caller.name.as_deref())?;
    let client = client_of(common);
    let pattern =
        accounts.glob.as_deref().map(NamePattern::from_glob).or(accounts.pattern).unwrap_or_default();
    let mut page_token = String::new();
    loop {
        let (page, next) = client.accounts(&session.token, &pattern, &page_token).await?;
        for account in page {
            if accounts.json {
                output::json(&serde_json::json!({ "id": account.id, "name": account.name }))?;
            } else {
                output::line(&output::plain(&account.name))?;
            }
        }
        if next.is_empty() {
            return Ok(());
        }
        page_token = next;
    }
}

pub(crate) async fn history(common: &Common, history: &History) -> Result<(), Failure> {
    let session = Sessions::open()?.find(history.caller.name.as_deref())?;
    let client = client_of(common);
    let mut messages = Vec::new();
    let mut before = history.before.unwrap_or(0);
    loop {
        let missing = history.limit.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        let page = client.history(&session.token, &history.with, before, missing.min(PAGE)).await?;
        before = page.messages.last().map_or(before, |oldest| oldest.id);
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
