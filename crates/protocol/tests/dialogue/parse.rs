//! From a line of the script to an event.

use super::history::{Word, after, chain_at, database, position};
use super::{Dialogue, LEADERS_RUN, OTHER_REGISTER};
use protocol::{
    Bounds, DatabaseId, Entry, Event, Impairment, Incarnation, Member, Message, Op, Position, Proposer,
    ReadId, RegisterId, RegisterRead, ReplicaIndex, ReplicaSet, StreamId, SwapOutcome, Time, Token, View,
    ViewNumber,
};
use std::iter::Peekable;
use std::str::SplitWhitespace;
use std::time::Duration;

/// The words of a line, read from the left.
pub(crate) struct Words<'a> {
    line: &'a str,
    rest: Peekable<SplitWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self { line, rest: line.split_whitespace().peekable() }
    }

    pub(crate) fn peek(&mut self) -> &'a str {
        self.rest.peek().copied().unwrap_or_default()
    }

    pub(crate) fn next(&mut self) -> &'a str {
        self.rest.next().unwrap_or_else(|| panic!("a word is missing: {}", self.line))
    }

    /// Takes the next word if it is this one.
    pub(crate) fn is(&mut self, word: &str) -> bool {
        self.rest.next_if(|next| *next == word).is_some()
    }

    pub(crate) fn expect(&mut self, word: &str) {
        assert!(self.is(word), "`{word}` is missing: {}", self.line);
    }

    pub(crate) fn number(&mut self) -> u64 {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("not a number: {word} in: {}", self.line))
    }

    /// Milliseconds, with up to three places after the point.
    fn micros(&mut self) -> u64 {
        let word = self.next();
        let (millis, fraction) = word.split_once('.').unwrap_or((word, ""));
        let digits = format!("{millis}{fraction:0<3}");
        digits.parse().unwrap_or_else(|_| panic!("not milliseconds: {word} in: {}", self.line))
    }

    pub(crate) fn span(&mut self) -> Duration {
        Duration::from_micros(self.micros())
    }

    pub(crate) fn end(&mut self) {
        assert!(self.rest.peek().is_none(), "what does `{}` mean in: {}", self.peek(), self.line);
    }
}

fn peer(text: &str) -> ReplicaIndex {
    ReplicaIndex(text.trim_end_matches(':').parse().unwrap_or_else(|_| panic!("not a replica: {text}")))
}

/// `NAME in 1,2 from OP [with I=dN]`: the name begins with the number; members that are not in sync are written `(0)`.
pub(crate) fn view(text: &str) -> (String, View) {
    let mut words = Words::new(text);
    let name = words.next().to_owned();
    let number = name
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .expect("a view's name begins with its number");
    words.expect("in");
    let mut in_sync = ReplicaSet::EMPTY;
    let mut members = Vec::new();
    for word in words.next().split(',') {
        let bare = word.trim_matches(['(', ')']);
        if bare == word {
            in_sync = in_sync.with(peer(bare));
        }
        members.push(Member { index: peer(bare), database: database(peer(bare).0) });
    }
    words.expect("from");
    let op = Op(words.number());
    if words.is("with") {
        let (index, other) = words.next().split_once('=').expect("I=dN");
        let member = members.iter_mut().find(|member| member.index == peer(index)).expect("a member");
        member.database = other_database(other);
    }
    let primary = in_sync.lowest().expect("somebody is in sync");
    let index = if words.is("by") { peer(words.next()) } else { primary };
    let incarnation = if words.is("run") { Incarnation(words.number()) } else { LEADERS_RUN };
    words.end();
    let proposed_by = Proposer { index, incarnation, attempt: number };
    (name, View { number: ViewNumber(number), members, in_sync, op, proposed_by })
}

/// `tables by hand`, or `memory by hand`.
pub(crate) fn by_hand(words: &mut Words) -> bool {
    words.next();
    words.expect("by");
    words.expect("hand");
    true
}

/// Those of a server, but that what is committed is applied at once.
pub(crate) const AT_ONCE: Bounds = Bounds { apply_within: Duration::ZERO, ..Bounds::DEFAULT };

/// `[batches N] [bytes N] [kept N] [lag N] [within MILLIS]`, to the end of the line: other bounds than those of a server.
pub(crate) fn bounds(words: &mut Words) -> Bounds {
    let mut bounds = AT_ONCE;
    while !words.peek().is_empty() {
        let (name, number) = (words.next(), words.number());
        let count = usize::try_from(number).expect("a bound is a small number");
        match name {
            "batches" => bounds.batches_in_flight = count,
            "bytes" => bounds.bytes_in_flight = count,
            "kept" => bounds.batches_kept = count,
            "bytes-kept" => bounds.bytes_kept = count,
            "lag" => bounds.apply_lag = number,
            "within" => bounds.apply_within = Duration::from_millis(number),
            other => panic!("not a bound: {other}"),
        }
    }
    bounds
}

