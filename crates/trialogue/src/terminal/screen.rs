//! Drawing: conversations at the left, the open one beside them, the input below, and one line that says how things are.

use super::app::App;
use super::conversation::Conversation;
use super::layout::{self, shortened};
use super::palette::palette;
use super::vocabulary::Connection;
use super::{sign_in, wording};
use chat::{MESSAGE_BYTES_MAX, ServiceState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

/// Below this the list makes room for the messages.
const LIST_FROM_WIDTH: u16 = 60;
const INPUT_LINES_MAX: u16 = 8;
/// The count is shown from this many bytes before the limit.
const COUNT_FROM: usize = 2048;

/// Draws everything, and notes how much room there is.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    let covered = app.lines.is_some();
    let list_width = if covered || area.width < LIST_FROM_WIDTH { 0 } else { (area.width / 4).clamp(18, 32) };
    let inner = area.width.saturating_sub(list_width + 2).max(1);
    let wanted = input_height(app, inner).min(INPUT_LINES_MAX).min(area.height / 3).max(1);
    let sentence = app.sentence().map(|text| layout::wrap(text, usize::from(inner))).unwrap_or_default();
    let said = layout::wrap(&wording::connection(&app.connection), usize::from(area.width.saturating_sub(4)));
    let [top, status] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(u16::try_from(said.len()).unwrap_or(1))])
            .areas(area);
    let [list, talk] = Layout::horizontal([Constraint::Length(list_width), Constraint::Min(1)]).areas(top);
    let [heading, messages, notice, input] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(u16::try_from(sentence.len()).unwrap_or(u16::MAX).min(area.height / 4)),
        Constraint::Length(wanted + 2),
    ])
    .areas(talk);
    draw_list(frame, list, app);
    draw_heading(frame, heading, app);
    let messages = Rect { x: messages.x + 1, width: messages.width.saturating_sub(1), ..messages };
    app.room = (usize::from(messages.height), usize::from(messages.width));
    draw_messages(frame, messages, app);
    let style = if app.question.is_some() { Style::default() } else { palette(app.colours).problem };
    let lines: Vec<Line<'_>> =
        sentence.into_iter().map(|line| Line::styled(format!(" {line}"), style)).collect();
    frame.render_widget(Paragraph::new(lines), notice);
    draw_input(frame, input, app);
    draw_status(frame, status, app, &said);
}

