//! Comparing replicas by what they say of themselves: digests of slices of their tables.
//!
//! Writes go on meanwhile, and each replica answers from its own point in time. A slice whose rows are the same on all
//! replicas is done with, whenever each of them was read. One that is not the same is looked at again, in ever smaller
//! pieces and at an op that all replicas are about to come to, until it is the same too, or until it is certain that the
//! replicas differ.

use super::AGAIN_AFTER;
use super::pace::Pace;
use crate::failure::Failure;
use chat::Address;
use client::Client;
use data_encoding::HEXLOWER;
use protocol::Op;
use server::{ClusterKey, digest_answer_is_proven, prove_digest_request};
use std::time::Duration;
use store::{RowKey, TABLES, Table};
use tokio::time::Instant;

/// Rows of a slice at first.
const ROWS: u32 = 4096;
/// Pieces into which a slice is cut that was not the same everywhere.
const PIECES: u32 = 16;

/// The op at which all replicas are to read is this far ahead: longer than it takes to ask them, and shorter than they wait.
const AHEAD: Duration = Duration::from_millis(100);

/// At which op rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At the one that each replica shows.
    Now,
    /// At the same one on all of them, if they come to it in time.
    Together,
}

/// Rows of a table by their keys, as bytes; an empty bound is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    table: &'static Table,
    after: Vec<u8>,
    up_to: Vec<u8>,
}

/// What one replica said of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    op: u64,
    chain: Vec<u8>,
    digest: Vec<u8>,
    stopped_at: Vec<u8>,
}

/// A range that was not the same on all replicas.
#[derive(Debug)]
struct Suspect {
    range: Range,
    /// Rows of a piece when it is looked at again.
    rows: u32,
    /// What each replica said of exactly this range the last time, if it was looked at.
    looks: Vec<Look>,
}

struct Comparison<'a> {
    client: &'a Client,
    key: ClusterKey,
    addresses: Vec<Address>,
    /// From here on all of them have their logs, as far as is known.
    first_op: u64,
    /// Where each log ended when the comparison began.
    began: Vec<u64>,
    pace: Pace,
}

