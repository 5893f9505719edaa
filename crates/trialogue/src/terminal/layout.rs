//! From messages to rows of the screen: days, times, names, wrapped text, marks. Every row belongs to a place, so that
//! the reader keeps it whatever is added above or below, and however wide the screen becomes.

use super::conversation::{Conversation, Place, Shown};
use super::palette::palette;
use super::vocabulary::Me;
use chat::harmless;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use textwrap::{Options, WordSplitter};
use unicode_width::UnicodeWidthStr;

/// "12:34 ".
const TIME_WIDTH: usize = 6;
/// A name takes at most so much of a row.
const NAME_WIDTH_MAX: usize = 16;

/// A row of the screen.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) line: Line<'static>,
}

/// The person at the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer<'a> {
    pub(crate) me: &'a Me,
    /// Where times are shown.
    pub(crate) zone: &'a TimeZone,
    pub(crate) colours: bool,
}

/// All rows of a conversation, the oldest first.
pub(crate) fn rows(conversation: &Conversation, viewer: Viewer<'_>, width: usize) -> Vec<Row> {
    let mut rows = Rows { all: Vec::new(), day: None, width, viewer };
    let mut new_begins = conversation.new_after;
    for (id, message) in &conversation.messages {
        rows.day(*id, message.at);
        if new_begins.is_some_and(|after| *id > after && !message.mine) {
            new_begins = None;
            rows.rule(*id, "new", Style::default().add_modifier(Modifier::BOLD));
        }
        let (who, id_of_name) = if message.mine {
            (viewer.me.name.as_str(), viewer.me.id)
        } else {
            (conversation.name.as_str(), conversation.with)
        };
        let mark = mark(*id, message, conversation);
        rows.message(*id, message.at, who, id_of_name, &text_of(message), &mark, Style::default());
    }
    for pending in conversation.pending.iter().filter(|pending| pending.arrived.is_none()) {
        let id = u64::MAX;
        rows.day(id, pending.typed_at);
        let dim = Style::default().add_modifier(Modifier::DIM);
        let (mark, style) = match (&pending.refused, pending.kept) {
            (None, None) => ("…".to_owned(), dim),
            (None, Some((copies, replicas))) => (format!("kept on {copies} of {replicas}"), dim),
            (Some(_), _) => ("not sent".to_owned(), palette(viewer.colours).problem),
        };
        rows.message(id, pending.typed_at, &viewer.me.name, viewer.me.id, &pending.text, &mark, style);
        if let Some(why) = &pending.refused {
            let why = format!("{why} (/again sends it once more, /drop lets go of it)");
            rows.indented(id, &why, palette(viewer.colours).problem);
        }
    }
    let mut all = rows.all;
    // The rows of one message are counted from its first.
    let mut before: Option<Place> = None;
    for row in &mut all {
        row.place.line =
            before.filter(|before| before.id == row.place.id).map_or(0, |before| before.line + 1);
        before = Some(row.place);
    }
    all
}

/// The number of rows down to a place; all of them without one.
pub(crate) fn end(rows: &[Row], place: Option<Place>) -> usize {
    let Some(place) = place else { return rows.len() };
    rows.partition_point(|row| (row.place.id, row.place.line) <= (place.id, place.line))
}

fn text_of(message: &Shown) -> String {
    if message.undeliverable {
        "(never delivered: the account was deleted before)".into()
    } else {
        message.text.clone()
    }
}

fn mark(id: u64, message: &Shown, conversation: &Conversation) -> String {
    if !message.mine || message.undeliverable {
        return String::new();
    }
    if id <= conversation.seen_up_to {
        "✓✓ read".into()
    } else if id <= conversation.delivered_up_to {
        "✓✓".into()
    } else if let Some((copies, replicas)) = message.copies {
        format!("✓ {copies} of {replicas}")
    } else {
        "✓".into()
    }
}

