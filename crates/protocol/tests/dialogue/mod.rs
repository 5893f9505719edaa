//! The script's side of a dialogue: reads a step, tells the replica, writes down what it does.

mod beats;
mod history;
mod parse;
mod print;

use beats::Beats;
use history::{Word, database, position};
use parse::Words;
use protocol::{
    Effect, Event, Identity, Incarnation, Memory, Op, Proposer, ReadId, RegisterId, Replica, ReplicaIndex,
    ReplicaSet, StreamId, Time, Timing, Token, View, ViewNumber,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// The register of the dialogues.
const REGISTER: RegisterId = RegisterId([1; 16]);
/// Another one, made anew or put back from a copy.
const OTHER_REGISTER: RegisterId = RegisterId([2; 16]);

/// The clock shows this when a dialogue begins, so that "long ago" exists.
const BEGINNING: u64 = 10_000_000;
/// The run of its process in which a view's primary has proposed it, unless the view says otherwise.
const LEADERS_RUN: Incarnation = Incarnation(7);

/// A file of dialogues.
#[derive(Default)]
pub(crate) struct Script {
    /// The views that it has defined, by their names.
    views: Views,
    dialogue: Option<Dialogue>,
    /// Moments to which later dialogues go back.
    moments: BTreeMap<String, Dialogue>,
}

type Views = BTreeMap<String, View>;

impl Script {
    /// Carries out one line and writes what the replica does.
    pub(crate) fn step(&mut self, line: &str, told: &mut String) {
        if let Some(definition) = line.strip_prefix("view ") {
            let (name, view) = parse::view(definition);
            self.views.insert(name, view);
            return;
        }
        let _ = writeln!(told, "> {line}");
        if let Some(rest) = line.strip_prefix("replica ") {
            self.dialogue = Some(Dialogue::start(rest, &self.views, told));
            return;
        }
        if let Some(name) = line.strip_prefix("back to ") {
            let moment = self.moments.get(name).unwrap_or_else(|| panic!("there was no moment {name}"));
            self.dialogue = Some(moment.clone());
            return;
        }
        let dialogue = self.dialogue.as_mut().expect("a dialogue begins with `replica I of N`");
        if let Some(name) = line.strip_prefix("moment ") {
            self.moments.insert(name.to_owned(), dialogue.clone());
            return;
        }
        dialogue.defined.clone_from(&self.views);
        dialogue.step(line, told);
    }

    /// When the replica wants to be told the time next.
    pub(crate) fn due(&self, told: &mut String) {
        self.dialogue.as_ref().expect("a dialogue begins with `replica I of N`").due(told);
    }
}

/// One replica, and what the script knows of it.
#[derive(Clone)]
struct Dialogue {
    replica: Replica<Word>,
    now: Time,
    /// The views that the script has defined, by their names.
    defined: Views,
    /// The views that the replica has proposed itself, by their numbers.
    proposed: Views,
    /// The newest stream of each peer; a peer's streams are numbered 10, 11, … for peer 1, 20, 21, … for peer 2.
    streams: BTreeMap<u8, u64>,
    me: ReplicaIndex,
    /// Its earlier runs had the lock that it holds now: it has proof of their end as soon as it asks.
    holds_its_lock: bool,
    /// The identity of the register: this one, or that of the register that the replica has founded.
    register: RegisterId,
    /// The script answers for the store what is to be remembered; else it is kept at once, and nothing is said of it.
    memory_by_hand: bool,
    /// The script answers for the tables; else whatever is to be applied is applied at once, and nothing is said of it.
    tables_by_hand: bool,
    /// Up to where the tables were to be brought last.
    applying: protocol::Position,
    /// The writes of the log that are not answered yet, in their order.
    logs: VecDeque<Token>,
    /// The newest token of each kind of effect.
    tokens: BTreeMap<&'static str, Token>,
}

/// A view from before all that scripts define.
fn first_view() -> View {
    let proposed_by = Proposer { index: ReplicaIndex(0), incarnation: Incarnation(0), attempt: 0 };
    let in_sync = ReplicaSet::EMPTY;
    View { number: ViewNumber(0), members: Vec::new(), in_sync, op: Op(0), proposed_by }
}

impl Dialogue {
    /// `I of N [at POSITION] [committed POSITION] [applied POSITION] [after power-failure] [new-lock] [remembers VIEW|nothing]
    /// [tables by hand] [bounds …]`: a process that has just started, and was told so. All that its log has is known to be
    /// committed, and its tables show all that is, if the line says nothing else. A database that ends somewhere remembers a view
    /// from before all others, if the line names none.
    fn start(text: &str, views: &Views, told: &mut String) -> Self {
        let mut words = Words::new(text);
        let index = words.number();
        words.expect("of");
        let all = ReplicaSet::first(u8::try_from(words.number()).unwrap());
        let used = words.is("at");
        let logged = if used { position(words.next()) } else { protocol::Position::ORIGIN };
        let committed = if words.is("committed") { position(words.next()) } else { logged };
        let applied = if words.is("applied") { position(words.next()) } else { committed };
        let after_power_failure = words.is("after");
        if after_power_failure {
            words.expect("power-failure");
        }
        let holds_its_lock = !words.is("new-lock");
        let remembered = match words.is("remembers").then(|| words.next()) {
            Some("nothing") => None,
            Some(name) => Some(views[name].clone()),
            None => used.then(first_view),
        };
        let remembered = remembered.map(|view| Memory { register: REGISTER, complete: view.number, view });
        let tables_by_hand = words.peek() == "tables" && parse::by_hand(&mut words);
        let bounds = if words.is("bounds") { parse::bounds(&mut words) } else { parse::AT_ONCE };
        words.end();
        let index = ReplicaIndex(u8::try_from(index).unwrap());
        let identity = Identity {
            index,
            all,
            incarnation: Incarnation(1),
            database: database(index.0),
            logged,
            committed,
            applied,
            after_power_failure,
            remembered,
        };
        let now = Time::from_micros(BEGINNING);
        let mut dialogue = Self {
            replica: Replica::new(identity, Timing::DEFAULT, bounds, now),
            now,
            defined: Views::new(),
            proposed: Views::new(),
            streams: BTreeMap::new(),
            me: index,
            holds_its_lock,
            register: REGISTER,
            memory_by_hand: false,
            tables_by_hand,
            applying: protocol::Position::ORIGIN,
            logs: VecDeque::new(),
            tokens: BTreeMap::new(),
        };
        dialogue.tell(Event::Tick, told);
        dialogue
    }

    fn step(&mut self, line: &str, told: &mut String) {
        let mut words = Words::new(line);
        match words.peek() {
            "status" => self.status(told),
            "memory" => self.memory_by_hand = parse::by_hand(&mut words),
            "tables" => self.tables_by_hand = parse::by_hand(&mut words),
            "reads" => {
                words.next();
                let first = words.number();
                words.expect("to");
                let effects: Vec<_> = (first..=words.number())
                    .flat_map(|read| self.handle(Event::ReadWaiting { read: ReadId(read) }))
                    .collect();
                self.tell_effects(&effects, told);
            }
            "tick" => self.tell(Event::Tick, told),
            "sleep" => {
                words.next();
                self.now = self.now + words.span();
            }
            "wait" => {
                words.next();
                let until = self.now + words.span();
                self.wait(until, told);
            }
            "due" => match self.replica.next_deadline(self.now) {
                Some(due) => self.wait(due, told),
                None => told.push_str("  nothing is due\n"),
            },
            _ => {
                let event = self.event(&mut words);
                words.end();
                self.tell(event, told);
            }
        }
    }

    /// Lets time pass, with a tick at each moment that the replica asked for.
    fn wait(&mut self, until: Time, told: &mut String) {
        let mut beats = Beats::default();
        while self.now < until {
            let due = self.replica.next_deadline(self.now).map_or(until, |due| due.min(until));
            assert!(due > self.now, "what is due now was to be done now");
            self.early(due);
            self.now = due;
            let effects = self.handle(Event::Tick);
            if beats.take(&effects, self.now) {
                continue;
            }
            beats.tell(told);
            if !effects.is_empty() {
                let _ = writeln!(told, "  {}", print::time(self.now));
                self.tell_effects(&effects, told);
            }
        }
        beats.tell(told);
    }

    /// A microsecond before a deadline, nothing is done because of the time alone.
    fn early(&self, due: Time) {
        let before = Time::from_micros(due.as_micros() - 1);
        if before > self.now {
            let effects = self.replica.clone().handle(before, Event::Tick);
            assert!(effects.is_empty(), "something is done a microsecond early: {effects:?}");
        }
    }

    fn tell(&mut self, event: Event<Word>, told: &mut String) {
        let effects = self.handle(event);
        self.tell_effects(&effects, told);
    }

    /// Lets the replica handle an event; what the script does not answer by hand is answered at once.
    fn handle(&mut self, event: Event<Word>) -> Vec<Effect<Word>> {
        let mut effects = self.replica.handle(self.now, event);
        while let Some((place, answer)) =
            effects.iter().enumerate().find_map(|(place, effect)| Some((place, self.answer_unasked(effect)?)))
        {
            effects.remove(place);
            effects.extend(self.replica.handle(self.now, answer));
        }
        effects
    }

    /// The answer of a store that the script does not play: it remembers and applies without fail.
    fn answer_unasked(&self, effect: &Effect<Word>) -> Option<Event<Word>> {
        match *effect {
            Effect::Remember { token, .. } if !self.memory_by_hand => Some(Event::Remembered { token }),
            Effect::Apply { token, up_to } if !self.tables_by_hand => {
                Some(Event::Applied { token, applied: up_to })
            }
            _ => None,
        }
    }

    fn tell_effects(&mut self, effects: &[Effect<Word>], told: &mut String) {
        for effect in effects {
            self.remember(effect);
            let _ = writeln!(told, "  {}", self.effect(effect));
        }
        for effect in effects {
            if let Effect::ProveDeath { token, peer, .. } = effect
                && *peer == self.me
                && self.holds_its_lock
            {
                self.tell(Event::DeathAnswered { token: *token, proven: true }, told);
            }
        }
    }

    fn remember(&mut self, effect: &Effect<Word>) {
        let (kind, token) = match effect {
            Effect::ReadRegister { token } => ("register", token),
            Effect::Swap { token, register, view } => {
                if view.number == ViewNumber(1) {
                    self.register = *register;
                }
                assert_eq!(*register, self.register, "a swap to another register");
                self.proposed.insert(view.number.to_string(), view.clone());
                ("swap", token)
            }
            Effect::ProveDeath { token, .. } => ("death", token),
            Effect::Log { token, .. } => return self.logs.push_back(*token),
            Effect::Execute { token, .. } => ("execute", token),
            Effect::Apply { token, .. } => ("apply", token),
            Effect::Cut { token, .. } => ("cut", token),
            Effect::Remember { token, .. } => ("remember", token),
            Effect::ReadLog { token, .. } => ("read-log", token),
            Effect::InstallSnapshot { token, .. } => ("snapshot", token),
            Effect::RepairStore { token } => ("repair", token),
            Effect::Send { .. }
            | Effect::Disconnect { .. }
            | Effect::Answer { .. }
            | Effect::AnswerRead { .. }
            | Effect::RefuseRead { .. }
            | Effect::RefuseRequests
            | Effect::Serve { .. }
            | Effect::StopServing
            | Effect::PowerFailureOver
            | Effect::Note(_)
            | Effect::End { .. }
            | Effect::Halt { .. } => return,
        };
        self.tokens.insert(kind, *token);
        if let Effect::Apply { up_to, .. } = effect {
            self.applying = *up_to;
        }
    }

    fn stream(&self, peer: u8) -> StreamId {
        StreamId(self.streams.get(&peer).copied().unwrap_or(u64::from(peer) * 10))
    }

    fn status(&self, told: &mut String) {
        let status = self.replica.status(self.now);
        let leads = self.replica.leads().map_or("nothing".to_owned(), |view| format!("view {}", view.number));
        let (committed, applied) = (self.replica.committed(), self.replica.applied());
        let tables =
            if applied == committed { String::new() } else { format!(" applied {}", history::name(applied)) };
        let _ = writeln!(
            told,
            "  {:?} of {}, {}{}{tables}, {}, {}, {}, leads {leads}",
            status.role,
            status.view.map_or("no view".into(), |view| format!("view {}", view.number)),
            history::name(status.position),
            print::committed_at(committed),
            if status.in_sync { "in sync" } else { "not in sync" },
            if status.serving { "serving" } else { "not serving" },
            if status.healthy { "fit" } else { "unfit" },
        );
        if !status.waits_for.is_empty() {
            let why = if status.after_power_failure { " after a power failure" } else { "" };
            let _ = writeln!(told, "  waits for {}{why}", status.waits_for);
        }
    }

    /// When the replica wants to be told the time next.
    fn due(&self, told: &mut String) {
        let _ = match self.replica.next_deadline(self.now) {
            Some(due) => writeln!(told, "due in {} at {}", print::span(due - self.now), print::time(due)),
            None => writeln!(told, "nothing is due"),
        };
    }
}