fn input_height(app: &App, width: u16) -> u16 {
    let width = usize::from(width.saturating_sub(2)).max(1);
    let lines = app.input.lines().iter().map(|line| line.width() / width + 1).sum::<usize>();
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if area.width == 0 {
        return;
    }
    let block = Block::default().borders(Borders::RIGHT);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width);
    let open =
        app.conversations.iter().position(|conversation| Some(conversation.with) == app.open).unwrap_or(0);
    // Two rows each; the open one stays in sight.
    let fit = usize::from(inner.height / 2).max(1);
    let first = open.saturating_sub(fit - 1);
    let mut lines = Vec::new();
    for conversation in app.conversations.iter().skip(first).take(fit) {
        let count = match conversation.unread {
            0 => String::new(),
            1..=99 => format!(" {} ", conversation.unread),
            _ => " 99+ ".into(),
        };
        let name = shortened(&conversation.name, width.saturating_sub(count.width() + 2));
        let is_open = Some(conversation.with) == app.open;
        let gap = width.saturating_sub(name.width() + count.width() + 2);
        let highlight = Style::default().add_modifier(Modifier::REVERSED);
        let style = if is_open { highlight } else { Style::default().add_modifier(Modifier::BOLD) };
        lines.push(Line::from(vec![
            Span::styled(if is_open { "▌" } else { " " }, style),
            Span::styled(name, style),
            Span::styled(" ".repeat(gap + 1), if is_open { highlight } else { Style::default() }),
            Span::styled(count, Style::default().add_modifier(Modifier::REVERSED | Modifier::BOLD)),
        ]));
        let dim = Style::default().add_modifier(Modifier::DIM);
        let (preview, style) = match preview(conversation, is_open) {
            Preview::Refused(text) => (text, palette(app.colours).problem),
            Preview::Plain(text) => (text, dim),
        };
        lines.push(Line::styled(format!("  {}", shortened(&preview, width.saturating_sub(3))), style));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// What stands under a name in the list.
enum Preview {
    Refused(String),
    Plain(String),
}

fn preview(conversation: &Conversation, is_open: bool) -> Preview {
    let pending = || conversation.pending.iter().filter(|pending| pending.arrived.is_none());
    let refused = pending().filter(|pending| pending.refused.is_some()).count();
    let waits = pending().count() - refused;
    if refused > 0 {
        Preview::Refused(format!("{refused} not sent"))
    } else if waits > 0 {
        Preview::Plain(format!("{waits} on the way…"))
    } else if !is_open && !conversation.draft.is_empty() {
        Preview::Plain(format!("draft: {}", conversation.draft))
    } else {
        Preview::Plain(conversation.last_text.clone())
    }
}

fn draw_heading(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let width = usize::from(area.width).saturating_sub(2);
    let (text, style) = match (&app.lines, app.current()) {
        (Some((heading, _)), _) => (format!("{heading} (Esc to go back)"), Style::default()),
        (None, Some(conversation)) => {
            let deleted = if conversation.deleted { " (deleted)" } else { "" };
            let name = format!("{}{deleted}", conversation.name);
            (name, palette(app.colours).name(conversation.with))
        }
        (None, None) => ("Trialogue".into(), Style::default()),
    };
    let line = Line::styled(format!(" {}", shortened(&text, width)), style.add_modifier(Modifier::BOLD));
    frame
        .render_widget(Paragraph::new(line).style(Style::default().add_modifier(Modifier::UNDERLINED)), area);
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if let Some((_, lines)) = &app.lines {
        let text: Vec<Line<'_>> = lines.iter().map(|line| Line::raw(chat::harmless(line))).collect();
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
        return;
    }
    let rows = app
        .current()
        .map(|current| (layout::rows(current, app.viewer(), usize::from(area.width)), current.place));
    let Some((rows, place)) = rows.filter(|(rows, _)| !rows.is_empty()) else {
        let dim = Style::default().add_modifier(Modifier::DIM);
        let text =
            Paragraph::new(wording::empty(app.current(), &app.connection, !app.conversations.is_empty()))
                .style(dim)
                .wrap(Wrap { trim: true });
        frame.render_widget(text, area);
        return;
    };
    let height = usize::from(area.height);
    let end = layout::end(&rows, place).max(height.min(rows.len()));
    let shown = &rows[end.saturating_sub(height)..end];
    // The newest stands right above the input.
    let above = area.height.saturating_sub(u16::try_from(shown.len()).unwrap_or(u16::MAX));
    let area = Rect { y: area.y + above, height: area.height - above, ..area };
    let text: Vec<Line<'_>> = shown.iter().map(|row| row.line.clone()).collect();
    frame.render_widget(Paragraph::new(Text::from(text)), area);
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if let Some(question) = &app.question {
        let block = Block::bordered().title_bottom(" Esc to leave it ");
        sign_in::draw_field(frame, block.inner(area), &question.field, true);
        frame.render_widget(block, area);
        return;
    }
    let bytes = app.text().len();
    let mut block = Block::bordered();
    if bytes + COUNT_FROM > MESSAGE_BYTES_MAX {
        let style = if bytes > MESSAGE_BYTES_MAX { palette(app.colours).problem } else { Style::default() };
        block = block.title_bottom(
            Line::styled(format!(" {bytes} of {MESSAGE_BYTES_MAX} bytes "), style).right_aligned(),
        );
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(&app.input, inner);
    let cursor = app.input.screen_cursor();
    let (row, column) = (u16::try_from(cursor.row).unwrap_or(0), u16::try_from(cursor.col).unwrap_or(0));
    if row < inner.height {
        frame.set_cursor_position(Position::new(
            inner.x + column.min(inner.width.saturating_sub(1)),
            inner.y + row,
        ));
    }
}

/// How the service is doing; beside it, where there is room, who this is and where the reader stands.
fn draw_status(frame: &mut Frame<'_>, area: Rect, app: &App, said: &[String]) {
    let style = match app.connection {
        Connection::Serving { state: ServiceState::Serving { .. }, .. } => palette(app.colours).good,
        Connection::Serving { .. } => palette(app.colours).careful,
        Connection::Connecting => Style::default(),
        Connection::Reconnecting | Connection::NobodyServes => palette(app.colours).problem,
    };
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (place, text) in said.iter().enumerate() {
        let mark = if place == 0 { Span::styled(" ● ", style) } else { Span::raw("   ") };
        lines.push(Line::from(vec![mark, Span::raw(text.clone())]));
    }
    let scrolled = app.current().is_some_and(|current| current.place.is_some());
    let right = if scrolled { "older messages; Ctrl-End for the newest " } else { "/help " };
    let me = format!(" · {}", shortened(&app.me.name, 20));
    let width = usize::from(area.width);
    if let [line] = &mut *lines {
        let used = line.width() + me.width() + right.width();
        if used < width {
            line.push_span(Span::raw(me));
            line.push_span(Span::raw(" ".repeat(width - used)));
            line.push_span(Span::styled(right, Style::default().add_modifier(Modifier::DIM)));
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}
