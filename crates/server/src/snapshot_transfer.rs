//! Snapshots on their way: a whole database from the primary to a replica that can't be brought level otherwise.

use crate::key::ClusterKey;
use crate::peers::connect;
use crate::proof::{Call, Proofs, Purpose, Side, draw_nonce};
use api::REPLICA_MESSAGE_BYTES_MAX;
use api::v1::replica_client::ReplicaClient;
use api::v1::{ChallengeRequest, FetchSnapshotRequest, SnapshotChunk};
use chat::Address;
use protocol::{Memory, ReplicaIndex};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{INCOMING_SUFFIX, LogRetention, Readers, StoreError, check_snapshot};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::warn;

/// Copies on their way out are made in folders whose names begin so.
const OUTGOING: &str = "outgoing-";
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_WAITING: usize = 8;
/// What arrives is synced whenever it has this many bytes more: the log of another replica on the same disk, for whose syncs clients
/// wait, stands still while all that was not synced is written.
const SYNC_BYTES: usize = 4 << 20;

/// Why a snapshot did not arrive.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    #[error("the sender says: {0}")]
    Sender(#[from] Status),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("it ended early")]
    Truncated,
    #[error("its checksum is wrong")]
    Damaged,
    #[error("its sender has not proven that it has the cluster's key")]
    Unproven,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The chunks of a snapshot.
pub(crate) type Chunks = ReceiverStream<Result<SnapshotChunk, Status>>;

/// Sends snapshots of this replica's database, and fetches those of others.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotSource {
    pub(crate) me: ReplicaIndex,
    pub(crate) key: ClusterKey,
    pub(crate) readers: Arc<Readers>,
    pub(crate) retention: LogRetention,
    /// Where the copy is made before it is sent.
    pub(crate) folder: PathBuf,
}

impl SnapshotSource {
    /// Copies the database and sends the copy, while writes go on, to a caller that has proven to be a replica.
    pub(crate) async fn send(&self, proofs: Proofs) -> Result<Chunks, Status> {
        let (readers, retention, folder) =
            (self.readers.clone(), self.retention.clone(), self.folder.clone());
        let copied = tokio::task::spawn_blocking(move || {
            // Inside the replica's own folder, so that it is as private as the database; gone when it is dropped.
            let copy = tempfile::Builder::new().prefix(OUTGOING).tempdir_in(&folder);
            let copy = copy.map_err(|source| TransferError::File { path: folder, source })?;
            readers.read(|reader| {
                retention.hold(reader.applied()?.op);
                reader.snapshot_to(&copy.path().join("chat.db"))
            })?;
            Ok::<_, TransferError>(copy)
        });
        let copy = copied.await.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| {
            warn!(%error, "no snapshot could be made");
            api::status::fault()
        })?;
        let (chunks, stream) = mpsc::channel(CHUNKS_WAITING);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_file(&copy.path().join("chat.db"), &proofs, &chunks) {
                warn!(%error, "a snapshot could not be read to its end");
                // An error means that the receiver has disconnected: it will ask again.
                let _ = chunks.blocking_send(Err(api::status::fault()));
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    /// Fetches a snapshot from replica `from`, puts it beside the database, gives it what it is to remember of views, and
    /// checks it.
    pub(crate) async fn fetch(
        &self,
        from: ReplicaIndex,
        address: &Address,
        database: &Path,
        memory: Option<Memory>,
    ) -> Result<(), TransferError> {
        let mut target = database.as_os_str().to_owned();
        target.push(INCOMING_SUFFIX);
        let target = PathBuf::from(target);
        let channel = connect(address).await?;
        let mut client = ReplicaClient::new(channel).max_decoding_message_size(REPLICA_MESSAGE_BYTES_MAX);
        let challenge = client.challenge(ChallengeRequest {}).await?.into_inner().challenge;
        let (replica, nonce) = (u32::from(self.me.0), draw_nonce());
        let proofs = self.key.proofs(Call {
            purpose: Purpose::Snapshot,
            caller: replica,
            called: u32::from(from.0),
            caller_nonce: &nonce,
            called_nonce: &challenge,
        });
        let proof = proofs.by(Side::Caller, &[]);
        let request = FetchSnapshotRequest { replica, nonce: nonce.to_vec(), challenge, proof };
        let mut chunks = client.fetch_snapshot(request).await?.into_inner();
        let first = chunks.message().await?.ok_or(TransferError::Truncated)?;
        if !proofs.verify(Side::Called, &[], &first.proof) {
            return Err(TransferError::Unproven);
        }
        let fault = |source| TransferError::File { path: target.clone(), source };
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut left_over = target.as_os_str().to_owned();
            left_over.push(suffix);
            match std::fs::remove_file(&left_over) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
                _ => {}
            }
        }
        let file =
            std::fs::File::options().create_new(true).write(true).mode(0o600).open(&target).map_err(fault)?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut hash, mut not_synced) = (Sha256::new(), 0);
        loop {
            let chunk = chunks.message().await?.ok_or(TransferError::Truncated)?;
            hash.update(&chunk.bytes);
            file.write_all(&chunk.bytes).await.map_err(fault)?;
            not_synced += chunk.bytes.len();
            if not_synced >= SYNC_BYTES {
                file.sync_data().await.map_err(fault)?;
                not_synced = 0;
            }
            if !chunk.sha256.is_empty() {
                if hash.finalize().as_slice() != chunk.sha256 {
                    return Err(TransferError::Damaged);
                }
                if !proofs.verify(Side::Called, &[&chunk.sha256], &chunk.proof) {
                    return Err(TransferError::Unproven);
                }
                break;
            }
        }
        file.sync_all().await.map_err(fault)?;
        drop(file);
        let checked = target.clone();
        let check = tokio::task::spawn_blocking(move || check_snapshot(&checked, memory.as_ref()));
        check.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(())
    }
}

/// Removes the copies that an earlier run of this replica was making when it was killed: each is as large as the database.
pub(crate) fn remove_left_overs(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(OUTGOING)) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn send_file(
    path: &Path,
    proofs: &Proofs,
    chunks: &mpsc::Sender<Result<SnapshotChunk, Status>>,
) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let first = SnapshotChunk { proof: proofs.by(Side::Called, &[]), ..SnapshotChunk::default() };
    if chunks.blocking_send(Ok(first)).is_err() {
        return Ok(());
    }
    let mut hash = Sha256::new();
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        let read = file.read(&mut bytes)?;
        bytes.truncate(read);
        hash.update(&bytes);
        let last = read == 0;
        let sha256 = if last { hash.clone().finalize().to_vec() } else { Vec::new() };
        let proof = if last { proofs.by(Side::Called, &[&sha256]) } else { Vec::new() };
        let gone = chunks.blocking_send(Ok(SnapshotChunk { bytes: bytes.into(), sha256, proof })).is_err();
        if last || gone {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_no_replica_will_send_any_more_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left_over = folder.path().join(format!("{OUTGOING}1"));
        std::fs::create_dir(&left_over).unwrap();
        std::fs::write(left_over.join("chat.db"), "a copy").unwrap();
        std::fs::write(folder.path().join("chat.db"), "the database").unwrap();
        remove_left_overs(folder.path()).unwrap();
        assert!(!left_over.exists() && folder.path().join("chat.db").exists());
    }
}
