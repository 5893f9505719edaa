//! What a folder holds of a log, without a change to it.

use crate::error::LogError;
use crate::group::Entries;
use crate::groups::{Groups, Place};
use crate::header::FIRST_GROUP;
use crate::segment::{Part, Segment};
use crate::spares;
use files::Files;
use protocol::{DatabaseId, Entry, Position};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a log, before anything but headers was read.
#[derive(Debug)]
pub(crate) struct Listing {
    folder: PathBuf,
    /// In the order of their uses.
    pub(crate) segments: Vec<Segment>,
    /// Segments that were prepared and not used.
    pub(crate) spares: Vec<PathBuf>,
    /// Files that were being made when the process ended.
    pub(crate) drafts: Vec<PathBuf>,
}

/// The log that the files hold.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The parts of the log, oldest first; at least one.
    pub(crate) parts: Vec<Part>,
    /// The last group of the newest segment, if it has any.
    pub(crate) last: Option<LastGroup>,
    /// The highest commit point that the newest segment has.
    pub(crate) committed: Position,
    /// Segments whose whole content is void.
    pub(crate) void: Vec<Segment>,
}

/// A group that no later one proves to have been synced.
#[derive(Debug)]
pub(crate) struct LastGroup {
    /// Where it begins.
    pub(crate) at: u64,
    /// The position before its first entry.
    pub(crate) before: Position,
    pub(crate) entries: Entries,
}

impl Listing {
    /// Reads the headers in a folder; none if there is no such folder.
    pub(crate) fn read(files: &dyn Files, folder: &Path, read_only: bool) -> Result<Self, LogError> {
        let mut listing =
            Self { folder: folder.to_owned(), segments: Vec::new(), spares: Vec::new(), drafts: Vec::new() };
        let names = match files.names(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(LogError::file(folder))?,
        };
        for name in names {
            let path = folder.join(&name);
            if spares::is_spare(&name) {
                listing.spares.push(path);
            } else if spares::is_draft(&name) {
                listing.drafts.push(path);
            } else if let Some(first) = Segment::first_by_name(&name) {
                listing.segments.push(Segment::open(files, path, first, read_only)?);
            }
        }
        listing.segments.sort_by_key(|segment| segment.header.sequence);
        Ok(listing)
    }

    /// Whose log the newest segment says that it is.
    pub(crate) fn database(&self) -> Option<DatabaseId> {
        self.segments.last().map(|newest| newest.header.database)
    }

    /// The highest place that a use has; 0 if there is none.
    pub(crate) fn sequence(&self) -> u64 {
        self.segments.last().map_or(0, |newest| newest.header.sequence)
    }

    /// Follows the segments from the newest to the oldest, and reads the newest to its end.
    pub(crate) fn survey(self) -> Result<Survey, LogError> {
        let mut older = self.segments;
        let newest = older.pop().ok_or(LogError::Missing { folder: self.folder })?;
        let Tail { end_at, end, last, committed } = read_to_end(&newest)?;
        let mut parts = vec![Part { segment: Arc::new(newest), end_at, end }];
        let mut void = Vec::new();
        // In the reverse order of their uses: whatever is not continued was superseded.
        for segment in older.into_iter().rev() {
            let next = &parts[parts.len() - 1].segment.header;
            match next.previous.filter(|previous| previous.number == segment.header.number) {
                Some(previous) => {
                    let (end_at, end) = (previous.end, next.before);
                    let length = segment.file.length().map_err(LogError::file(&segment.path))?;
                    let what = if segment.header.database != next.database {
                        Some("it belongs to another database than what continues it")
                    } else if segment.header.before.op >= end.op {
                        Some("what continues it begins before it")
                    } else if length < end_at {
                        Some("it was cut short")
                    } else {
                        None
                    };
                    if let Some(what) = what {
                        return Err(LogError::damaged(&segment.path, segment.header.first(), what));
                    }
                    parts.push(Part { segment: Arc::new(segment), end_at, end });
                }
                None => void.push(segment),
            }
        }
        parts.reverse();
        Ok(Survey { parts, last, committed, void })
    }
}

struct Tail {
    end_at: u64,
    end: Position,
    last: Option<LastGroup>,
    committed: Position,
}

/// Reads the newest segment up to the first group that is not sound. That one is the torn end of the last write, unless
/// something proves that it was synced: then it is damage.
fn read_to_end(newest: &Segment) -> Result<Tail, LogError> {
    let header = &newest.header;
    let length = newest.file.length().map_err(LogError::file(&newest.path))?;
    if length != header.length {
        return Err(LogError::damaged(
            &newest.path,
            header.first(),
            "it has not the length that it was made with",
        ));
    }
    let begin = Place { at: FIRST_GROUP, first: header.first(), after: 0 };
    let mut groups = Groups::from(&*newest.file, header.number, begin, length);
    let mut tail = Tail { end_at: FIRST_GROUP, end: header.before, last: None, committed: header.committed };
    while let Some((group, entries)) = groups.next().map_err(LogError::file(&newest.path))? {
        let end = entries.last().map_or(tail.end, Entry::position);
        tail.last = Some(LastGroup { at: tail.end_at, before: tail.end, entries });
        tail.end_at += group.step();
        tail.end = end;
        tail.committed = group.committed;
    }
    if tail.end.op < header.synced || groups.any_later().map_err(LogError::file(&newest.path))? {
        let what = "a group that was synced is not what was written";
        return Err(LogError::damaged(&newest.path, tail.end.op.next(), what));
    }
    Ok(tail)
}