/// `after POSITION to POSITION`
fn entries(words: &mut Words) -> Vec<Entry<Word>> {
    words.expect("after");
    let from = position(words.next());
    words.expect("to");
    after(from.op, words.next())
}

fn other_database(text: &str) -> DatabaseId {
    let number = text.strip_prefix('d').and_then(|number| number.parse().ok());
    database(number.unwrap_or_else(|| panic!("not a database: {text}")))
}

impl Dialogue {
    fn view(&self, words: &mut Words) -> View {
        let name = words.next();
        self.proposed
            .get(name)
            .or_else(|| self.defined.get(name))
            .unwrap_or_else(|| panic!("no view {name} was spoken of: {}", words.line))
            .clone()
    }

    /// The token that a line names, or the newest of its kind; of the writes of the log, which are answered in their order, the
    /// oldest that waits.
    fn token(&mut self, kind: &str, words: &mut Words) -> Token {
        let named = words.peek().strip_prefix('#').map(|number| {
            words.next();
            Token(number.parse().expect("a token is a number"))
        });
        let expected = if kind == "log" { self.logs.front() } else { self.tokens.get(kind) };
        let token = named
            .or(expected.copied())
            .unwrap_or_else(|| panic!("nothing of this kind was asked for: {}", words.line));
        self.logs.retain(|waits| *waits != token);
        token
    }

    pub(super) fn event(&mut self, words: &mut Words) -> Event<Word> {
        let kind = words.next();
        match kind {
            "opens" => {
                let peer = peer(words.next());
                let first = u64::from(peer.0) * 10;
                let stream = *self.streams.entry(peer.0).and_modify(|newest| *newest += 1).or_insert(first);
                Event::StreamOpened { peer, stream: StreamId(stream) }
            }
            "closes" => {
                let peer = peer(words.next());
                Event::StreamClosed { peer, stream: self.stream_of(peer, words) }
            }
            "from" => {
                let peer = peer(words.next());
                let stream = self.stream_of(peer, words);
                Event::Received { peer, stream, message: self.message(peer, words) }
            }
            "register" => {
                let token = self.token(kind, words);
                let outcome = match words.next() {
                    "empty" => RegisterRead::Empty,
                    "failed" => RegisterRead::Failed,
                    "view" => RegisterRead::Current { register: self.register, view: self.view(words) },
                    "other" => RegisterRead::Current { register: OTHER_REGISTER, view: self.view(words) },
                    other => panic!("not what a register says: {other}"),
                };
                Event::RegisterRead { token, outcome }
            }
            "swap" => {
                let token = self.token(kind, words);
                let outcome = match words.next() {
                    "installed" => SwapOutcome::Installed,
                    "unknown" => SwapOutcome::Unknown,
                    "foreign" => SwapOutcome::Foreign,
                    "superseded" => SwapOutcome::Superseded(self.view(words)),
                    other => panic!("not what becomes of a swap: {other}"),
                };
                Event::SwapAnswered { token, outcome }
            }
            "death" => {
                let token = self.token(kind, words);
                let proven = words.is("proven");
                if !proven {
                    words.expect("unproven");
                }
                Event::DeathAnswered { token, proven }
            }
            "impaired" => {
                let by = match words.next() {
                    "by-ending" => Some(Impairment::Ending),
                    "by-a-full-disk" => Some(Impairment::DiskFull),
                    "by-nothing" => None,
                    other => panic!("not an impairment: {other}"),
                };
                words.expect("beside");
                let better_off = if words.is("none") {
                    ReplicaSet::EMPTY
                } else {
                    words.next().split(',').map(peer).collect()
                };
                Event::Impaired { by, better_off }
            }
            "requests" => Event::RequestsWaiting,
            "read" => Event::ReadWaiting { read: ReadId(words.number()) },
            _ => self.store_event(kind, words),
        }
    }

    fn store_event(&mut self, kind: &str, words: &mut Words) -> Event<Word> {
        match kind {
            "executed" => {
                let token = self.token("execute", words);
                let entries = if words.is("nothing") { Vec::new() } else { entries(words) };
                Event::BatchExecuted { token, entries, barrier: words.is("as-barrier") }
            }
            "logged" => Event::Logged { token: self.token("log", words) },
            "applied" => {
                let token = self.token("apply", words);
                let applied = if words.is("to") { position(words.next()) } else { self.applying };
                Event::Applied { token, applied }
            }
            "cut" => Event::LogCut { token: self.token("cut", words) },
            "remembered" => Event::Remembered { token: self.token("remember", words) },
            "store-failed" => {
                let effect = words.next();
                Event::StoreFailed { token: self.token(effect, words) }
            }
            "repaired" => {
                let token = self.token("repair", words);
                words.expect("to");
                let logged = position(words.next());
                let applied =
                    if words.is("applied") { position(words.next()) } else { self.replica.applied() };
                Event::StoreRepaired { token, logged, applied }
            }
            "files-lost" => Event::FilesLost,
            "log" => {
                let token = self.token("read-log", words);
                if words.is("out-of-reach") {
                    return Event::LogRead { token, chain: None, entries: Vec::new() };
                }
                words.expect("after");
                let from = words.next();
                words.expect("to");
                let entries = after(position(from).op, words.next());
                Event::LogRead { token, chain: Some(chain_at(from)), entries }
            }
            "snapshot" => {
                let token = self.token(kind, words);
                if words.is("failed") {
                    return Event::SnapshotFailed { token };
                }
                words.expect("installed");
                let database = other_database(words.next());
                words.expect("at");
                Event::SnapshotInstalled { token, database, position: position(words.next()) }
            }
            other => panic!("no such step: {other}"),
        }
    }