/// Compares the replicas; says what they have in common.
pub(super) async fn verify_servers(
    client: &Client,
    key: ClusterKey,
    patience: Duration,
) -> Result<String, Failure> {
    let replicas = client.replicas().await;
    if replicas.iter().all(|replica| replica.heartbeat.is_none()) {
        return Err(Failure::NobodyServed("no replica answers".into()));
    }
    let addresses = replicas.into_iter().map(|replica| replica.address).collect();
    let mut comparison =
        Comparison { client, key, addresses, first_op: 0, began: Vec::new(), pace: Pace::new() };
    comparison.begin().await?;
    let mut suspects = Vec::new();
    for table in &TABLES {
        let whole = Range { table, after: Vec::new(), up_to: comparison.end_of(table) };
        suspects.extend(comparison.walk(&whole, ROWS, u32::MAX, When::Now).await?);
    }
    let until = Instant::now() + patience;
    while !suspects.is_empty() {
        if Instant::now() >= until {
            return Err(comparison.undecided(&suspects).await?);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
        let mut left = Vec::new();
        for suspect in suspects {
            // A replica that is behind is waited for with every piece.
            if Instant::now() < until {
                left.extend(comparison.again(suspect).await?);
            } else {
                left.push(suspect);
            }
        }
        suspects = left;
    }
    let ends = comparison.positions().await?;
    let end = &ends[0];
    Ok(format!(
        "{} replicas are the same: op {} chain {:.8}",
        ends.len(),
        end.op,
        HEXLOWER.encode(&end.chain)
    ))
}

impl Comparison<'_> {
    /// Learns where each log begins and ends.
    async fn begin(&mut self) -> Result<(), Failure> {
        self.began = self.positions().await?.iter().map(|look| look.op).collect();
        Ok(())
    }

    /// The last row that is compared. Of the log that is what a replica had shown when the comparison began: its rows never
    /// change, and none of those that come meanwhile need be met at one op.
    fn end_of(&self, table: &Table) -> Vec<u8> {
        let began = Op(self.began.iter().copied().max().unwrap_or(0));
        if table.is_log() { RowKey::of_op(began).as_bytes().to_vec() } else { Vec::new() }
    }

    /// Where each log ends now.
    async fn positions(&mut self) -> Result<Vec<Look>, Failure> {
        self.look("", &[], &[], 0, When::Now).await
    }

    /// Compares a range slice by slice, `slices` at most; gives those that are not the same everywhere, and what is left.
    async fn walk(
        &mut self,
        range: &Range,
        rows: u32,
        slices: u32,
        when: When,
    ) -> Result<Vec<Suspect>, Failure> {
        let mut suspects = Vec::new();
        let mut after = range.after.clone();
        for _ in 0..slices {
            let (looks, end) =
                self.slice(&Range { after: after.clone(), ..range.clone() }, rows, when).await?;
            let up_to = end.clone().unwrap_or_else(|| range.up_to.clone());
            if looks.iter().any(|look| look.digest != looks[0].digest) {
                let range = Range { after: after.clone(), up_to, ..range.clone() };
                let suspect = Suspect { range, rows: (rows / PIECES).max(1), looks };
                suspect.check_positions()?;
                suspects.push(suspect);
            }
            match end {
                Some(end) => after = end,
                None => return Ok(suspects),
            }
        }
        suspects.push(Suspect { range: Range { after, ..range.clone() }, rows: ROWS, looks: Vec::new() });
        Ok(suspects)
    }

    /// Looks again at a range that was not the same everywhere.
    async fn again(&mut self, before: Suspect) -> Result<Vec<Suspect>, Failure> {
        // The log lets go of its first rows meanwhile: the sooner they are read, the better.
        let when = if before.range.table.is_log() { When::Now } else { When::Together };
        let mut left = self.walk(&before.range, before.rows, PIECES, when).await?;
        if let [now] = &mut *left
            && now.range == before.range
        {
            now.check_against(&before)?;
        }
        Ok(left)
    }

    /// What each replica says of the same rows: those behind `range.after`, up to the key that is given with it, or up to
    /// the end of the range.
    async fn slice(
        &mut self,
        range: &Range,
        rows: u32,
        when: When,
    ) -> Result<(Vec<Look>, Option<Vec<u8>>), Failure> {
        let mut up_to = range.up_to.clone();
        loop {
            let mut looks = self.look(range.table.name, &range.after, &up_to, rows, when).await?;
            for look in &mut looks {
                if look.stopped_at == up_to {
                    look.stopped_at.clear();
                }
            }
            let stopped =
                looks.iter().map(|look| &look.stopped_at).filter(|key| !key.is_empty()).min().cloned();
            match stopped {
                None if up_to == range.up_to => return Ok((looks, None)),
                None => return Ok((looks, Some(up_to))),
                Some(key) if looks.iter().all(|look| look.stopped_at == key) => {
                    return Ok((looks, Some(key)));
                }
                // They stopped at different rows: once more, up to where the first of them did.
                Some(key) => up_to = key,
            }
        }
    }

    /// Asks all replicas at once.
    async fn look(
        &mut self,
        table: &str,
        after: &[u8],
        up_to: &[u8],
        rows: u32,
        when: When,
    ) -> Result<Vec<Look>, Failure> {
        loop {
            let first_op = self.first_op;
            let at_op = match when {
                When::Now => 0,
                When::Together => self.pace.op_in(AHEAD),
            };
            let asked = self.addresses.iter().enumerate().map(|(index, address)| {
                let request = api::v1::DigestRequest {
                    first_op,
                    table: table.to_owned(),
                    after: after.to_vec(),
                    up_to: up_to.to_vec(),
                    rows_max: rows,
                    at_op,
                    ..api::v1::DigestRequest::default()
                };
                self.ask(index, address, request)
            });
            let answers = futures_util::future::try_join_all(asked).await?;
            self.pace.seen(Instant::now(), answers.iter().map(|(_, look)| look.op).max().unwrap_or(0));
            self.first_op = answers.iter().map(|(first_op, _)| *first_op).fold(first_op, u64::max);
            // A log may have been pruned meanwhile: then its slice is looked at anew, from where all of them have it.
            if self.first_op == first_op || table != "log" {
                return Ok(answers.into_iter().map(|(_, look)| look).collect());
            }
        }
    }

    async fn ask(
        &self,
        index: usize,
        address: &Address,
        request: api::v1::DigestRequest,
    ) -> Result<(u64, Look), Failure> {
        let mut proofs = None;
        let answer = self.client.digest(address, |given| {
            let (request, expected) = prove_digest_request(&self.key, request.clone(), given);
            proofs = Some(expected);
            request
        });
        let answer = answer.await.map_err(|error| {
            Failure::Failed(format!("replica {index} at {address} gave no digest: {error}"))
        })?;
        if !proofs.is_some_and(|proofs| digest_answer_is_proven(&proofs, &answer)) {
            return Err(Failure::Failed(format!(
                "what answers at {address} for replica {index} has not proven that it has the cluster's key"
            )));
        }
        let digest = answer.tables.into_iter().next().map(|table| table.digest).unwrap_or_default();
        let look = Look { op: answer.op, chain: answer.chain, digest, stopped_at: answer.stopped_at };
        Ok((answer.first_op, look))
    }

    /// Why the time was not enough: a replica is behind, or what is left changes too often.
    async fn undecided(&mut self, suspects: &[Suspect]) -> Result<Failure, Failure> {
        let began = self.began.clone();
        let ends = self.positions().await?;
        let ahead = ends.iter().map(|end| end.op).max().unwrap_or(0);
        for (index, end) in ends.iter().enumerate() {
            if end.op == began[index] && end.op < ahead {
                let other = usize::from(index == 0);
                return Ok(Failure::Failed(differ(other, &ends[other], index, end)));
            }
        }
        Ok(Failure::Failed(format!(
            "rows of table {} change too often to be compared; try again with a longer --timeout, or when less is written",
            suspects[0].range.table.name
        )))
    }
}

