//! Digests of tables, a slice at a time, for those who compare replicas and have the cluster's key.

use super::{Failure, Service};
use crate::blocking::blocking;
use crate::challenges::Challenges;
use crate::key::ClusterKey;
use crate::proof::{Call, NO_REPLICA, Proofs, Purpose, Side, draw_nonce};
use api::v1::{ChallengeResponse, DigestRequest, DigestResponse, TableDigest};
use chat::Refusal;
use hmac::Mac;
use protocol::Op;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Digested, RowKey, Slice, TABLES, Table, digest_slice};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The most rows of one slice.
const ROWS_MAX: usize = 4096;
/// How long the rows of one slice may be read: a checkpoint waits as long.
const READ_AT_MOST: Duration = Duration::from_millis(500);
/// The shortest pause between two slices.
const PAUSE_AT_LEAST: Duration = Duration::from_millis(5);
/// How long a replica waits until it shows the op that it was asked for.
const WAIT_AT_MOST: Duration = Duration::from_millis(500);
/// When to come back to a replica that is reading a slice for another caller.
const AFTER_ANOTHER: Duration = Duration::from_millis(20);

/// Which slices are read when: one at a time, and with pauses, so that a replica is never busy with comparing for more than
/// half of its time.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    pub(crate) challenges: Challenges,
    /// Held while a slice is read; says from when on the next may be.
    turn: Arc<Mutex<Instant>>,
}

impl Digests {
    pub(crate) fn new(challenges: Challenges) -> Self {
        Self { challenges, turn: Arc::new(Mutex::new(Instant::now())) }
    }

    /// The turn to read a slice, or how long to wait for it.
    fn turn(&self, now: Instant) -> Result<OwnedMutexGuard<Instant>, Duration> {
        let turn = self.turn.clone().try_lock_owned().map_err(|_| AFTER_ANOTHER)?;
        let wait = turn.saturating_duration_since(now);
        if wait.is_zero() { Ok(turn) } else { Err(wait) }
    }
}

/// Ends a turn that began then.
fn rest(mut turn: OwnedMutexGuard<Instant>, began: Instant, now: Instant) {
    *turn = now + now.duration_since(began).max(PAUSE_AT_LEAST);
}

impl Service {
    /// Digests one slice of a table, and proves that it is this replica's.
    pub(crate) async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Failure> {
        let proofs = proofs_of(&self.key, &request, u32::from(self.index));
        let proven = || proofs.verify(Side::Caller, &parts(&asked(&request)), &request.proof);
        if !self.digests.challenges.take(&request.challenge, proven) {
            return Err(Refusal::ClusterKeyNeeded.into());
        }
        let slice = slice_of(&request)?;
        let turn = self.digests.turn(Instant::now()).map_err(Failure::busy_for)?;
        let mut mac = self.key.row_digests();
        let log = self.log.reader();
        let (meeting, at_op) = (self.meeting.clone(), Op(request.at_op));
        let (turn, stay) = match at_op {
            Op(0) => (turn, None),
            // The turn goes with it: a caller that gives up leaves no second reader at the meeting.
            at_op => blocking(move || (turn, Some(meeting.at(at_op, WAIT_AT_MOST)))).await,
        };
        let read = self.read_here(move |reader| {
            let began = Instant::now();
            // From its first row on the reader sees one point in time, whatever is applied meanwhile.
            reader.applied()?;
            drop(stay);
            let digested = match &slice {
                Some(slice) => digest_slice(reader, &log, slice, Instant::now() + READ_AT_MOST, |row| {
                    mac.update(&(row.len() as u64).to_be_bytes());
                    mac.update(row.as_bytes());
                })?,
                None => store::no_rows(reader, &log)?,
            };
            rest(turn, began, Instant::now());
            let tables = slice.map(|slice| TableDigest {
                table: slice.table.name.to_owned(),
                digest: mac.finalize().into_bytes().to_vec(),
            });
            Ok((digested, tables))
        });
        let (Digested { position, first_op, rows, stopped_at }, tables) = read.await?;
        let mut answer = DigestResponse {
            op: position.op.0,
            chain: position.chain.0.to_vec(),
            first_op: first_op.cast_unsigned(),
            tables: tables.into_iter().collect(),
            stopped_at: stopped_at.map(|key| key.as_bytes().to_vec()).unwrap_or_default(),
            rows: rows as u64,
            proof: Vec::new(),
        };
        answer.proof = proofs.by(Side::Called, &parts(&answered(&answer)));
        Ok(answer)
    }
}

fn slice_of(request: &DigestRequest) -> Result<Option<Slice>, Refusal> {
    if request.table.is_empty() {
        return Ok(None);
    }
    let table = TABLES.iter().find(|table| table.name == request.table);
    let table = table.ok_or_else(|| Refusal::Malformed("there is no table of that name".into()))?;
    let rows_max = usize::try_from(request.rows_max).unwrap_or(ROWS_MAX);
    Ok(Some(Slice {
        table,
        after: bound(table, &request.after)?,
        up_to: bound(table, &request.up_to)?,
        first_op: i64::try_from(request.first_op).unwrap_or(i64::MAX),
        rows_max: if rows_max == 0 { ROWS_MAX } else { rows_max.min(ROWS_MAX) },
    }))
}

