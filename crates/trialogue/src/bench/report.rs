//! What was measured, for scripts; `table.rs` shows it to people.

use serde::Serialize;
use std::time::Duration;

/// All figures of one run; what was not measured is missing.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) replicas: usize,
    /// From starting the processes to the first replica that serves.
    pub(crate) start_to_ready_ms: Option<f64>,
    pub(crate) one_sender: OneSender,
    pub(crate) in_flight: Vec<InFlight>,
    pub(crate) pipelined_per_second: f64,
    pub(crate) ladder: Vec<Rung>,
    pub(crate) delivery: Delivery,
    pub(crate) cost: Option<Cost>,
    pub(crate) logins: Logins,
    pub(crate) gaps: Option<Gaps>,
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) filled: Option<Filled>,
    pub(crate) crowds: Vec<Crowd>,
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
    /// The same three in a row, again and again, and what one message takes of that.
    pub(crate) two_calls_and_a_sync_p50_ms: Option<f64>,
    pub(crate) ratio_in_a_row: Option<f64>,
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

/// Messages at a rate that does not wait for answers: each time counts from when the message was to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct Rung {
    pub(crate) offered_per_second: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// Of do-nothing calls at the same rate.
    pub(crate) do_nothing_p50_ms: f64,
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

/// Listeners, each of an account of its own, that hear nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Crowd {
    pub(crate) listeners: usize,
    pub(crate) opened_per_second: f64,
    /// By how much the memory of the primary has grown, a listener.
    pub(crate) kib_a_listener: f64,
    /// Its memory before they came, with them, and after they have left.
    pub(crate) mib_before: f64,
    pub(crate) mib_with: f64,
    pub(crate) mib_after: f64,
    /// The rate at 64 in flight beside them, as a share of that without them.
    pub(crate) sends_kept: f64,
    /// To one more listener, beside them.
    pub(crate) delivery: Delivery,
}

/// What the replicas used, all together, with 64 calls in flight.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) idle_mib_a_replica: f64,
    pub(crate) loaded_mib_a_replica: f64,
    pub(crate) cpu_us_a_message: f64,
    pub(crate) written_bytes_a_message_and_replica: f64,
}

/// Logins, each followed by a logout.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Logins {
    pub(crate) at_once: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// How long one sender waits for the acknowledgement that follows a `kill -9` of the primary.
#[derive(Debug, Serialize)]
pub(crate) struct Gaps {
    pub(crate) kills: usize,
    pub(crate) median_ms: f64,
    pub(crate) worst_ms: f64,
    /// What no replica can do anything about: until the system has closed the connections of the process that was killed.
    pub(crate) connections_closed_median_ms: f64,
    /// In the moments after the kills, gaps and all.
    pub(crate) longest_silence_after_ms: f64,
    /// The messages around the first kill.
    pub(crate) moments: Vec<Moment>,
}

/// One message that was acknowledged.
#[derive(Debug, Serialize)]
pub(crate) struct Moment {
    /// Negative before the kill.
    pub(crate) since_kill_ms: f64,
    pub(crate) took_ms: f64,
}

/// A replica that returns after others have written, from its start until it is in sync.
#[derive(Debug, Serialize)]
pub(crate) struct CatchUp {
    pub(crate) entries: u32,
    pub(crate) took_ms: f64,
    pub(crate) entries_per_second: f64,
}

/// The service with many accounts and messages in it.
#[derive(Debug, Serialize)]
pub(crate) struct Filled {
    pub(crate) accounts: u64,
    pub(crate) messages: u64,
    /// After all replicas were killed.
    pub(crate) start_to_ready_ms: Option<f64>,
    pub(crate) snapshot: Option<Snapshot>,
    /// Entries a second into the log of one replica, in groups of 4,096, and into its tables, with nothing else at work.
    pub(crate) log_alone_per_second: f64,
    pub(crate) tables_alone_per_second: f64,
    /// Between random pairs of these accounts.
    pub(crate) sends: Vec<InFlight>,
    pub(crate) listing: Option<Listing>,
}

/// A replica that lacks more than the log holds, from its start until it is in sync.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) mib: f64,
    pub(crate) took_ms: f64,
    pub(crate) mib_per_second: f64,
}

impl Snapshot {
    pub(crate) fn of(bytes: u64, took: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mib = bytes as f64 / 1024.0 / 1024.0;
        Self { mib, took_ms: took.as_secs_f64() * 1e3, mib_per_second: mib / took.as_secs_f64() }
    }
}

/// Callers who list all accounts by a name that none has, without a pause.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) callers: usize,
    /// How many pages all names are, and how long they take one caller alone.
    pub(crate) pages: usize,
    pub(crate) all_names_ms: f64,
    /// The rate at 64 in flight beside them, as a share of that without them.
    pub(crate) sends_kept: f64,
}
