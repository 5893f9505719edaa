//! What a failure costs: how long nothing is acknowledged when the primary is killed, and how quickly a replica catches up.

use super::load::Times;
use super::report::{CatchUp, Gaps, Moment};
use super::sending::pipeline;
use super::{LIMIT, Measuring};
use crate::failure::Failure;
use crate::supervisor::Supervisor;
use chat::Address;
use people::{Person, Writer};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The replica that catches up.
const LAST: usize = 2;

/// Kills the primary while a person writes, again and again.
pub(super) async fn gaps(
    measuring: &Measuring,
    supervisor: &mut Supervisor,
    people: &[Person],
    kills: usize,
) -> Result<Gaps, Failure> {
    let (mut gaps, mut closed, mut silences, mut moments) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for kill in 1..=kills {
        measuring.progress(&format!("kill -9 of the primary, {kill} of {kills}"));
        let primary = measuring.until_all_in_sync().await?.primary();
        let primary = primary.ok_or_else(|| Failure::Failed("no replica leads".into()))?;
        let writer = Writer::one_by_one(&people[0], &people[1].name, Duration::ZERO);
        let began = Instant::now();
        tokio::time::sleep(measuring.span / 2).await;
        let connection = idle_connection(&supervisor.settings().addresses[primary]).await?;
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
        let end = connection.await.map_err(Failure::of)?;
        closed.push(end.duration_since(killed));
        let acknowledged: Vec<Instant> = writer.stop().await?.iter().map(|message| message.at).collect();
        let after = silences_after(killed, &acknowledged);
        // The killed process has answered nothing that came after its connections were closed.
        let next = acknowledged.iter().filter(|at| **at > killed && **at <= end).count();
        gaps.extend(after.iter().take(next + 1).max());
        silences.extend(after);
        if kill == 1 {
            moments = around(began, killed, &acknowledged);
        }
        supervisor.start(primary)?;
    }
    let (gaps, closed, silences) = (Times::of(gaps), Times::of(closed), Times::of(silences));
    Ok(Gaps {
        kills,
        median_ms: gaps.quantile_ms(0.5),
        worst_ms: gaps.quantile_ms(1.0),
        connections_closed_median_ms: closed.quantile_ms(0.5),
        longest_silence_after_ms: silences.quantile_ms(1.0),
        moments,
    })
}

/// How long nothing was acknowledged, again and again, from this moment on.
fn silences_after(begin: Instant, acknowledged: &[Instant]) -> Vec<Duration> {
    let after = acknowledged.iter().copied().filter(|at| *at > begin);
    after.scan(begin, |before, at| Some(at - std::mem::replace(before, at))).collect()
}

/// A connection on which nothing is said: the moment when the system closes it, if it does.
async fn idle_connection(address: &Address) -> Result<JoinHandle<Instant>, Failure> {
    let unreachable = |error| Failure::Failed(format!("{address}: {error}"));
    let mut connection = TcpStream::connect(address.to_string()).await.map_err(unreachable)?;
    Ok(tokio::spawn(async move {
        // The replica says nothing on it, or greets as HTTP/2 does: what ends this is the end of the connection.
        while matches!(connection.read(&mut [0; 512]).await, Ok(1..)) {}
        Instant::now()
    }))
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
