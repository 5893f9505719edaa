//! `verify`: proves that replicas hold the same history.

use crate::account::client_of;
use crate::arguments::{Common, Verify};
use crate::failure::Failure;
use crate::output;
use data_encoding::HEXLOWER;
use server::DATABASE_FILE;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Difference, Reader, compare, open_existing_read_only};
use tokio::time::Instant;

/// While writes go on, replicas are compared again until they are met at the same op.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

pub(crate) async fn verify(common: &Common, verify: &Verify) -> Result<(), Failure> {
    match &verify.data {
        Some(data) => Ok(output::line(&verify_data(data, common.timeout).await?)?),
        None => verify_servers(common).await,
    }
}

/// Compares the databases in a folder, row by row; says what they have in common.
pub(crate) async fn verify_data(data: &Path, patience: Duration) -> Result<String, Failure> {
    let databases = databases(data)?;
    let until = Instant::now() + patience;
    loop {
        match first_difference(&databases)? {
            None => break,
            // One of them may have moved on between the two looks.
            Some((_, _, Difference::Position(..))) if Instant::now() < until => {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Some((one, other, difference)) => {
                return Err(Failure::Failed(format!(
                    "replica {one} and replica {other} differ: {difference}"
                )));
            }
        }
    }
    let (_, path) = &databases[0];
    let connection = open_existing_read_only(path).map_err(Failure::of)?;
    let position = Reader::on(&connection, path).identity().map_err(Failure::of)?.position;
    Ok(format!("{} replicas are the same: {position}", databases.len()))
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

fn first_difference(databases: &[(usize, PathBuf)]) -> Result<Option<(usize, usize, Difference)>, Failure> {
    let (first, first_path) = &databases[0];
    for (other, other_path) in &databases[1..] {
        let one = begin(first_path)?;
        let two = begin(other_path)?;
        let found =
            compare(&Reader::on(&one, first_path), &Reader::on(&two, other_path)).map_err(Failure::of)?;
        if let Some(difference) = found {
            return Ok(Some((*first, *other, difference)));
        }
    }
    Ok(None)
}

/// A connection that sees one point in time.
fn begin(path: &Path) -> Result<impl std::ops::Deref<Target = rusqlite::Connection> + use<>, Failure> {
    let connection = open_existing_read_only(path).map_err(Failure::of)?;
    connection
        .execute_batch("BEGIN")
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(Box::new(connection))
}

async fn verify_servers(common: &Common) -> Result<(), Failure> {
    let client = client_of(common);
    let replicas = client.replicas().await;
    if replicas.iter().all(|replica| replica.heartbeat.is_none()) {
        return Err(Failure::NobodyServed("no replica answers".into()));
    }
    let until = Instant::now() + common.timeout;
    loop {
        let mut first_op = 0;
        let mut digests = Vec::new();
        // Twice, so that all know from where on all of them still have their logs.
        for _ in 0..2 {
            digests.clear();
            for (index, replica) in replicas.iter().enumerate() {
                let digest = client.digest(&replica.address, first_op).await;
                let digest = digest.ok_or_else(|| {
                    Failure::Failed(format!("replica {index} at {} does not answer", replica.address))
                })?;
                digests.push(digest);
            }
            first_op = digests.iter().map(|digest| digest.first_op).max().unwrap_or(0);
        }
        let first = &digests[0];
        let moved = digests.iter().any(|digest| digest.op != first.op);
        if moved && Instant::now() < until {
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        }
        for (index, digest) in digests.iter().enumerate().skip(1) {
            if (digest.op, &digest.chain) != (first.op, &first.chain) {
                return Err(Failure::Failed(format!(
                    "replica 0 and replica {index} differ: op {} chain {:.8} and op {} chain {:.8}",
                    first.op,
                    HEXLOWER.encode(&first.chain),
                    digest.op,
                    HEXLOWER.encode(&digest.chain)
                )));
            }
            if let Some((table, _)) =
                digest.tables.iter().zip(&first.tables).find(|(one, other)| one != other)
            {
                return Err(Failure::Failed(format!(
                    "replica 0 and replica {index} differ in table {}",
                    table.table
                )));
            }
        }
        return Ok(output::line(&format!(
            "{} replicas are the same: op {} chain {:.8}",
            digests.len(),
            first.op,
            HEXLOWER.encode(&first.chain)
        ))?);
    }
}
