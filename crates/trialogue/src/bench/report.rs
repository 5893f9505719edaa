//! What was measured, as a table for people and as JSON for scripts.

use serde::Serialize;
use std::fmt;

/// All figures of one run; what was not measured is missing.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) replicas: usize,
    /// From starting the processes to the first replica that serves.
    pub(crate) start_to_ready_ms: Option<f64>,
    pub(crate) one_sender: OneSender,
    pub(crate) in_flight: Vec<InFlight>,
    pub(crate) pipelined_per_second: f64,
    pub(crate) delivery: Delivery,
    pub(crate) cost: Option<Cost>,
    pub(crate) gaps: Option<Gaps>,
}

/// One sender, one message after the other.
#[derive(Debug, Default, Serialize)]
pub(crate) struct OneSender {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// The limits of the same run.
    pub(crate) do_nothing_call_p50_ms: f64,
    pub(crate) fdatasync_p50_ms: Option<f64>,
    /// To two do-nothing calls and one fdatasync: what two hops and one durable write take at least.
    pub(crate) ratio: Option<f64>,
}

/// Many calls in flight: the median of the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct InFlight {
    pub(crate) calls: usize,
    pub(crate) per_second: f64,
    pub(crate) do_nothing_per_second: f64,
    /// The share of the do-nothing rate, of the median round and of the worst and the best.
    pub(crate) share: f64,
    pub(crate) share_worst: f64,
    pub(crate) share_best: f64,
}

/// From the call of `send` to the text in the hands of a listener that was idle.
#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "scripts read the unit in the name")]
pub(crate) struct Delivery {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// How much later than the acknowledgement.
    pub(crate) after_acknowledgement_p99_ms: f64,
}

/// What the replicas used, all together, with 64 calls in flight.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) idle_mib_a_replica: f64,
    pub(crate) loaded_mib_a_replica: f64,
    pub(crate) cpu_us_a_message: f64,
    pub(crate) written_bytes_a_message_and_replica: f64,
}

/// From `kill -9` of the primary to the next acknowledgement.
#[derive(Debug, Serialize)]
pub(crate) struct Gaps {
    pub(crate) kills: usize,
    pub(crate) median_ms: f64,
    pub(crate) worst_ms: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, figure: String, limit: String| {
            writeln!(f, "{}", format!("{what:<34}{figure:<34}{limit}").trim_end())
        };
        row("", format!("{} replicas", self.replicas), "limit in the same run".into())?;
        let one = &self.one_sender;
        let sync = one.fdatasync_p50_ms.map_or(String::new(), |sync| format!(", a sync {sync:.2} ms"));
        row(
            "one sender, p50, p99, p99.9",
            format!("{:.2}, {:.2}, {:.2} ms", one.p50_ms, one.p99_ms, one.p999_ms),
            format!("a do-nothing call {:.2} ms{sync}", one.do_nothing_call_p50_ms),
        )?;
        if let Some(ratio) = one.ratio {
            row("  to two calls and a sync", format!("{ratio:.2}"), String::new())?;
        }
        for rate in &self.in_flight {
            row(
                &format!("{} in flight", rate.calls),
                format!("{:.0} a second", rate.per_second),
                format!(
                    "{:.0} do-nothing calls: {:.2} of it ({:.2} to {:.2})",
                    rate.do_nothing_per_second, rate.share, rate.share_worst, rate.share_best
                ),
            )?;
        }
        row("one pipelined stream", format!("{:.0} a second", self.pipelined_per_second), String::new())?;
        let Delivery { p50_ms, p99_ms, after_acknowledgement_p99_ms } = self.delivery;
        row(
            "send to listener, p50, p99",
            format!("{p50_ms:.2}, {p99_ms:.2} ms"),
            format!("{after_acknowledgement_p99_ms:.2} ms after the acknowledgement at p99"),
        )?;
        if let Some(cost) = &self.cost {
            row(
                "memory a replica, idle, loaded",
                format!("{:.0}, {:.0} MiB", cost.idle_mib_a_replica, cost.loaded_mib_a_replica),
                String::new(),
            )?;
            row(
                "a message at 64 in flight",
                format!("{:.0} us of CPU in all", cost.cpu_us_a_message),
                format!("{:.0} bytes written a replica", cost.written_bytes_a_message_and_replica),
            )?;
        }
        if let Some(gaps) = &self.gaps {
            row(
                &format!("kill -9 of the primary, {} times", gaps.kills),
                format!("{:.0} ms, worst {:.0} ms", gaps.median_ms, gaps.worst_ms),
                String::new(),
            )?;
        }
        if let Some(ready) = self.start_to_ready_ms {
            row("start to ready, empty", format!("{ready:.0} ms"), String::new())?;
        }
        Ok(())
    }
}
