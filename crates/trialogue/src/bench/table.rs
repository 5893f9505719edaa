//! What was measured, as a table for people.

use super::report::{Crowd, Delivery, Filled, InFlight, Report};
use std::fmt;

/// One row: what, its figure, and beside it what limits it.
struct Row(String, String, String);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, figure, limit) = self;
        f.write_str(format!("{what:<36}{figure:<36}{limit}").trim_end())
    }
}

fn row(what: impl Into<String>, figure: impl Into<String>, limit: impl Into<String>) -> Row {
    Row(what.into(), figure.into(), limit.into())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.sending(),
            self.using(),
            self.failing(),
            self.filled.as_ref().map(Filled::rows).unwrap_or_default(),
            self.crowds.iter().map(Crowd::row).collect(),
        ];
        for row in parts.into_iter().flatten() {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

impl Report {
    fn sending(&self) -> Vec<Row> {
        let one = &self.one_sender;
        let sync = one.fdatasync_p50_ms.map_or(String::new(), |sync| format!(", a sync {sync:.2} ms"));
        let mut rows = vec![
            row("", format!("{} replicas", self.replicas), "limit in the same run"),
            row(
                "one sender, p50, p99, p99.9",
                format!("{:.2}, {:.2}, {:.2} ms", one.p50_ms, one.p99_ms, one.p999_ms),
                format!("a do-nothing call {:.2} ms{sync}", one.do_nothing_call_p50_ms),
            ),
        ];
        if let (Some(ratio), Some(in_a_row), Some(row_ms)) =
            (one.ratio, one.ratio_in_a_row, one.two_calls_and_a_sync_p50_ms)
        {
            rows.push(row(
                "  to two calls and a sync",
                format!("{ratio:.2}; in a row {in_a_row:.2}"),
                format!("in a row these take {row_ms:.2} ms"),
            ));
        }
        rows.extend(self.in_flight.iter().map(InFlight::row));
        rows.push(row("one pipelined stream", format!("{:.0} a second", self.pipelined_per_second), ""));
        rows.extend(self.ladder.iter().map(|rung| {
            row(
                format!("at {:.0} a second, p50, p99, p99.9", rung.offered_per_second),
                format!("{:.2}, {:.2}, {:.2} ms", rung.p50_ms, rung.p99_ms, rung.p999_ms),
                format!(
                    "do-nothing calls {:.2} ms; {:.0} a second answered",
                    rung.do_nothing_p50_ms, rung.per_second
                ),
            )
        }));
        rows.push(self.delivery.row("send to listener, p50, p99"));
        rows.push(row(
            format!("logins, {} at once, p50, p99", self.logins.at_once),
            format!("{:.0}, {:.0} ms", self.logins.p50_ms, self.logins.p99_ms),
            format!("{:.1} a second", self.logins.per_second),
        ));
        rows
    }

    fn using(&self) -> Vec<Row> {
        let Some(cost) = &self.cost else { return Vec::new() };
        vec![
            row(
                "memory a replica, idle, loaded",
                format!("{:.0}, {:.0} MiB", cost.idle_mib_a_replica, cost.loaded_mib_a_replica),
                "",
            ),
            row(
                "a message at 64 in flight",
                format!("{:.0} us of CPU in all", cost.cpu_us_a_message),
                format!("{:.0} bytes written a replica", cost.written_bytes_a_message_and_replica),
            ),
        ]
    }

    fn failing(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        rows.extend(self.gaps.as_ref().map(|gaps| {
            row(
                format!("kill -9 of the primary, {} times", gaps.kills),
                format!("{:.1} ms, worst {:.1} ms", gaps.median_ms, gaps.worst_ms),
                format!(
                    "its connections closed after {:.1} ms; longest silence in the moments after {:.1} ms",
                    gaps.connections_closed_median_ms, gaps.longest_silence_after_ms
                ),
            )
        }));
        rows.extend(self.catch_up.as_ref().map(|catch_up| {
            row(
                format!("catching up with {} entries", catch_up.entries),
                format!("{:.0} ms", catch_up.took_ms),
                format!("{:.0} a second", catch_up.entries_per_second),
            )
        }));
        rows.extend(
            self.start_to_ready_ms.map(|ready| row("start to ready, empty", format!("{ready:.0} ms"), "")),
        );
        rows
    }
}

impl InFlight {
    fn row(&self) -> Row {
        row(
            format!("{} in flight", self.calls),
            format!("{:.0} a second", self.per_second),
            format!(
                "{:.0} do-nothing calls: {:.2} of it ({:.2} to {:.2})",
                self.do_nothing_per_second, self.share, self.share_worst, self.share_best
            ),
        )
    }
}

impl Delivery {
    fn row(&self, what: impl Into<String>) -> Row {
        row(
            what,
            format!("{:.2}, {:.2} ms", self.p50_ms, self.p99_ms),
            format!("{:.2} ms after the acknowledgement at p99", self.after_acknowledgement_p99_ms),
        )
    }
}

impl Filled {
    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![row(
            format!("with {} accounts", self.accounts),
            format!("and {} messages", self.messages),
            format!(
                "one replica's log alone {:.0}, tables alone {:.0} entries a second",
                self.log_alone_per_second, self.tables_alone_per_second
            ),
        )];
        rows.extend(self.sends.iter().map(|rate| {
            let Row(what, figure, limit) = rate.row();
            row(format!("  {what}, random pairs"), figure, limit)
        }));
        rows.extend(self.snapshot.as_ref().map(|snapshot| {
            row(
                "  a snapshot",
                format!("{:.0} ms for {:.0} MiB", snapshot.took_ms, snapshot.mib),
                format!("{:.0} MiB a second", snapshot.mib_per_second),
            )
        }));
        rows.extend(
            self.start_to_ready_ms.map(|ready| row("  start to ready", format!("{ready:.0} ms"), "")),
        );
        rows.extend(self.listing.as_ref().map(|listing| {
            row(
                "  all names, none fits",
                format!("{:.0} ms in {} pages", listing.all_names_ms, listing.pages),
                format!("beside {} such callers senders keep {:.2}", listing.callers, listing.sends_kept),
            )
        }));
        rows
    }
}

impl Crowd {
    fn row(&self) -> Row {
        row(
            format!("beside {} listeners, p50, p99", self.listeners),
            format!("{:.2}, {:.2} ms", self.delivery.p50_ms, self.delivery.p99_ms),
            format!(
                "{:.1} KiB each ({:.0}, {:.0}, then {:.0} MiB), opened {:.0} a second; senders keep {:.2}",
                self.kib_a_listener,
                self.mib_before,
                self.mib_with,
                self.mib_after,
                self.opened_per_second,
                self.sends_kept
            ),
        )
    }
}
