//! From an effect to a line.

use super::history::{Word, name};
use super::{BEGINNING, Dialogue, LEADERS_RUN, first_view};
use protocol::{Effect, Memory, Message, Time, View};
use std::time::Duration;

/// Milliseconds since the beginning of the dialogue.
pub(crate) fn time(time: Time) -> String {
    span(time - Time::from_micros(BEGINNING))
}

/// Milliseconds, with a fraction where there is one.
pub(crate) fn span(span: Duration) -> String {
    let micros = span.as_micros();
    if micros.is_multiple_of(1000) {
        format!("{} ms", micros / 1000)
    } else {
        format!("{}.{:03} ms", micros / 1000, micros % 1000)
    }
}

impl Dialogue {
    /// What a view is called in the script; in full where it has no name.
    fn view_name(&self, view: &View) -> String {
        if *view == first_view() {
            return "0".into();
        }
        let known = self.proposed.iter().chain(&self.defined).find(|(_, known)| *known == view);
        known.map_or_else(|| view.to_string(), |(name, _)| name.clone())
    }

    pub(super) fn effect(&self, effect: &Effect<Word>) -> String {
        match effect {
            Effect::ReadRegister { token } => format!("reads the register #{}", token.0),
            Effect::Swap { token, view, .. } => {
                format!("swaps #{}: {view}, proposal {}", token.0, view.proposed_by.attempt)
            }
            Effect::Send { peer, stream, message } => {
                format!("to {peer} by#{}: {}", stream.0, self.sent(message))
            }
            Effect::Disconnect { peer, stream } => format!("disconnects {peer} by#{}", stream.0),
            Effect::ProveDeath { token, peer, incarnation } => {
                let run = if *incarnation == LEADERS_RUN {
                    String::new()
                } else {
                    format!(" in its run {}", incarnation.0)
                };
                format!("asks for proof of the death of {peer}{run} #{}", token.0)
            }
            Effect::Execute { token, copies } => format!("executes #{} for {copies} copies", token.0),
            Effect::Commit { token, memory } => {
                let memory = memory.as_ref().map(|memory| format!(" and remembers {}", self.memory(memory)));
                format!("commits #{}{}", token.0, memory.unwrap_or_default())
            }
            Effect::Remember { token, memory } => {
                format!("remembers #{}: {}", token.0, self.memory(memory))
            }
            Effect::RollBack { token } => format!("rolls back #{}", token.0),
            Effect::Persist { token, entries } => {
                let end = entries.last().map(protocol::Entry::position);
                format!(
                    "persists #{}: {} entries up to {}",
                    token.0,
                    entries.len(),
                    end.map_or_else(String::new, name)
                )
            }
            Effect::RepairStore { token } => format!("repairs its store #{}", token.0),
            Effect::ReadLog { token, after } => format!("reads its log after {after} #{}", token.0),
            Effect::InstallSnapshot { token, from, .. } => {
                format!("installs a snapshot of {from} #{}", token.0)
            }
            Effect::Answer { token, copies } => format!("answers #{} on {copies} copies", token.0),
            Effect::AnswerRead { read } => format!("answers read {}", read.0),
            Effect::RefuseRead { read } => format!("refuses read {}", read.0),
            Effect::RefuseRequests => "refuses requests".into(),
            Effect::Serve { view } => format!("serves view {view}"),
            Effect::StopServing => "stops serving".into(),
            Effect::PowerFailureOver => "is whole in spite of the power failure".into(),
            Effect::Note(note) => format!("\"{note}\""),
            Effect::End { reason } => format!("ends: {reason}"),
            Effect::Halt { reason } => format!("halts: {reason}"),
        }
    }

    fn memory(&self, memory: &Memory) -> String {
        format!("view {}, complete by {}", self.view_name(&memory.view), memory.complete)
    }

    fn sent(&self, message: &Message<Word>) -> String {
        match message {
            Message::Probe => "probe".into(),
            Message::Alive { position, view, able, .. } => format!(
                "alive at {}{}{}",
                name(*position),
                view.as_ref().map_or_else(String::new, |view| format!(" view {}", self.view_name(view))),
                if *able { " able" } else { "" }
            ),
            Message::Call { base, number, .. } => format!("call {} for {number}", self.view_name(base)),
            Message::Shown { number, database, position } => {
                format!("shown {number} at {} with d{}", name(*position), database.0[0])
            }
            Message::Refused { known, promised } => format!(
                "refused {}promised {promised}",
                known.as_ref().map_or_else(String::new, |view| format!("view {} ", self.view_name(view)))
            ),
            Message::Beat { view, sent_at } => {
                format!("beat {} sent {}", self.view_name(view), time(*sent_at))
            }
            Message::BeatAnswered { number, sent_at } => format!("answered {number} sent {}", time(*sent_at)),
            Message::Append { view, previous, entries } => {
                let end = entries.last().map(protocol::Entry::position);
                format!(
                    "append {} after {} to {}",
                    self.view_name(view),
                    name(*previous),
                    end.map_or_else(String::new, name)
                )
            }
            Message::Persisted { number, position } => format!("persisted {number} to {}", name(*position)),
            Message::Fetch { view, after } => format!("fetch {} after {after}", self.view_name(view)),
            Message::Tail { number, chain, entries } => format!(
                "tail {number}, {} entries{}",
                entries.len(),
                if chain.is_some() { "" } else { ", out of reach" }
            ),
            Message::TakeSnapshot { view } => format!("take-snapshot {}", self.view_name(view)),
            Message::NeedsSnapshot { number } => format!("needs-snapshot {number}"),
            Message::Leaving { number } => format!("leaving {number}"),
            Message::Resigned { number } => format!("resigned {number}"),
            Message::HandedOver { view } => format!("handed-over {}", self.view_name(view)),
        }
    }
}
