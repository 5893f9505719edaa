//! Logins: each costs what a password's hash costs, on purpose.

use super::load::Times;
use super::report::Logins;
use crate::failure::Failure;
use futures_util::StreamExt;
use futures_util::stream::iter;
use people::Person;
use std::time::{Duration, Instant};

const AT_ONCE: usize = 8;
/// Of each account.
const ROUNDS: usize = 3;

/// All accounts log in, and out again, some at a time.
pub(super) async fn logins(people: &[Person], password: &str) -> Result<Logins, Failure> {
    let began = Instant::now();
    let calls = (0..ROUNDS).flat_map(|_| people).map(|person| async move {
        let began = Instant::now();
        let opened = person.client.login(&person.name, password).await?;
        let took = began.elapsed();
        opened.session.logout().await?;
        Ok::<Duration, Failure>(took)
    });
    let times: Vec<_> = iter(calls).buffer_unordered(AT_ONCE).collect().await;
    let took = began.elapsed();
    let times = Times::of(times.into_iter().collect::<Result<Vec<_>, Failure>>()?);
    Ok(Logins {
        at_once: AT_ONCE,
        per_second: times.count() / took.as_secs_f64(),
        p50_ms: times.quantile_ms(0.5),
        p99_ms: times.quantile_ms(0.99),
    })
}
