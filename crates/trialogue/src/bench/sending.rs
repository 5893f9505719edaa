//! How quickly messages are sent: one by one, many at a time, at a given rate, and in one stream.

use super::load::{Load, TEXT, Times};
use super::machine::Probe;
use super::report::{InFlight, OneSender, Rung};
use crate::failure::Failure;
use client::Session;
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

const CALLS: usize = 2000;
/// Rounds of each rate, with the do-nothing server in turn, so that both see the same machine.
const ROUNDS: usize = 5;
/// Messages of the pipelined stream without an answer.
const PIPELINED: usize = 200;
/// The rungs of the ladder, as shares of the rate at 64 in flight.
const RUNGS: [f64; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

/// In turn with the do-nothing server. `folder`: where the replicas write, if that is on this machine.
pub(super) async fn one_sender(
    service: &Load,
    nothing: &Load,
    folder: Option<&Path>,
) -> Result<OneSender, Failure> {
    // The first calls of a connection are slower.
    service.one_by_one(CALLS / 10).await?;
    nothing.one_by_one(CALLS / 10).await?;
    let calls = nothing.one_by_one(CALLS).await?;
    let times = service.one_by_one(CALLS).await?;
    let (p50_ms, call) = (times.quantile_ms(0.5), calls.quantile_ms(0.5));
    let mut probe = folder.map(Probe::create).transpose()?;
    let sync = probe.as_mut().map(Probe::syncs).transpose()?.map(|times| times.quantile_ms(0.5));
    let row = match &mut probe {
        Some(probe) => Some(two_calls_and_a_sync(nothing, probe).await?.quantile_ms(0.5)),
        None => None,
    };
    Ok(OneSender {
        p50_ms,
        p99_ms: times.quantile_ms(0.99),
        p999_ms: times.quantile_ms(0.999),
        do_nothing_call_p50_ms: call,
        fdatasync_p50_ms: sync,
        ratio: sync.map(|sync| p50_ms / (2.0 * call + sync)),
        two_calls_and_a_sync_p50_ms: row,
        ratio_in_a_row: row.map(|row| p50_ms / row),
    })
}

/// Two do-nothing calls and one sync in a row, again and again: a sync that does not follow another one at once takes longer.
async fn two_calls_and_a_sync(nothing: &Load, probe: &mut Probe) -> Result<Times, Failure> {
    let mut times = Vec::with_capacity(CALLS / 2);
    for _ in 0..CALLS / 2 {
        let began = Instant::now();
        nothing.one_by_one(2).await?;
        probe.sync()?;
        times.push(began.elapsed());
    }
    Ok(Times::of(times))
}

/// The median round of a rate, and how many messages were sent in all rounds.
pub(super) async fn in_flight(
    service: &Load,
    nothing: &Load,
    calls: usize,
    span: Duration,
) -> Result<(InFlight, f64), Failure> {
    let mut rounds = Vec::new();
    let mut sent = 0.0;
    for _ in 0..ROUNDS {
        let limit = nothing.rate(calls, span).await?;
        let rate = service.rate(calls, span).await?;
        sent += rate * span.as_secs_f64();
        rounds.push((rate, limit));
    }
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let share = |(rate, limit): (f64, f64)| rate / limit;
    let (per_second, do_nothing_per_second) = rounds[ROUNDS / 2];
    let in_flight = InFlight {
        calls,
        per_second,
        do_nothing_per_second,
        share: share(rounds[ROUNDS / 2]),
        share_worst: share(rounds[0]),
        share_best: share(rounds[ROUNDS - 1]),
    };
    Ok((in_flight, sent))
}

/// Latency at rates that do not wait for answers: each time counts from when the message was to be sent, so that one that had to
/// wait for those before it is not taken for a quick one (Tene, *How NOT to Measure Latency*, on coordinated omission).
pub(super) async fn ladder(
    service: &Load,
    nothing: &Load,
    most_per_second: f64,
    span: Duration,
) -> Result<Vec<Rung>, Failure> {
    let mut rungs = Vec::new();
    for share in RUNGS {
        let offered_per_second = (most_per_second * share).max(1.0);
        let (limit, _) = nothing.at_rate(offered_per_second, span).await?;
        let (times, took) = service.at_rate(offered_per_second, span).await?;
        rungs.push(Rung {
            offered_per_second,
            per_second: times.count() / took.as_secs_f64(),
            p50_ms: times.quantile_ms(0.5),
            p99_ms: times.quantile_ms(0.99),
            p999_ms: times.quantile_ms(0.999),
            do_nothing_p50_ms: limit.quantile_ms(0.5),
        });
    }
    Ok(rungs)
}

/// Messages a second in one ordered stream.
pub(super) async fn pipelined(session: &Session, to: &str, span: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let sent = pipeline(session, to, |_| began.elapsed() < span).await?;
    Ok(f64::from(sent) / began.elapsed().as_secs_f64())
}

/// Sends in one ordered stream while that is wanted of one more, and waits for all answers. Returns how many.
pub(super) async fn pipeline(
    session: &Session,
    to: &str,
    wants: impl Fn(u32) -> bool,
) -> Result<u32, Failure> {
    let outbox = session.outbox();
    let (mut begun, mut waiting) = (0_u32, VecDeque::new());
    while wants(begun) {
        waiting.push_back(outbox.send(to, TEXT, 0).await?);
        begun += 1;
        if waiting.len() > PIPELINED
            && let Some(first) = waiting.pop_front()
        {
            first.answered().await?;
        }
    }
    for ticket in waiting {
        ticket.answered().await?;
    }
    Ok(begun)
}
