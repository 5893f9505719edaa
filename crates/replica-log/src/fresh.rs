//! A fresh segment: how the log goes on at a start, after a failed sync, after a cut, and when a segment is full.
//!
//! It is written under another name, synced, renamed, and the folder synced. Until it is renamed nothing has changed. From
//! then on it is the newest, and what it does not continue is void.

use crate::error::LogError;
use crate::group::{self, Frame};
use crate::header::{FIRST_GROUP, Header, Previous};
use crate::segment::{Part, Segment};
use crate::spares::Spares;
use files::Files;
use protocol::{DatabaseId, Entry, Position};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file's length is a multiple of, in bytes.
const PAGE_BYTES: u64 = 4096;

/// Where a fresh segment belongs, and what it begins with.
#[derive(Debug)]
pub(crate) struct Begin<'a> {
    pub(crate) sequence: u64,
    pub(crate) database: DatabaseId,
    pub(crate) before: Position,
    pub(crate) previous: Option<Previous>,
    pub(crate) committed: Position,
    /// The entries of its first group; it has none yet if there are none.
    pub(crate) entries: &'a [Entry<Vec<u8>>],
    /// The length of the file, if the group that is to come does not need more.
    pub(crate) segment_bytes: u64,
    /// The length of the group that is to come.
    pub(crate) room: u64,
}

/// A segment that is synced and has not got its name.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) part: Part,
    /// Of its group; 0 if it has none.
    pub(crate) checksum: u32,
    draft: PathBuf,
}

impl Fresh {
    pub(crate) fn write(spares: &Spares, folder: &Path, begin: &Begin<'_>) -> Result<Self, LogError> {
        // Never 0, which stands for no use at all.
        let number = rand::random::<u64>() | 1;
        let mut group = Vec::new();
        let mut checksum = 0;
        if !begin.entries.is_empty() {
            let frame = Frame { number, first: begin.before.op.next(), after: 0, committed: begin.committed };
            let entries = begin.entries.iter().map(|entry| (entry.chain, entry.record.as_slice()));
            checksum = group::encode(&mut group, frame, entries);
        }
        let end = begin.entries.last().map_or(begin.before, Entry::position);
        let needed = FIRST_GROUP + begin.room.max(group.len() as u64);
        let header = Header {
            number,
            sequence: begin.sequence,
            length: begin.segment_bytes.max(needed.next_multiple_of(PAGE_BYTES)),
            database: begin.database,
            before: begin.before,
            synced: end.op,
            committed: begin.committed,
            previous: begin.previous,
        };
        let mut bytes = header.encoded();
        bytes.append(&mut group);
        let end_at = bytes.len() as u64;
        let blank = spares.blank(header.length)?;
        let written = blank.file.write_at(&bytes, 0).and_then(|()| blank.file.sync());
        // A file whose sync failed is of no use any more, not even as a spare one.
        written.map_err(LogError::file(&blank.path)).inspect_err(|_| spares.discard(&blank.path))?;
        let path = folder.join(Segment::name(header.first()));
        let segment = Arc::new(Segment::new(header, path, blank.file));
        Ok(Self { part: Part { segment, end_at, end }, checksum, draft: blank.path })
    }

    /// Gives the segment its name. After an error it may have it or not.
    pub(crate) fn install(&self, files: &dyn Files, spares: &Spares, folder: &Path) -> Result<(), LogError> {
        let renamed = files.rename(&self.draft, &self.part.segment.path);
        renamed.map_err(LogError::file(&self.draft)).inspect_err(|_| spares.discard(&self.draft))?;
        files.sync_folder(folder).map_err(LogError::file(folder))
    }
}
