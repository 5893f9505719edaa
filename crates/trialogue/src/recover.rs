//! `recover`: when the replicas that were in sync are gone for good, or the view register can't be believed, a person decides
//! what to go on with. What that is and what it costs is decided in [`protocol::recover`].

use crate::arguments::Recover;
use crate::failure::{Failure, complain};
use crate::output;
use chat::{HistoryId, Millis};
use protocol::recover::{Candidate, decide};
use protocol::{Incarnation, Position, Proposer, RegisterId, ReplicaIndex};
use server::{DATABASE_FILE, FileRegister, FolderLock, LOCK_FILE, check_data_folder};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use store::{Limits, Storage, StoreError};
use uuid::Uuid;

pub(crate) fn recover(recover: &Recover) -> Result<(), Failure> {
    let data = &recover.data;
    check_data_folder(data).map_err(Failure::of)?;
    let folders = replica_folders(data)?;
    // All of them: a replica that runs would go on in the view that this makes obsolete.
    let locks = folders.iter().map(|(_, folder)| FolderLock::acquire(folder, LOCK_FILE));
    let _locks = locks.collect::<Result<Vec<_>, _>>().map_err(Failure::of)?;
    let mut stored = Vec::new();
    let mut candidates = Vec::new();
    for (index, folder) in &folders {
        let path = folder.join(DATABASE_FILE);
        if path.exists() {
            let storage = Storage::open_undamaged(&path, limits()).map_err(Failure::of)?;
            candidates.push(candidate(*index, &storage)?);
            stored.push(storage);
        }
    }
    let register = FileRegister::open(&data.join("register")).map_err(Failure::of)?;
    let (remains, damaged) = register.remains().map_err(Failure::of)?;
    let wanted = recover.replica.map(|wanted| ReplicaIndex(u8::try_from(wanted).unwrap_or(u8::MAX)));
    let Some(recovery) = decide(&candidates, &remains, wanted) else {
        return Err(Failure::Failed(format!("{} holds no database to recover from", data.display())));
    };
    let index = recovery.chosen;
    let chosen = candidates.iter().position(|candidate| candidate.index == index);
    let chosen = chosen.expect("what was chosen is one of the candidates");
    let cost = format!("replica {index} ({}) {}", candidates[chosen].position, recovery.cost);
    if !recover.accept_data_loss {
        return Err(Failure::Failed(format!(
            "{cost}; if that is acceptable, run this again with --accept-data-loss"
        )));
    }
    for path in damaged {
        complain(&format!("{} is damaged; it is set aside", path.display()));
        register.set_aside(&path).map_err(Failure::of)?;
    }
    let position = begin_history(&mut stored[chosen], recover.set_time_back).map_err(Failure::of)?;
    let incarnation = Incarnation(Uuid::new_v4().as_u64_pair().0);
    let view = recovery.view(position, Proposer { index, incarnation, attempt: 0 });
    let id = RegisterId(Uuid::new_v4().into_bytes());
    // If this ends early, the databases and the register do not agree: no replica serves, and this can be done again.
    register.begin_again(id, &view).map_err(Failure::of)?;
    for (storage, candidate) in stored.iter_mut().zip(&candidates) {
        storage.writer.remember(&recovery.memory(candidate, id, &view)).map_err(Failure::of)?;
    }
    Ok(output::line(&format!("recovered: replica {index} leads from {position} in a new history; {cost}"))?)
}

/// Few entries are written here: the shortest segments will do, on whatever disk.
fn limits() -> Limits {
    Storage::limits(0, 0)
}

/// What a replica has is what its log has, whether or not that was committed: an acknowledged entry may be known to no other.
fn candidate(index: ReplicaIndex, storage: &Storage) -> Result<Candidate, Failure> {
    let memory = storage.writer.memory().map_err(Failure::of)?;
    let database = storage.writer.state().database;
    Ok(Candidate { index, database, position: storage.log.end(), memory })
}

/// All that is logged counts from now on, and a new history begins behind it.
fn begin_history(storage: &mut Storage, set_time_back: bool) -> Result<Position, StoreError> {
    storage.apply_all()?;
    let (history, now) = (HistoryId(Uuid::new_v4()), Millis::of(SystemTime::now()));
    let entry = if set_time_back {
        storage.writer.set_time_back(history, now)?
    } else {
        storage.writer.begin_new_history(history, now)
    };
    storage.add_committed(entry)
}

fn replica_folders(data: &Path) -> Result<Vec<(ReplicaIndex, PathBuf)>, Failure> {
    let fault = |error: std::io::Error| Failure::Failed(format!("{}: {error}", data.display()));
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(data).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let index = entry.file_name().to_str().and_then(|name| name.strip_prefix("replica-")?.parse().ok());
        folders.extend(index.map(|index| (ReplicaIndex(index), entry.path())));
    }
    folders.sort();
    Ok(folders)
}
