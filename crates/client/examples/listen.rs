//! Prints the messages of an account as they arrive, each once, over every fail-over.
//!
//! `trialogue up`, then: `cargo run -p client --example listen -- 127.0.0.1:5100 bob PASSWORD 3` ends after three messages.

#![expect(clippy::print_stdout, reason = "an example")]

use chat::Address;
use client::{Client, Heard, MessageId, Options, Start};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, password, count] = &arguments[..] else {
        return Err("give SERVER NAME PASSWORD COUNT".into());
    };
    let client = Client::new(vec![Address::parse(server)?], Options::default());
    let session = client.login(name, password).await?.session;
    // Without a cursor: from the first message that the account has not acknowledged.
    let mut listening = session.listen(Start::default());
    let (mut history, mut left) = (Vec::new(), count.parse::<u64>()?);
    while left > 0 {
        match listening.next().await.ok_or("the stream is over")?? {
            Heard::Listening { history: new } => history = new,
            Heard::Message(message) => {
                println!("{}: {}", message.from, message.text);
                // What is acknowledged is not sent to this account's next listener.
                session.acknowledge(MessageId(message.id), &history).await?;
                left -= 1;
            }
            // The stream was lost and another is being opened; receipts are for those who asked for them.
            Heard::Reconnecting | Heard::Receipt(_) | Heard::ReceiptsMissed => {}
        }
    }
    session.logout().await?;
    Ok(())
}
