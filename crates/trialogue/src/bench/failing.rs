//! What a failure costs: how long nothing is acknowledged when the primary is killed, and how quickly a replica catches up.

use super::load::Times;
use super::report::{CatchUp, Gaps, Moment};
use super::sending::pipeline;
use super::{LIMIT, Measuring};
use crate::failure::Failure;
use crate::supervisor::Supervisor;
use people::{Person, Writer};
use std::time::{Duration, Instant};

/// The replica that catches up.
const LAST: usize = 2;

/// Kills the primary while a person writes, again and again.
pub(super) async fn gaps(
    measuring: &Measuring,
    supervisor: &mut Supervisor,
    people: &[Person],
    kills: usize,
) -> Result<Gaps, Failure> {
    let (mut gaps, mut moments) = (Vec::new(), Vec::new());
    for kill in 1..=kills {
        measuring.progress(&format!("kill -9 of the primary, {kill} of {kills}"));
        let primary = measuring.until_all_in_sync().await?.primary();
        let primary = primary.ok_or_else(|| Failure::Failed("no replica leads".into()))?;
        let writer = Writer::one_by_one(&people[0], &people[1].name, Duration::ZERO);
        let began = Instant::now();
        tokio::time::sleep(measuring.span / 2).await;
        let killed = Instant::now();
        supervisor.kill(primary).await?;
        let deadline = killed + LIMIT;
        while writer.first_after(killed).is_none() {
            if let Some(error) = writer.failure() {
                return Err(error.into());
            }
            if Instant::now() > deadline {
                return Err(Failure::Failed("nothing was acknowledged after the kill".into()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(measuring.span / 2).await;
        let acknowledged: Vec<Instant> = writer.stop().await?.iter().map(|message| message.at).collect();
        // The longest silence from the kill on, not only the first.
        let mut last = killed;
        let mut longest = Duration::ZERO;
        for at in acknowledged.iter().copied().filter(|at| *at > killed) {
            longest = longest.max(at - last);
            last = at;
        }
        gaps.push(longest);
        if kill == 1 {
            moments = around(began, killed, &acknowledged);
        }
        supervisor.start(primary)?;
    }
    let gaps = Times::of(gaps);
    Ok(Gaps { kills, median_ms: gaps.quantile_ms(0.5), worst_ms: gaps.quantile_ms(1.0), moments })
}

/// Each message by when its answer came, before or after the kill, and how long it took since the one before it.
fn around(began: Instant, killed: Instant, acknowledged: &[Instant]) -> Vec<Moment> {
    let mut before = began;
    let moment = |at: Instant| {
        let took = at - std::mem::replace(&mut before, at);
        let since_kill_ms =
            if at >= killed { (at - killed).as_secs_f64() * 1e3 } else { -(killed - at).as_secs_f64() * 1e3 };
        Moment { since_kill_ms, took_ms: took.as_secs_f64() * 1e3 }
    };
    acknowledged.iter().copied().map(moment).collect()
}

/// A replica that was killed returns when others have written meanwhile, and lacks that many entries.
pub(super) async fn catch_up(
    measuring: &Measuring,
    supervisor: &mut Supervisor,
    people: &[Person],
    entries: u32,
) -> Result<CatchUp, Failure> {
    measuring.until_all_in_sync().await?;
    supervisor.kill(LAST).await?;
    measuring.until_only_those_below(LAST).await?;
    pipeline(&people[0].session, &people[1].name, |sent| sent < entries).await?;
    let took = returned(measuring, supervisor).await?;
    Ok(CatchUp {
        entries,
        took_ms: took.as_secs_f64() * 1e3,
        entries_per_second: f64::from(entries) / took.as_secs_f64(),
    })
}

/// Starts the last replica, and waits until it is in sync.
pub(super) async fn returned(
    measuring: &Measuring,
    supervisor: &mut Supervisor,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    supervisor.start(LAST)?;
    measuring.until_all_in_sync().await?;
    Ok(began.elapsed())
}
