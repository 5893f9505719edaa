//! Reads what is synced of a log, on any thread, while the log is written.

use crate::error::LogError;
use crate::group::Entries;
use crate::segment::Part;
use crate::shared::Shared;
use protocol::{Chain, Entry, Op, Position};
use std::sync::Arc;

/// Reads the groups that are synced. All its clones read the same log, as it is at the moment of each call.
#[derive(Clone, Debug)]
pub struct LogReader(pub(crate) Arc<Shared>);

/// A part of the log, with the chain before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The chain at the op after which the piece begins; `None` where the log does not hold that op.
    pub chain: Option<Chain>,
    /// The entries after that op; none if the log does not hold it, since nothing would tell whether they follow.
    pub entries: Vec<Entry<Vec<u8>>>,
}

impl LogReader {
    /// The position after which the log begins.
    pub fn base(&self) -> Position {
        self.0.base()
    }

    /// Where the log ends.
    pub fn end(&self) -> Position {
        self.0.newest().end
    }

    /// The chain at an op; `None` where the log does not hold that op.
    pub fn chain_at(&self, op: Op) -> Result<Option<Chain>, LogError> {
        self.read(|parts| chain_at(parts, op))
    }

    /// The log after an op: at least one entry if there is one, and no more once their records have `bytes_max` bytes.
    pub fn read_after(&self, after: Op, bytes_max: usize) -> Result<Piece, LogError> {
        self.read(|parts| {
            let chain = chain_at(parts, after)?;
            let entries = if chain.is_some() { entries_after(parts, after, bytes_max)? } else { Vec::new() };
            Ok(Piece { chain, entries })
        })
    }

    /// Whether the paths of the log still lead to the files that are open; [`LogError::FilesLost`] otherwise, and perhaps while a
    /// segment is begun or recycled.
    pub fn check_files(&self) -> Result<(), LogError> {
        for Part { segment, .. } in self.0.parts().0 {
            // What can't be looked at now says nothing; that it can't be written either will show.
            if let Ok(false) = segment.file.is_at(&segment.path) {
                return Err(LogError::FilesLost { path: segment.path.clone() });
            }
        }
        Ok(())
    }

    /// What is read fails if a segment is recycled or cut meanwhile; then the log is read anew as it is after that. It never
    /// yields anything else, since each use of a segment has its own number.
    fn read<T>(&self, read: impl Fn(&[Part]) -> Result<T, LogError>) -> Result<T, LogError> {
        loop {
            let (parts, losses) = self.0.parts();
            match read(&parts) {
                Err(_) if self.0.losses() != losses => {}
                outcome => return outcome,
            }
        }
    }
}

/// The chain that these parts of a log have at an op.
pub(crate) fn chain_at(parts: &[Part], op: Op) -> Result<Option<Chain>, LogError> {
    let boundaries = parts.iter().flat_map(|part| [part.before(), part.end]);
    if let Some(position) = boundaries.into_iter().find(|position| position.op == op) {
        return Ok(Some(position.chain));
    }
    let Some(part) = parts.iter().find(|part| part.before().op < op && op < part.end.op) else {
        return Ok(None);
    };
    let (mut walk, _) = part.find(op)?;
    let entries = walk.next()?.unwrap_or_default();
    Ok(entries.iter().find(|entry| entry.op == op).map(|entry| entry.chain))
}

fn entries_after(parts: &[Part], after: Op, bytes_max: usize) -> Result<Entries, LogError> {
    let mut found: Entries = Vec::new();
    let mut bytes = 0;
    let with_more = |part: &&Part| after.max(part.before().op) < part.end.op;
    for part in parts.iter().filter(with_more) {
        let (mut walk, _) = part.find(after.next().max(part.segment.header.first()))?;
        while let Some(entries) = walk.next()? {
            for entry in entries.into_iter().filter(|entry| entry.op > after) {
                bytes += entry.record.len();
                found.push(entry);
                if bytes >= bytes_max {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}
