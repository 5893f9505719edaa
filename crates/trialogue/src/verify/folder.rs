//! Comparing the databases in a folder, row by row, a slice at a time.

use super::AGAIN_AFTER;
use crate::failure::Failure;
use server::DATABASE_FILE;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Compared, Difference, Reader, RowKey, TABLES, Table, compare_slice, open_at_rest};
use tokio::time::Instant;

/// Rows of a slice: for as long as they are compared, a checkpoint of those databases waits.
const ROWS: usize = 4096;

/// Compares the databases in a folder, row by row; says what they have in common.
pub(crate) async fn verify_data(data: &Path, patience: Duration) -> Result<String, Failure> {
    let databases = databases(data)?;
    let (first, first_path) = &databases[0];
    for (other, other_path) in &databases[1..] {
        let differ =
            |difference| Failure::Failed(format!("replica {first} and replica {other} differ: {difference}"));
        for table in &TABLES {
            let mut after = None;
            loop {
                match compare_in_time(first_path, other_path, table, after, patience).await? {
                    Compared::Same(Some(more)) => after = Some(more),
                    Compared::Same(None) => break,
                    Compared::Different(difference) => return Err(differ(difference)),
                }
            }
        }
    }
    let connection = open_at_rest(first_path).map_err(Failure::of)?;
    let position = Reader::on(&connection, first_path).identity().map_err(Failure::of)?.position;
    Ok(format!("{} replicas are the same: {position}", databases.len()))
}

/// Compares a slice, again and again while the two are at different positions.
async fn compare_in_time(
    one: &Path,
    other: &Path,
    table: &'static Table,
    after: Option<RowKey>,
    patience: Duration,
) -> Result<Compared, Failure> {
    let until = Instant::now() + patience;
    loop {
        let (at_one, at_other) = (begin(one)?, begin(other)?);
        let (reader, of_other) = (Reader::on(&at_one, one), Reader::on(&at_other, other));
        let compared = compare_slice(&reader, &of_other, table, after.clone(), ROWS).map_err(Failure::of)?;
        // One of them may have moved on between the two looks.
        if !matches!(compared, Compared::Different(Difference::Position(..))) || Instant::now() >= until {
            return Ok(compared);
        }
        drop((at_one, at_other));
        tokio::time::sleep(AGAIN_AFTER).await;
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

/// A connection that sees one point in time.
fn begin(path: &Path) -> Result<impl std::ops::Deref<Target = rusqlite::Connection> + use<>, Failure> {
    let connection = open_at_rest(path).map_err(Failure::of)?;
    connection
        .execute_batch("BEGIN")
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(Box::new(connection))
}
