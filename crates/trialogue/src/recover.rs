//! `recover`: when the replicas that were in sync are gone for good, a person decides what to go on with.

use crate::arguments::Recover;
use crate::failure::{Failure, complain};
use crate::output;
use chat::{HistoryId, Millis};
use protocol::{Incarnation, Member, Proposer, ReplicaIndex, ReplicaSet, SwapOutcome, View, ViewNumber};
use server::{DATABASE_FILE, FileRegister, FolderLock, LOCK_FILE, RegisterError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use store::{LogRetention, Writer};
use uuid::Uuid;

pub(crate) fn recover(recover: &Recover) -> Result<(), Failure> {
    let data = &recover.data;
    let folders = replica_folders(data)?;
    // All of them: a replica that runs would go on in the view that this makes obsolete.
    let locks = folders.iter().map(|(_, folder)| FolderLock::acquire(folder, LOCK_FILE));
    let _locks = locks.collect::<Result<Vec<_>, _>>().map_err(Failure::of)?;
    let mut writers = Vec::new();
    for (index, folder) in &folders {
        let path = folder.join(DATABASE_FILE);
        if path.exists() {
            writers.push((*index, Writer::open(&path, LogRetention::keep(u64::MAX)).map_err(Failure::of)?));
        }
    }
    let chosen = match recover.replica {
        Some(wanted) => writers.into_iter().find(|(index, _)| usize::from(index.0) == wanted),
        None => writers
            .into_iter()
            .max_by_key(|(index, writer)| (writer.identity().position.op, std::cmp::Reverse(*index))),
    };
    let Some((index, mut writer)) = chosen else {
        return Err(Failure::Failed(format!("{} holds no database to recover from", data.display())));
    };
    let register = FileRegister::open(&data.join("register")).map_err(Failure::of)?;
    let current = match register.read_now() {
        Err(RegisterError::Damaged { path, what }) if recover.accept_data_loss => {
            complain(&format!("{} is damaged ({what}); it is set aside", path.display()));
            register.set_aside(&path).map_err(Failure::of)?;
            register.read_now()
        }
        read => read,
    };
    let current = current.map_err(Failure::of)?;
    let identity = writer.identity();
    let cost = cost(index, identity, current.as_ref());
    if !recover.accept_data_loss {
        return Err(Failure::Failed(format!(
            "{cost}; if that is acceptable, run this again with --accept-data-loss"
        )));
    }
    let position = writer
        .begin_new_history(HistoryId(Uuid::new_v4()), Millis::of(SystemTime::now()))
        .map_err(Failure::of)?;
    let mut members = current.as_ref().map(|view| view.members.clone()).unwrap_or_default();
    members.retain(|member| member.index != index);
    members.push(Member { index, database: identity.database });
    members.sort_by_key(|member| member.index);
    let view = View {
        number: current.as_ref().map_or(ViewNumber(1), |view| view.number.next()),
        members,
        in_sync: ReplicaSet::EMPTY.with(index),
        op: position.op,
        proposed_by: Proposer { index, incarnation: Incarnation(Uuid::new_v4().as_u64_pair().0), attempt: 0 },
    };
    match register.swap_now(&view).map_err(Failure::of)? {
        SwapOutcome::Installed => {}
        SwapOutcome::Superseded(other) => {
            return Err(Failure::Failed(format!("someone else has installed {other}")));
        }
        SwapOutcome::Unknown => {
            return Err(Failure::Failed("the view register did not keep the view; try again".into()));
        }
    }
    Ok(output::line(&format!("recovered: replica {index} leads from {position} in a new history; {cost}"))?)
}

/// What it costs to go on with this replica.
fn cost(index: ReplicaIndex, identity: store::Identity, current: Option<&View>) -> String {
    match current {
        Some(view) if view.holds(index, identity.database, identity.position) => {
            format!(
                "replica {index} ({}) was in sync by {view}: no acknowledged message is lost",
                identity.position
            )
        }
        Some(view) => format!(
            "replica {index} ({}) was not in sync by {view}: messages acknowledged after it fell out are lost",
            identity.position
        ),
        None => format!(
            "the view register is empty, so nobody knows whether replica {index} ({}) holds every acknowledged message",
            identity.position
        ),
    }
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
