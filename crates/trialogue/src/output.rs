//! Printing: whole lines, flushed, and nothing that could drive a terminal.

use crate::failure::Failure;
use chat::{escaped_json, harmless, harmless_line};
use serde_json::Value;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Prints a line, or several, and flushes them: once this returns, the reader has them. They go out in one piece, so that
/// a reader that leaves after the first line does not break the second. A part that another process sent is to go through
/// [`plain`] first, lest it begin a line of its own.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{}\n", harmless(text)).as_bytes())?;
    out.flush()
}

/// Says what was done. If that can't be written, it is done all the same, and the error says so.
pub(crate) fn done(text: &str) -> Result<(), Failure> {
    report(text, line(text))
}

/// What was done is done, whether what should tell of it could be written or not.
pub(crate) fn report(done: &str, written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match Failure::from(error) {
        Failure::PipeClosed => Failure::PipeClosed,
        fault => {
            Failure::Failed(format!("{done}, but the output could not be written: {}", fault.sentence()))
        }
    })
}

/// Prints a JSON value on a line of its own.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&escaped_json(&value.to_string()))
}

/// A message as JSON.
pub(crate) fn message_json(message: &client::Message) -> Value {
    serde_json::json!({
        "id": message.id,
        "from": message.from,
        "to": message.to,
        "text": message.text,
        "sent_at": message.sent_at,
    })
}

/// A message on one line for people: a text of several lines keeps its lines apart by `⏎`.
pub(crate) fn message_line(message: &client::Message) -> String {
    let text = if message.undeliverable {
        "[not delivered: the account was deleted before]".to_owned()
    } else {
        message.text.replace('\n', " ⏎ ").replace('\t', "    ")
    };
    let (from, to) = (plain(&message.from), plain(&message.to));
    format!("{}  {from} → {to}: {}", clock(message.sent_at), plain(&text))
}

/// On one line, and nothing that could drive a terminal or turn its text around, whatever a server may send.
pub(crate) fn plain(text: &str) -> String {
    harmless_line(text)
}

/// The date and time of day (UTC) of a moment given in milliseconds since 1970.
pub(crate) fn clock(millis: u64) -> String {
    let since = (UNIX_EPOCH + Duration::from_millis(millis)).duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// The civil date of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_as_dates() {
        assert_eq!(clock(0), "1970-01-01 00:00:00");
        assert_eq!(clock(951_826_210_000), "2000-02-29 12:10:10");
        assert_eq!(clock(1_767_225_599_000), "2025-12-31 23:59:59");
    }

    #[test]
    fn what_could_drive_a_terminal_is_not_printed() {
        let hostile = "a\n\u{1b}[2J\u{202e}b".to_owned();
        let message = client::Message {
            id: 1,
            from_id: 2,
            from: hostile.clone(),
            to_id: 3,
            to: hostile.clone(),
            text: hostile,
            ..client::Message::default()
        };
        assert_eq!(
            message_line(&message),
            "1970-01-01 00:00:00  a \u{fffd}[2Jb → a \u{fffd}[2Jb: a ⏎ \u{fffd}[2Jb"
        );
    }
}