fn bound(table: &Table, bytes: &[u8]) -> Result<Option<RowKey>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = RowKey::of(table, bytes);
    key.map(Some).ok_or_else(|| Refusal::Malformed(format!("that is no key of a row of {}", table.name)))
}

fn proofs_of(key: &ClusterKey, request: &DigestRequest, called: u32) -> Proofs {
    key.proofs(Call {
        purpose: Purpose::Digest,
        caller: NO_REPLICA,
        called,
        caller_nonce: &request.nonce,
        called_nonce: &request.challenge,
    })
}

/// Completes a request with the proof that belongs to a replica's challenge; the proofs verify its answer.
pub fn prove_digest_request(
    key: &ClusterKey,
    request: DigestRequest,
    given: ChallengeResponse,
) -> (DigestRequest, Proofs) {
    let nonce = draw_nonce().to_vec();
    let mut request = DigestRequest { nonce, challenge: given.challenge, ..request };
    let proofs = proofs_of(key, &request, given.replica);
    request.proof = proofs.by(Side::Caller, &parts(&asked(&request)));
    (request, proofs)
}

/// Whether the replica that was asked has given this answer.
pub fn digest_answer_is_proven(proofs: &Proofs, answer: &DigestResponse) -> bool {
    proofs.verify(Side::Called, &parts(&answered(answer)), &answer.proof)
}

/// What a caller's proof covers.
fn asked(request: &DigestRequest) -> Vec<Vec<u8>> {
    vec![
        request.first_op.to_be_bytes().to_vec(),
        request.table.clone().into_bytes(),
        request.after.clone(),
        request.up_to.clone(),
        request.rows_max.to_be_bytes().to_vec(),
        request.at_op.to_be_bytes().to_vec(),
    ]
}

/// What a replica's proof covers.
fn answered(answer: &DigestResponse) -> Vec<Vec<u8>> {
    let mut parts = vec![
        answer.op.to_be_bytes().to_vec(),
        answer.chain.clone(),
        answer.first_op.to_be_bytes().to_vec(),
        answer.stopped_at.clone(),
        answer.rows.to_be_bytes().to_vec(),
    ];
    for table in &answer.tables {
        parts.extend([table.table.clone().into_bytes(), table.digest.clone()]);
    }
    parts
}

fn parts(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_read_one_at_a_time_and_a_replica_rests_as_long_as_it_read() {
        let digests = Digests::new(Challenges::new());
        let began = Instant::now() + Duration::from_secs(1);
        let turn = digests.turn(began).unwrap();
        assert_eq!(digests.turn(began).unwrap_err(), AFTER_ANOTHER);
        let took = Duration::from_millis(300);
        rest(turn, began, began + took);
        assert_eq!(digests.turn(began + took).unwrap_err(), took);
        let turn = digests.turn(began + 2 * took).unwrap();
        rest(turn, began, began);
        assert_eq!(digests.turn(began).unwrap_err(), PAUSE_AT_LEAST);
    }

    #[test]
    fn a_proof_covers_what_is_asked_and_what_is_answered() {
        let key = ClusterKey::from_bytes([7; 32]);
        let given = ChallengeResponse { challenge: vec![1; 32], replica: 2, ..ChallengeResponse::default() };
        let plain = DigestRequest { table: "messages".into(), rows_max: 7, ..DigestRequest::default() };
        let (request, proofs) = prove_digest_request(&key, plain.clone(), given.clone());
        let verified = |request: &DigestRequest, called| {
            proofs_of(&key, request, called).verify(Side::Caller, &parts(&asked(request)), &request.proof)
        };
        assert!(verified(&request, 2));
        assert!(!verified(&request, 1), "another replica");
        let others = [
            DigestRequest { first_op: 1, ..request.clone() },
            DigestRequest { table: "accounts".into(), ..request.clone() },
            DigestRequest { after: vec![1], ..request.clone() },
            DigestRequest { up_to: vec![1], ..request.clone() },
            DigestRequest { rows_max: 8, ..request.clone() },
            DigestRequest { at_op: 9, ..request.clone() },
            DigestRequest { challenge: vec![2; 32], ..request.clone() },
            DigestRequest { nonce: vec![2; 32], ..request.clone() },
        ];
        for other in others {
            assert!(!verified(&other, 2), "{other:?}");
        }
        let tables = vec![TableDigest { table: "messages".into(), digest: vec![3; 32] }];
        let mut answer = DigestResponse { op: 4, tables, ..DigestResponse::default() };
        answer.proof = proofs.by(Side::Called, &parts(&answered(&answer)));
        assert!(digest_answer_is_proven(&proofs, &answer));
        let others = [
            DigestResponse { op: 5, ..answer.clone() },
            DigestResponse { chain: vec![1], ..answer.clone() },
            DigestResponse { first_op: 1, ..answer.clone() },
            DigestResponse { stopped_at: vec![1], ..answer.clone() },
            DigestResponse { rows: 1, ..answer.clone() },
            DigestResponse { tables: vec![], ..answer.clone() },
        ];
        for other in others {
            assert!(!digest_answer_is_proven(&proofs, &other), "{other:?}");
        }
        let (_, later) = prove_digest_request(&key, plain, given);
        assert!(!digest_answer_is_proven(&later, &answer), "an answer of an earlier call");
    }
}