impl Suspect {
    /// Replicas at the same position must have the same rows.
    fn check_positions(&self) -> Result<(), Failure> {
        for (index, look) in self.looks.iter().enumerate() {
            for (other, at_other) in self.looks.iter().enumerate().take(index) {
                let same_position = (look.op, &look.chain) == (at_other.op, &at_other.chain);
                if same_position && look.digest != at_other.digest {
                    return Err(self.differ(other, index));
                }
                if look.op == at_other.op && look.chain != at_other.chain {
                    return Err(Failure::Failed(differ(other, at_other, index, look)));
                }
            }
        }
        Ok(())
    }

    /// A replica's rows that stayed as they were while another's log ended in between must be the same as the other's.
    fn check_against(&self, before: &Self) -> Result<(), Failure> {
        for (index, (earlier, now)) in before.looks.iter().zip(&self.looks).enumerate() {
            for (other, look) in self.looks.iter().chain(&before.looks).enumerate() {
                let other = other % self.looks.len();
                let stayed = earlier.digest == now.digest;
                if stayed && (earlier.op..=now.op).contains(&look.op) && look.digest != now.digest {
                    return Err(self.differ(index.min(other), index.max(other)));
                }
            }
        }
        Ok(())
    }

    fn differ(&self, one: usize, other: usize) -> Failure {
        Failure::Failed(format!(
            "replica {one} and replica {other} differ in table {}",
            self.range.table.name
        ))
    }
}

fn differ(one: usize, at_one: &Look, other: usize, at_other: &Look) -> String {
    format!(
        "replica {one} and replica {other} differ: op {} chain {:.8} and op {} chain {:.8}",
        at_one.op,
        HEXLOWER.encode(&at_one.chain),
        at_other.op,
        HEXLOWER.encode(&at_other.chain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(op: u64, digest: u8) -> Look {
        Look { op, chain: vec![0], digest: vec![digest], stopped_at: Vec::new() }
    }

    fn suspect(looks: Vec<Look>) -> Suspect {
        let range = Range { table: &TABLES[4], after: Vec::new(), up_to: vec![1] };
        Suspect { range, rows: 1, looks }
    }

    #[test]
    fn what_differs_at_one_position_differs_and_what_differs_at_two_may_only_have_moved_on() {
        assert!(suspect(vec![look(7, 1), look(7, 2)]).check_positions().is_err());
        assert!(suspect(vec![look(7, 1), look(8, 2)]).check_positions().is_ok());
        let fork = Look { chain: vec![9], ..look(7, 2) };
        let said = suspect(vec![look(7, 1), fork]).check_positions().unwrap_err().sentence();
        assert!(
            said.starts_with("replica 0 and replica 1 differ: op 7 chain 00 and op 7 chain 09"),
            "{said}"
        );
    }

    #[test]
    fn what_stayed_while_another_was_read_in_between_must_be_the_same() {
        let cases = [
            // Replica 0 stayed as it was from 10 to 20, and replica 1 was something else at 19.
            (vec![look(10, 1), look(9, 2)], vec![look(20, 1), look(19, 2)], false),
            // Both changed: nothing is certain.
            (vec![look(10, 1), look(9, 2)], vec![look(20, 3), look(19, 4)], true),
            // Replica 1 is behind all that replica 0 was looked at for.
            (vec![look(10, 1), look(2, 2)], vec![look(20, 1), look(3, 4)], true),
            // Replica 1 stayed, and replica 0 was in between the first time.
            (vec![look(10, 1), look(9, 2)], vec![look(20, 3), look(11, 2)], false),
        ];
        for (before, now, certain) in cases {
            let told = format!("{before:?} {now:?}");
            let outcome = suspect(now).check_against(&suspect(before));
            assert_eq!(outcome.is_ok(), certain, "{told}");
        }
    }
}
