//! Comparing the databases in a folder and their logs, row by row, a slice at a time.

use super::AGAIN_AFTER;
use crate::failure::Failure;
use protocol::Position;
use server::DATABASE_FILE;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{AtRest, Compared, Difference, RowKey, StoreError, TABLES, Table, compare_slice, level};
use tokio::time::Instant;

/// Rows of a slice: for as long as they are compared, a checkpoint of those databases waits.
const ROWS: usize = 4096;
/// Two databases that move on are found at the same place by chance, or are brought there after this time: one of them is copied
/// for that, and no checkpoint of the other is made until all its tables are compared.
const LEVEL_AFTER: Duration = Duration::from_secs(1);

/// Compares the databases in a folder, row by row; says what they have in common.
pub(crate) async fn verify_data(data: &Path, patience: Duration) -> Result<String, Failure> {
    let databases = databases(data)?;
    let (first, first_path) = &databases[0];
    let mut position = None;
    for (other, other_path) in &databases[1..] {
        let differ =
            |difference| Failure::Failed(format!("replica {first} and replica {other} differ: {difference}"));
        let mut pair = Pair { paths: [first_path, other_path], brought_level: None };
        for table in &TABLES {
            let mut after = None;
            loop {
                match pair.compare_in_time(table, after, patience).await? {
                    Compared::Same(Some(more)) => after = Some(more),
                    Compared::Same(None) => break,
                    Compared::Different(difference) => return Err(differ(difference)),
                }
            }
        }
        position = pair.brought_level.map(|(one, _)| one.identity().applied).or(position);
    }
    let position = match position {
        Some(position) => position,
        None => open_in_time(first_path, patience).await?.identity().applied,
    };
    Ok(format!("{} replicas are the same: {position}", databases.len()))
}

/// Two databases that are compared.
struct Pair<'a> {
    paths: [&'a Path; 2],
    /// The two at one place, once they were found to stay at two; one of them is a copy then.
    brought_level: Option<(AtRest, AtRest)>,
}

impl Pair<'_> {
    /// Compares a slice, again and again while the two are at different positions and move on.
    async fn compare_in_time(
        &mut self,
        table: &'static Table,
        after: Option<RowKey>,
        patience: Duration,
    ) -> Result<Compared, Failure> {
        let began = Instant::now();
        let until = began + patience;
        let mut before = None;
        loop {
            let compared = self.compare(table, after.clone());
            let Some(why) = may_pass(&compared) else { return compared.map_err(Failure::of) };
            if Instant::now() >= until {
                return compared.map_err(Failure::of);
            }
            match why {
                // No replica runs on them, and each has applied what it had come to when it ended; or chance has had its time.
                May::Move(..) if before == Some(why) || began.elapsed() >= LEVEL_AFTER => {
                    match self.bring_level() {
                        Ok(true) => continue,
                        Ok(false) | Err(StoreError::Log(_)) => {}
                        Err(error) => return Err(Failure::of(error)),
                    }
                }
                May::Move(..) => {}
                May::Change => self.brought_level = None,
            }
            before = Some(why);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    fn compare(&self, table: &'static Table, after: Option<RowKey>) -> Result<Compared, StoreError> {
        if let Some((one, other)) = &self.brought_level {
            return compare_slice(one, other, table, after, ROWS);
        }
        let (one, other) = self.open()?;
        compare_slice(&one, &other, table, after, ROWS)
    }

    /// Returns whether the two are at one place now.
    fn bring_level(&mut self) -> Result<bool, StoreError> {
        if self.brought_level.is_none() {
            let (one, other) = self.open()?;
            let (one, other) = level(one, other)?;
            let is_level = one.identity().applied == other.identity().applied;
            self.brought_level = is_level.then_some((one, other));
        }
        Ok(self.brought_level.is_some())
    }

    fn open(&self) -> Result<(AtRest, AtRest), StoreError> {
        Ok((AtRest::open(self.paths[0])?, AtRest::open(self.paths[1])?))
    }
}

/// Why another look may come to something else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// They were found at these two places, and one of them may have moved on between the two looks.
    Move(Position, Position),
    /// A log is written meanwhile: what was read of it may have been neither old nor new.
    Change,
}

/// Why another look may come to something else, if it may.
fn may_pass(compared: &Result<Compared, StoreError>) -> Option<May> {
    match compared {
        Ok(Compared::Different(Difference::Position(one, other))) => Some(May::Move(*one, *other)),
        Err(StoreError::Log(_)) => Some(May::Change),
        Ok(_) | Err(_) => None,
    }
}

/// Opens a database and its log, again and again while the log can't be read.
async fn open_in_time(path: &Path, patience: Duration) -> Result<AtRest, Failure> {
    let until = Instant::now() + patience;
    loop {
        match AtRest::open(path) {
            Err(StoreError::Log(_)) if Instant::now() < until => tokio::time::sleep(AGAIN_AFTER).await,
            opened => return opened.map_err(Failure::of),
        }
    }
}

fn databases(data: &Path) -> Result<Vec<(usize, PathBuf)>, Failure> {
    let fault = |error: std::io::Error| Failure::Failed(format!("{}: {error}", data.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let index = entry.file_name().to_str().and_then(|name| name.strip_prefix("replica-")?.parse().ok());
        let path = entry.path().join(DATABASE_FILE);
        if let (Some(index), true) = (index, path.exists()) {
            found.push((index, path));
        }
    }
    found.sort_unstable();
    if found.is_empty() {
        return Err(Failure::Failed(format!("{} holds no replica's database", data.display())));
    }
    Ok(found)
}
