//! Sends lines of standard input to an account, in order, over every fail-over.
//!
//! `trialogue up`, then: `echo hello | cargo run -p client --example send -- 127.0.0.1:5100 alice PASSWORD bob`
//!
//! An outbox keeps many messages in flight. What has no answer when a replica dies is sent again with its request id, so that
//! each line arrives once.

#![expect(clippy::print_stdout, reason = "an example")]

use chat::Address;
use client::{Client, Options, To};
use std::error::Error;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, password, to] = &arguments[..] else {
        return Err("give SERVER NAME PASSWORD TO".into());
    };
    // Any one replica is enough: the others are learned from it.
    let client = Client::new(vec![Address::parse(server)?], Options::default());
    let session = client.login(name, password).await?.session;
    let outbox = session.outbox();
    let mut lines = BufReader::new(stdin()).lines();
    let mut tickets = Vec::new();
    while let Some(line) = lines.next_line().await? {
        tickets.push((line.clone(), outbox.send(To::parse(to), &line, 0).await?));
    }
    for (line, ticket) in tickets {
        let sent = ticket.answered().await?;
        println!("{line:?} is message {} on {} of {} replicas", sent.id.0, sent.copies, sent.replicas);
    }
    session.logout().await?;
    Ok(())
}