/// No wider than `width` columns, with `…` where something was cut off.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let text = harmless(&text.replace('\n', " "));
    if text.width() <= width {
        return text;
    }
    let mut short = String::new();
    for c in text.chars() {
        if short.width() + UnicodeWidthStr::width(c.encode_utf8(&mut [0; 4]) as &str) + 1 > width {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// The date of a moment, where the reader is.
pub(crate) fn local(millis: u64, zone: &TimeZone) -> civil::DateTime {
    let moment = Timestamp::from_millisecond(millis.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(moment)
}

struct Rows<'a> {
    all: Vec<Row>,
    day: Option<civil::Date>,
    width: usize,
    viewer: Viewer<'a>,
}

impl Rows<'_> {
    fn push(&mut self, id: u64, line: Line<'static>) {
        self.all.push(Row { place: Place { id, line: 0 }, line });
    }

    /// A rule where another day begins.
    fn day(&mut self, id: u64, at: u64) {
        let date = local(at, self.viewer.zone).date();
        if self.day != Some(date) {
            self.day = Some(date);
            let dim = Style::default().add_modifier(Modifier::DIM);
            self.rule(id, &date.strftime("%A, %-d %B %Y").to_string(), dim);
        }
    }

    fn rule(&mut self, id: u64, text: &str, style: Style) {
        let text = shortened(text, self.width.saturating_sub(6));
        let side = self.width.saturating_sub(text.width() + 2) / 2;
        let line = format!("{} {text} {}", "─".repeat(side), "─".repeat(side));
        self.push(id, Line::styled(line, style));
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    fn message(&mut self, id: u64, at: u64, who: &str, whose: u64, text: &str, mark: &str, style: Style) {
        let time = local(at, self.viewer.zone).strftime("%H:%M").to_string();
        let name = shortened(who, NAME_WIDTH_MAX.min(self.width / 4).max(4));
        let indent = TIME_WIDTH + name.width() + 2;
        let dim = Style::default().add_modifier(Modifier::DIM);
        let mut wrapped = wrap(text, self.width.saturating_sub(indent));
        let last = wrapped.pop().unwrap_or_default();
        let lines: Vec<String> = wrapped.into_iter().chain([last]).collect();
        let count = lines.len();
        for (place, text) in lines.into_iter().enumerate() {
            let mut spans = if place == 0 {
                let name_style = palette(self.viewer.colours).name(whose);
                vec![Span::styled(format!("{time} "), dim), Span::styled(format!("{name}: "), name_style)]
            } else {
                vec![Span::raw(" ".repeat(indent))]
            };
            let used = indent + text.width();
            spans.push(Span::styled(text, style));
            if place + 1 == count && !mark.is_empty() {
                if used + 1 + mark.width() <= self.width {
                    let gap = self.width - used - mark.width();
                    spans.push(Span::raw(" ".repeat(gap)));
                    spans.push(Span::styled(mark.to_owned(), dim));
                } else {
                    self.push(id, Line::from(spans));
                    let gap = self.width.saturating_sub(mark.width());
                    spans = vec![Span::raw(" ".repeat(gap)), Span::styled(mark.to_owned(), dim)];
                }
            }
            self.push(id, Line::from(spans));
        }
    }

    fn indented(&mut self, id: u64, text: &str, style: Style) {
        for line in wrap(text, self.width.saturating_sub(TIME_WIDTH)) {
            self.push(id, Line::from(vec![Span::raw(" ".repeat(TIME_WIDTH)), Span::styled(line, style)]));
        }
    }
}

/// The lines of a text, none wider than `width`; long words are broken, nothing is lost.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let options = Options::new(width.max(1)).word_splitter(WordSplitter::NoHyphenation);
    let text = harmless(&text.replace('\t', "    "));
    text.split('\n')
        .flat_map(|line| textwrap::wrap(line, &options))
        .map(std::borrow::Cow::into_owned)
        .collect()
}
