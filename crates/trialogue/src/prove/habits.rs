//! The people of a proof: some write, all listen, one comes and goes. Their sizes, speeds and habits vary.

use client::{AccountId, Client, ClientError, Heard, MessageId, Reason, RequestId, Session, Start};
use people::{Content, Ledger, ListenerId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The password of everyone.
pub(crate) const PASSWORD: &str = "only for this proof";
const SIZE_MAX: usize = chat::MESSAGE_BYTES_MAX;

/// Someone with an account and a session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) number: usize,
    pub(crate) session: Session,
}

pub(crate) fn name(number: usize) -> String {
    format!("person{number}")
}

pub(super) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("person")?.parse().ok()
}

/// Everyone shares these.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) people: usize,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Stage {
    pub(super) fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits for a while, or until the end.
    pub(super) async fn pause(&self, span: Duration) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            // The sender lives as long as the proof.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

/// Writes until the end: trickles and bursts, one byte and sixteen thousand, to one and to many.
pub(crate) async fn write(person: Person, stage: Stage, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = 0_u64;
    let mut early: Vec<Early> = Vec::new();
    while !stage.is_over() {
        let one_recipient = random.random_bool(0.5).then(|| random.random_range(0..stage.people));
        let size_max =
            [24, 200, 200, 200, 200, 200, 2_000, 2_000, 2_000, SIZE_MAX][random.random_range(0..10)];
        let mut next = |random: &mut StdRng| {
            sent += 1;
            let to = one_recipient.unwrap_or_else(|| random.random_range(0..stage.people));
            (to, text(random, person.number, sent, size_max))
        };
        match random.random_range(0..4) {
            0 | 1 => {
                for _ in 0..random.random_range(1..40) {
                    let (to, text) = next(&mut random);
                    write_one(&person, &stage, to, &text, &mut early).await;
                    stage.pause(Duration::from_millis(random.random_range(0..60))).await;
                    if stage.is_over() {
                        return;
                    }
                }
            }
            2 => {
                let messages: Vec<_> = (0..random.random_range(5..300)).map(|_| next(&mut random)).collect();
                // At times with more copies than there are: what is refused then ends the stream, and order must hold.
                let min_copies = [0, 0, 2, 3][random.random_range(0..4)];
                burst(&person, &stage, messages, min_copies).await;
            }
            _ => {
                retry_late(&person, &stage, &mut early, &mut random).await;
                stage.pause(Duration::from_millis(random.random_range(0..500))).await;
            }
        }
    }
}

/// A message that was acknowledged a while ago, to be sent once more with the same request id.
struct Early {
    request: RequestId,
    to: usize,
    text: String,
    id: MessageId,
}

fn text(random: &mut StdRng, person: usize, number: u64, size_max: usize) -> String {
    if random.random_bool(0.05) {
        return "x".into();
    }
    let mut text = format!("{person}.{number} ");
    let size = random.random_range(0..size_max).saturating_sub(text.len());
    let filler = ["é", "hello ", "\n", "👋", "'; --", "\t"][random.random_range(0..6)];
    text.extend(std::iter::repeat_n(filler, size / filler.len()));
    text
}

async fn write_one(person: &Person, stage: &Stage, to: usize, text: &str, early: &mut Vec<Early>) {
    let content = Content::of(person.number, to, text);
    let request = person.session.new_request_id();
    match person.session.send_with_id(request, &name(to), text, 0).await {
        Ok(sent) => {
            stage.ledger.acknowledged(sent.id, content, Instant::now());
            if early.len() < 50 {
                early.push(Early { request, to, text: text.to_owned(), id: sent.id });
            }
        }
        Err(error) => note(stage, content, &error),
    }
}

/// Many at once, in order.
async fn burst(person: &Person, stage: &Stage, messages: Vec<(usize, String)>, min_copies: u32) {
    let outbox = person.session.outbox();
    let mut receipts = Vec::new();
    for (to, text) in messages {
        let content = Content::of(person.number, to, &text);
        match outbox.send(&name(to), &text, min_copies).await {
            Ok(receipt) => receipts.push((content, receipt)),
            // The outbox has given up, and this message was never given to it.
            Err(_) => break,
        }
    }
    for (content, receipt) in receipts {
        match receipt.answered().await {
            Ok(sent) => {
                if sent.copies < min_copies {
                    stage.ledger.complain(format!(
                        "message {} is on {} replicas, and {min_copies} were asked for",
                        sent.id.0, sent.copies
                    ));
                }
                stage.ledger.acknowledged(sent.id, content, Instant::now());
            }
            // An earlier try of it may be under way still.
            Err(error) if error.is_refused_for(&Reason::TooFewInSync) => stage.ledger.unknown(content),
            Err(error) => note(stage, content, &error),
        }
    }
}

