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
            Effect::Log { token, entries, committed } => {
                let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                    return format!("logs #{}: nothing", token.0);
                };
                format!(
                    "logs #{}: {} to {} (committed {})",
                    token.0,
                    first.op,
                    name(last.position()),
                    name(*committed)
                )
            }
            Effect::Apply { token, up_to } => format!("applies up to {} #{}", name(*up_to), token.0),
            Effect::Cut { token, to } => format!("cuts its log to {} #{}", name(*to), token.0),
            Effect::Remember { token, memory } => {
                format!("remembers #{}: {}", token.0, self.memory(memory))
            }
            Effect::RepairStore { token } => format!("repairs its store #{}", token.0),
            Effect::ReadLog { token, after } => format!("reads its log after {after} #{}", token.0),
            Effect::InstallSnapshot { token, from, .. } => {
                format!("installs a snapshot of {from} #{}", token.0)
            }
            Effect::Answer { token, copies } => format!("answers #{} on {copies} copies", token.0),
            Effect::AnswerRead { read, at_least } => format!("answers read {} from op {at_least}", read.0),
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
            Message::Beat { view, sent_at, committed } => {
                format!("beat {} sent {}{}", self.view_name(view), time(*sent_at), committed_at(*committed))
            }
            Message::BeatAnswered { number, sent_at } => format!("answered {number} sent {}", time(*sent_at)),
            Message::Append { view, previous, entries, committed } => {
                let end = entries.last().map(protocol::Entry::position);
                format!(
                    "append {} after {} to {}{}",
                    self.view_name(view),
                    name(*previous),
                    end.map_or_else(String::new, name),
                    committed_at(*committed)
                )
            }
            Message::Confirmed { number, position } => format!("confirmed {number} to {}", name(*position)),
            Message::Fetch { view, after } => format!("fetch {} after {after}", self.view_name(view)),
            Message::Tail { number, chain, entries } => format!(
                "tail {number}, {} entries{}",
                entries.len(),
                if chain.is_some() { "" } else { ", out of reach" }
            ),
            Message::Cut { view, position } => format!("cut {} at {}", self.view_name(view), name(*position)),
            Message::TakeSnapshot { view } => format!("take-snapshot {}", self.view_name(view)),
            Message::NeedsSnapshot { number } => format!("needs-snapshot {number}"),
            Message::Leaving { number } => format!("leaving {number}"),
            Message::Resigned { number } => format!("resigned {number}"),
            Message::HandedOver { view } => format!("handed-over {}", self.view_name(view)),
        }
    }
}

/// How much is committed, where anything is known of it.
pub(crate) fn committed_at(position: protocol::Position) -> String {
    if position.op.0 == 0 { String::new() } else { format!(" committed {}", name(position)) }
}
