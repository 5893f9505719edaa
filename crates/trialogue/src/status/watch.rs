//! `status --watch`: the same picture again and again, and below it how each view came about.

use super::{ClusterSummary, table};
use crate::account::client_of;
use crate::arguments::Common;
use crate::failure::Failure;
use crate::{hang_up, output, signals};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the replicas are asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Over which time messages a second are counted.
const RATE_OVER: Duration = Duration::from_secs(2);
/// Changes that are shown.
const CHANGES_MAX: usize = 10;

/// What is remembered from one look to the next.
#[derive(Default)]
struct Seen {
    view: Option<u64>,
    /// Since when no replica has served.
    silent_since: Option<Instant>,
    changes: VecDeque<String>,
}

impl Seen {
    /// Compares what is with what was.
    fn look(&mut self, now: &ClusterSummary) {
        if !now.serving {
            self.silent_since.get_or_insert_with(Instant::now);
            return;
        }
        let view = Some(now.view);
        let silent = self.silent_since.take().map(|since| since.elapsed());
        if self.view == view && silent.is_none() {
            return;
        }
        let first = self.view.is_none();
        self.view = view;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let gap = match (now.unserved_ms, silent) {
            _ if first => String::new(),
            (Some(unserved), _) => format!("; no replica served for {unserved} ms"),
            (None, Some(silent)) => {
                format!("; no replica was seen serving for {:.1} s", silent.as_secs_f64())
            }
            (None, None) => "; a replica served at every look".into(),
        };
        self.changes.push_back(format!(
            "{}  view {}: replica {} leads, in sync {}{gap}",
            output::clock(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            now.view,
            now.primary.map_or_else(|| "none".to_owned(), |primary| primary.to_string()),
            serde_json::json!(now.in_sync)
        ));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

/// How many messages are acknowledged a second, by the replica that serves.
#[derive(Default)]
struct Rate {
    counts: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn of(&mut self, now: &ClusterSummary, at: Instant) -> u64 {
        let primary = now.primary().and_then(|primary| now.replicas.get(primary));
        let Some(counted) = primary.and_then(|primary| primary.messages) else { return 0 };
        // Another primary counts for itself.
        if self.counts.back().is_some_and(|(_, last)| *last > counted) {
            self.counts.clear();
        }
        self.counts.push_back((at, counted));
        while self.counts.len() > 2 && at - self.counts[0].0 > RATE_OVER {
            self.counts.pop_front();
        }
        let (since, first) = self.counts[0];
        let millis = u64::try_from((at - since).as_millis()).unwrap_or(u64::MAX);
        (1000 * (counted - first)).checked_div(millis).unwrap_or(0)
    }
}

pub(super) async fn watch(common: &Common, as_json: bool) -> Result<(), Failure> {
    let client = client_of(common);
    let mut seen = Seen::default();
    let mut rate = Rate::default();
    let mut shown = String::new();
    let interrupted = async {
        tokio::select! {
            _ = signals::interrupted() => {}
            () = hang_up::gone(std::io::stdout()) => {}
        }
    };
    tokio::pin!(interrupted);
    loop {
        let replicas = client.replicas().await;
        let now = ClusterSummary::of(&replicas);
        seen.look(&now);
        let picture = if as_json {
            chat::escaped_json(&now.json().to_string())
        } else {
            let changes: Vec<&str> = seen.changes.iter().map(String::as_str).collect();
            let rate = rate.of(&now, Instant::now());
            format!("{}\n{rate} messages a second\n\n{}", table(&now, &replicas), changes.join("\n"))
        };
        if picture != shown {
            show(&picture, as_json)?;
            shown = picture;
        }
        tokio::select! {
            () = &mut interrupted => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// On a terminal in the place of the last picture; otherwise below it.
fn show(picture: &str, as_json: bool) -> Result<(), Failure> {
    if !as_json && stdout().is_terminal() {
        let mut out = stdout().lock();
        writeln!(out, "\x1b[H\x1b[J{picture}")?;
        return Ok(out.flush()?);
    }
    output::line(picture)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::summary::ReplicaSummary;

    #[test]
    fn a_change_of_the_view_is_told_with_its_gap() {
        let mut seen = Seen::default();
        let view = |view: u64, primary: u32, serving: bool| {
            let in_sync = vec![0, 1, 2];
            ClusterSummary { view, primary: Some(primary), in_sync, serving, ..ClusterSummary::default() }
        };
        for now in [view(1, 0, true), view(1, 0, true), view(2, 1, true), view(2, 1, false), view(3, 2, true)]
        {
            seen.look(&now);
        }
        let told: Vec<&str> = seen.changes.iter().map(|change| &change[21..]).collect();
        assert_eq!(
            told,
            [
                "view 1: replica 0 leads, in sync [0,1,2]",
                "view 2: replica 1 leads, in sync [0,1,2]; a replica served at every look",
                "view 3: replica 2 leads, in sync [0,1,2]; no replica was seen serving for 0.0 s",
            ]
        );
    }

    #[test]
    fn the_successor_knows_the_gap_better_and_each_primary_counts_for_itself() {
        let mut seen = Seen::default();
        let view = |view: u64, unserved_ms: Option<u64>| {
            let (primary, serving) = (Some(1), true);
            ClusterSummary { view, primary, serving, unserved_ms, ..ClusterSummary::default() }
        };
        seen.look(&view(1, None));
        seen.look(&view(2, Some(11)));
        assert!(seen.changes[1].ends_with("; no replica served for 11 ms"), "{:?}", seen.changes);

        let begun = Instant::now();
        let mut rate = Rate::default();
        let counted = |primary: u32, messages: u64| {
            let of = |index| ReplicaSummary {
                messages: (index == primary).then_some(messages),
                ..ReplicaSummary::default()
            };
            let replicas = (0..3).map(of).collect();
            ClusterSummary { primary: Some(primary), replicas, ..ClusterSummary::default() }
        };
        let story = [
            (0, counted(0, 500), 0, "the first look"),
            (500, counted(0, 600), 200, "a hundred in half a second"),
            (1000, counted(1, 3), 0, "another leads"),
            (1500, counted(1, 53), 100, "and counts on"),
            (9000, counted(1, 53), 0, "silence"),
        ];
        for (at, now, expected, why) in story {
            let told = rate.of(&now, begun + Duration::from_millis(at));
            assert!(told == expected || (why == "silence" && told <= 7), "{why}: {told}");
        }
    }
}
