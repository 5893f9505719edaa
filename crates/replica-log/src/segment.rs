//! One file of the log in one of its uses.

use crate::error::LogError;
use crate::group::{Entries, GroupHeader};
use crate::groups::{Groups, Place};
use crate::header::{BadHeader, FIRST_GROUP, FORMAT, Header};
use files::{Files, OpenFile};
use protocol::{Op, Position};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// How far apart the places are that are remembered, in bytes.
const INDEX_BYTES: u64 = 64 << 10;

/// A segment, whether it is open to write or to read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn OpenFile>,
    /// Places in their order, the first one at the first group. They are found as groups are written or passed.
    index: Mutex<Vec<Place>>,
}

/// The part of the log that a segment holds.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) segment: Arc<Segment>,
    /// The byte behind its last group.
    pub(crate) end_at: u64,
    /// The position of its last entry, or what is before the first if there is none.
    pub(crate) end: Position,
}

impl Segment {
    pub(crate) fn new(header: Header, path: PathBuf, file: Arc<dyn OpenFile>) -> Self {
        let first = Place { at: FIRST_GROUP, first: header.first(), after: 0 };
        Self { header, path, file, index: Mutex::new(vec![first]) }
    }

    /// Reads the header of the file that has the name of a segment.
    pub(crate) fn open(
        files: &dyn Files,
        path: PathBuf,
        first: Op,
        read_only: bool,
    ) -> Result<Self, LogError> {
        let opened = if read_only { files.open_to_read(&path) } else { files.open(&path) };
        let file = opened.map_err(LogError::file(&path))?;
        let length = file.length().map_err(LogError::file(&path))?;
        let mut bytes = vec![0; usize::try_from(length.min(FIRST_GROUP)).unwrap_or(0)];
        file.read_at(&mut bytes, 0).map_err(LogError::file(&path))?;
        match Header::decode(&bytes) {
            Ok(header) if header.first() == first => Ok(Self::new(header, path, file)),
            Ok(_) => Err(LogError::damaged(&path, first, "its header is that of another file")),
            Err(BadHeader::Damaged) => Err(LogError::damaged(&path, first, "its header is not readable")),
            Err(BadHeader::Newer(found)) => Err(LogError::NewerFormat { path, found, known: FORMAT }),
        }
    }

    /// The name of the segment that begins with this op: with all the digits that an op can have, names sort as ops do.
    pub(crate) fn name(first: Op) -> String {
        format!("{:020}", first.0)
    }

    /// The first op that a name tells, if it is that of a segment.
    pub(crate) fn first_by_name(name: &str) -> Option<Op> {
        let first = Op(name.parse().ok()?);
        (Self::name(first) == name).then_some(first)
    }

    /// Remembers where a group begins, if the last place that is remembered is far enough before it.
    pub(crate) fn remember(&self, place: Place) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.last().is_none_or(|last| place.at >= last.at + INDEX_BYTES) {
            index.push(place);
        }
    }

    /// The last place that is remembered at or before this op.
    fn place_before(&self, op: Op) -> Place {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let after = index.partition_point(|place| place.first <= op);
        index[after.saturating_sub(1)]
    }
}

impl Part {
    /// What is before its first entry.
    pub(crate) fn before(&self) -> Position {
        self.segment.header.before
    }

    /// Gives back the room behind the part, if that is worth it: there is much where the log went on in another segment at a
    /// start. It waits for the next time if it fails.
    pub(crate) fn give_back_room(&self) {
        let Segment { path, file, .. } = &*self.segment;
        let given = file.length().and_then(|length| {
            if length.saturating_sub(self.end_at) > length / 8 { file.truncate(self.end_at) } else { Ok(()) }
        });
        if let Err(error) = given {
            tracing::warn!("{}: {error}; its unused room is given back later", path.display());
        }
    }

    /// Goes to the group that holds this op, which the part holds, and returns its header too.
    pub(crate) fn find(&self, op: Op) -> Result<(Walk<'_>, GroupHeader), LogError> {
        let place = self.segment.place_before(op);
        let groups = Groups::from(&*self.segment.file, self.segment.header.number, place, self.end_at);
        let mut walk = Walk { part: self, groups };
        loop {
            let header = walk.header()?;
            if header.last() >= op {
                return Ok((walk, header));
            }
            walk.groups.pass(&header);
            self.segment.remember(walk.groups.place());
        }
    }
}

/// A way through the groups of a part. All of it was synced, so what is not readable is damaged.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    part: &'a Part,
    groups: Groups<'a>,
}

impl Walk<'_> {
    /// Where the next group begins.
    pub(crate) fn place(&self) -> Place {
        self.groups.place()
    }

    /// The entries of the next group; `None` at the end of the part.
    pub(crate) fn next(&mut self) -> Result<Option<Entries>, LogError> {
        if self.place().at == self.part.end_at {
            return Ok(None);
        }
        let header = self.header()?;
        let entries = self.groups.entries(&header);
        let entries = self.readable(entries, "the body of a group is not what was written")?;
        self.groups.pass(&header);
        Ok(Some(entries))
    }

    fn header(&mut self) -> Result<GroupHeader, LogError> {
        let header = self.groups.header();
        self.readable(header, "the header of a group is not what was written")
    }

    fn readable<T>(&self, read: io::Result<Option<T>>, what: &'static str) -> Result<T, LogError> {
        let Segment { path, .. } = &*self.part.segment;
        let damaged = || LogError::damaged(path, self.place().first, what);
        match read {
            Ok(read) => read.ok_or_else(damaged),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(damaged()),
            Err(error) => Err(LogError::file(path)(error)),
        }
    }
}
