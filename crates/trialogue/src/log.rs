//! The log of a replica: a line an event, whatever a peer, a client or a browser has said.

use chat::Escaped;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Writes each event on one line: whatever could begin another, or drive the terminal of its reader, is escaped here,
/// so that no code that logs a text of others has to think of it.
struct OneLine<F>(F);

impl<F, S, N> FormatEvent<S, N> for OneLine<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writeln!(writer, "{}", Escaped(text.strip_suffix('\n').unwrap_or(&text)))
    }
}

/// Begins to log on stderr what `TRIALOGUE_LOG` asks for.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("TRIALOGUE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,h2=warn,hyper=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that can't be written, on a disk that is full, must not end the process: saying so on stderr, which is that
        // very log, would panic.
        .log_internal_errors(false)
        .with_ansi(false)
        .event_format(OneLine(Format::default().with_ansi(false).with_target(false)))
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_wherever_in_it_the_hostile_text_stands() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(OneLine(Format::default().with_ansi(false).without_time()))
            .finish();
        let hostile = "a\nERROR b\r\u{1b}[2J\u{9b}\u{202e}c";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(shown = %hostile, debug = ?hostile, plain = hostile, "{hostile}");
            tracing::error_span!("span", %hostile).in_scope(|| tracing::info!("inside"));
        });
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 2, "{log}");
        assert!(log.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{log:?}");
        assert!(log.contains(r"a\nERROR b\r") && log.contains("inside"), "{log}");
    }
}