/// A retry that arrives very late has no effect and gets the first answer.
async fn retry_late(person: &Person, stage: &Stage, early: &mut Vec<Early>, random: &mut StdRng) {
    if early.is_empty() {
        return;
    }
    let Early { request, to, text, id } = early.swap_remove(random.random_range(0..early.len()));
    match person.session.send_with_id(request, &name(to), &text, 0).await {
        Ok(sent) if sent.id == id => {}
        Ok(sent) => {
            stage.ledger.complain(format!("the retry of message {} was answered with {}", id.0, sent.id.0));
        }
        Err(error) => stage.ledger.refused(&format!("the retry of message {}", id.0), &error),
    }
}

fn note(stage: &Stage, content: Content, error: &ClientError) {
    stage.ledger.unknown(content);
    stage.ledger.refused("a message", error);
}

/// How a person listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Habit {
    /// All the time.
    Steady,
    /// All the time, and slowly: more waits than its queue holds.
    Slow,
    /// Goes away, and comes back with its cursor, or with an older one.
    Leaving,
}

/// A person who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    /// From now on quickly and without leaving.
    hurry: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    pub(crate) fn open(person: &Person, habit: Habit, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let (hurry, hurried) = watch::channel(false);
        let listener = ledger.listener(person.number);
        let task = tokio::spawn(listen(person.clone(), habit, listener, ledger.clone(), hurried, seed));
        Self { hurry, task }
    }

    pub(crate) fn hurry(&self) {
        self.hurry.send_replace(true);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    person: Person,
    habit: Habit,
    listener: ListenerId,
    ledger: Arc<Ledger>,
    hurried: watch::Receiver<bool>,
    seed: u64,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut history = Vec::new();
    loop {
        let after = Some(ledger.last(listener));
        let mut listening = person.session.listen(Start {
            after,
            history: history.clone(),
            own_messages: false,
            receipts: true,
        });
        let leaves_after = match habit {
            Habit::Leaving if !*hurried.borrow() => random.random_range(1..2000),
            _ => u64::MAX,
        };
        let mut taken = 0;
        while taken < leaves_after {
            match listening.next().await {
                Some(Ok(Heard::Message(message))) => {
                    let from = number(&message.from).unwrap_or(usize::MAX);
                    let content = Content::of(from, person.number, &message.text);
                    ledger.heard(listener, MessageId(message.id), content);
                    taken += 1;
                    if matches!(habit, Habit::Slow) && !*hurried.borrow() && taken % 50 == 0 {
                        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
                        mark(&person, AccountId(message.from_id), MessageId(message.id), &history, &ledger)
                            .await;
                    }
                }
                Some(Ok(Heard::Listening { history: of })) => history = of,
                Some(Ok(Heard::Reconnecting | Heard::Receipt(_) | Heard::ReceiptsMissed)) => {}
                Some(Err(ClientError::Refused { message, .. })) => {
                    ledger.complain(format!("a listener was refused: {message}"));
                    return;
                }
                // No replica served for long: the listener comes back.
                Some(Err(_)) | None => break,
            }
        }
        drop(listening);
        if matches!(habit, Habit::Leaving) && !*hurried.borrow() {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
            // At times with an older cursor: what came after it is heard again, and counts anew.
            if random.random_bool(0.3) {
                ledger.go_back(listener, random.random_range(0..200));
            }
        }
    }
}

/// Says that everything up to a message has arrived, and was seen.
async fn mark(person: &Person, from: AccountId, up_to: MessageId, history: &[u8], ledger: &Ledger) {
    let marked = async {
        person.session.acknowledge(up_to, history).await?;
        person.session.mark_seen(from, up_to).await
    };
    if let Err(error) = marked.await {
        ledger.refused("a mark", &error);
    }
}

/// A person whose name is given up and taken again and again: a newcomer inherits nothing.
pub(crate) async fn come_and_go(client: Client, host: Person, stage: Stage) {
    while !stage.is_over() {
        if let Err(error) = visit(&client, &host, &stage.ledger).await {
            // Without an answer it is not known whether the guest has an account: the next one has another name.
            stage.ledger.refused("a guest", &error);
        }
        stage.pause(Duration::from_millis(300)).await;
    }
}

async fn visit(client: &Client, host: &Person, ledger: &Ledger) -> Result<(), ClientError> {
    static VISITS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let guest = format!("guest{}", VISITS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    for _ in 0..2 {
        client.create_account(&guest, PASSWORD).await?;
        let session = client.login(&guest, PASSWORD).await?.session;
        let wanted = host.session.send(&guest, "welcome", 0).await?.id;
        let mut listening = session.listen(Start::default());
        match listening.message().await {
            Some(Ok(message)) if message.id == wanted.0 => {}
            Some(Ok(message)) => {
                ledger
                    .complain(format!("a new account heard message {} first, not {}", message.id, wanted.0));
            }
            Some(Err(error)) => return Err(error),
            None => return Err(ClientError::Abandoned),
        }
        drop(listening);
        host.session.send(&guest, "never heard", 0).await?;
        session.delete_account(PASSWORD).await?;
    }
    Ok(())
}