    fn stream_of(&self, peer: ReplicaIndex, words: &mut Words) -> StreamId {
        match words.peek().strip_prefix("by#") {
            Some(number) => {
                words.next();
                StreamId(number.trim_end_matches(':').parse().expect("a stream is a number"))
            }
            None => self.stream(peer.0),
        }
    }

    /// The other register, if the line says so.
    fn named_register(&self, words: &mut Words) -> RegisterId {
        if words.is("by-other") { OTHER_REGISTER } else { self.register }
    }

    fn message(&self, from: ReplicaIndex, words: &mut Words) -> Message<Word> {
        let kind = words.next();
        match kind {
            "probe" => Message::Probe,
            "alive" => {
                words.expect("at");
                let position = position(words.next());
                let view = words.is("view").then(|| self.view(words));
                let register = view.is_some().then(|| self.named_register(words));
                let able = words.is("able");
                Message::Alive { database: database(from.0), position, view, register, able }
            }
            "call" => {
                let base = self.view(words);
                let number = if words.is("for") { ViewNumber(words.number()) } else { base.number };
                Message::Call { base, number, register: self.named_register(words) }
            }
            "shown" => {
                let number = ViewNumber(words.number());
                words.expect("at");
                let position = position(words.next());
                let database = if words.is("with") { other_database(words.next()) } else { database(from.0) };
                Message::Shown { number, database, position }
            }
            "refused" => {
                let known = words.is("view").then(|| self.view(words));
                words.expect("promised");
                Message::Refused { known, promised: ViewNumber(words.number()) }
            }
            "beat" => {
                let view = self.view(words);
                words.expect("sent");
                let sent_at = self.moment(words);
                Message::Beat { view, sent_at, committed: committed(words) }
            }
            "answered" => {
                let number = ViewNumber(words.number());
                words.expect("sent");
                Message::BeatAnswered { number, sent_at: self.moment(words) }
            }
            "append" => {
                let view = self.view(words);
                words.expect("after");
                let previous = position(words.next());
                words.expect("to");
                let mut entries = after(previous.op, words.next());
                if words.is("without") {
                    let op = Op(words.number());
                    entries.retain(|entry| entry.op != op);
                }
                Message::Append { view, previous, entries, committed: committed(words) }
            }
            "confirmed" => {
                let number = ViewNumber(words.number());
                words.expect("to");
                Message::Confirmed { number, position: position(words.next()) }
            }
            "fetch" => {
                let view = self.view(words);
                words.expect("after");
                Message::Fetch { view, after: position(words.next()).op }
            }
            "tail" => {
                let number = ViewNumber(words.number());
                if words.is("out-of-reach") {
                    return Message::Tail { number, chain: None, entries: Vec::new() };
                }
                words.expect("after");
                let start = words.next();
                words.expect("to");
                let entries = after(position(start).op, words.next());
                Message::Tail { number, chain: Some(chain_at(start)), entries }
            }
            "cut" => {
                let view = self.view(words);
                words.expect("at");
                Message::Cut { view, position: position(words.next()) }
            }
            "take-snapshot" => Message::TakeSnapshot { view: self.view(words) },
            "needs-snapshot" => Message::NeedsSnapshot { number: ViewNumber(words.number()) },
            "leaving" => Message::Leaving { number: ViewNumber(words.number()) },
            "resigned" => Message::Resigned { number: ViewNumber(words.number()) },
            "handed-over" => Message::HandedOver { view: self.view(words) },
            other => panic!("no such message: {other}"),
        }
    }

    /// `now`, or milliseconds since the beginning.
    fn moment(&self, words: &mut Words) -> Time {
        if words.is("now") { self.now } else { Time::from_micros(super::BEGINNING + words.micros()) }
    }
}

/// What a primary says of what is committed; without the word, nothing.
fn committed(words: &mut Words<'_>) -> Position {
    if words.is("committed") { position(words.next()) } else { Position::ORIGIN }
}
