//! What is told of a run: for stories what the replicas say, for a replayed seed every event, one aligned line each.
//! The columns are explained in `docs/testing.md`.

use crate::fact::{Fact, RequestId};
use protocol::{Event, Message, Replica, RoleName, Time};
use std::fmt::{Display, Write as _};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    #[default]
    Silent,
    /// What the replicas say, and what is acknowledged.
    Notes,
    /// Every event too.
    Events,
}

/// The lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    /// How much is told.
    pub detail: Detail,
    /// What was told.
    pub text: String,
    /// What requests are called, by their numbers; the others are called by their number.
    pub names: Vec<String>,
}

impl Trace {
    pub(crate) fn write(&mut self, now: u64, i: usize, what: &dyn Display) {
        if self.detail != Detail::Silent {
            let _ = writeln!(self.text, "{:>9}.{:03} ms  {i}  {what}", now / 1000, now % 1000);
        }
    }

    /// A fault strikes.
    pub(crate) fn fault(&mut self, now: u64, what: &dyn Display) {
        if self.detail != Detail::Silent {
            let _ = writeln!(self.text, "{:>9}.{:03} ms  -  {what}", now / 1000, now % 1000);
        }
    }

    pub(crate) fn acknowledged(&mut self, now: u64, i: usize, request: RequestId, copies: usize) {
        if self.detail != Detail::Silent {
            let name =
                self.names.get(request as usize).cloned().unwrap_or_else(|| format!("request {request}"));
            self.write(now, i, &format!("acknowledges {name} on {copies}"));
        }
    }

    pub(crate) fn event(
        &mut self,
        now: u64,
        i: usize,
        replica: &Replica<Fact>,
        local: Time,
        event: &Event<Fact>,
    ) {
        if self.detail != Detail::Events {
            return;
        }
        let status = replica.status(local);
        let role = match status.role {
            RoleName::Starting => 'o',
            RoleName::Secondary => 's',
            RoleName::Candidate => 'c',
            RoleName::Primary => 'P',
            RoleName::Halted(_) => 'x',
        };
        let view = status.view.map_or(0, |view| view.number.0);
        let _ = writeln!(
            self.text,
            "{:>9}.{:03} ms  {i}  {role} {}{} v{view:<3} op {:<4} {}",
            now / 1000,
            now % 1000,
            if status.in_sync { '=' } else { '.' },
            if status.serving { '*' } else { '.' },
            status.position.op.0,
            brief(event)
        );
    }
}

/// An event in a few words.
fn brief(event: &Event<Fact>) -> String {
    match event {
        Event::Received { peer, stream, message } => {
            format!("from {peer} by #{}: {}", stream.0, brief_message(message))
        }
        Event::StreamOpened { peer, stream } => format!("stream #{} to {peer} opened", stream.0),
        Event::StreamClosed { peer, stream } => format!("stream #{} to {peer} closed", stream.0),
        Event::BatchExecuted { entries, .. } => format!("executed {} entries", entries.len()),
        Event::LogRead { chain, entries, .. } => format!(
            "log read: {} entries, {}",
            entries.len(),
            if chain.is_some() { "from a known place" } else { "out of reach" }
        ),
        Event::StoreFailed { .. } => "store failed".into(),
        Event::StoreRepaired { logged, .. } => format!("store repaired up to {logged}"),
        Event::FilesLost => "files of the database lost".into(),
        Event::SnapshotInstalled { position, .. } => format!("snapshot installed: {position}"),
        Event::DeathAnswered { proven, .. } => {
            format!("death {}", if *proven { "proven" } else { "not proven" })
        }
        Event::RegisterRead { outcome, .. } => format!("register read: {outcome:.0?}"),
        Event::SwapAnswered { outcome, .. } => match outcome {
            protocol::SwapOutcome::Installed => "swap: installed".into(),
            protocol::SwapOutcome::Superseded(view) => format!("swap: superseded by {view}"),
            protocol::SwapOutcome::Foreign => "swap: another register".into(),
            protocol::SwapOutcome::Unknown => "swap: unknown".into(),
        },
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

fn brief_message(message: &Message<Fact>) -> String {
    match message {
        Message::Append { view, previous, entries, committed } => {
            format!(
                "Append view {} after {previous}: {} entries, committed {}",
                view.number,
                entries.len(),
                committed.op
            )
        }
        Message::Call { base, number, .. } => format!("Call for view {number} on {base}"),
        Message::Shown { number, position, .. } => format!("Shown for view {number}: {position}"),
        Message::Confirmed { number, position } => format!("Confirmed view {number}: {position}"),
        Message::Alive { position, able, .. } => {
            format!("Alive at {position}, {}", if *able { "able" } else { "not able" })
        }
        Message::Beat { view, .. } => format!("Beat of view {}", view.number),
        Message::BeatAnswered { number, .. } => format!("BeatAnswered view {number}"),
        Message::Refused { promised, .. } => format!("Refused, promised view {promised}"),
        Message::Fetch { view, after } => format!("Fetch view {} after op {after}", view.number),
        Message::Tail { number, entries, .. } => format!("Tail view {number}: {} entries", entries.len()),
        Message::Cut { view, position } => format!("Cut view {}: ends at {position}", view.number),
        Message::TakeSnapshot { view } => format!("TakeSnapshot view {}", view.number),
        Message::NeedsSnapshot { number } => format!("NeedsSnapshot view {number}"),
        Message::Leaving { number } => format!("Leaving view {number}"),
        Message::Resigned { number } => format!("Resigned view {number}"),
        Message::HandedOver { view } => format!("HandedOver {view}"),
        Message::Probe => "Probe".into(),
    }
}
