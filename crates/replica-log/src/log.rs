//! The log as the one thread that writes it has it.

use crate::error::LogError;
use crate::fresh::{Begin, Fresh};
use crate::group::{self, Entries, Frame};
use crate::groups::Place;
use crate::header::{FIRST_GROUP, Previous};
use crate::reader::{LogReader, chain_at};
use crate::segment::{Part, Segment};
use crate::shared::Shared;
use crate::spares::Spares;
use crate::survey::Listing;
use files::Files;
use protocol::{DatabaseId, Entry, Op, Position, Record};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The length of a segment in bytes, unless a single group needs a longer one.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// What bounds a log.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The length of a segment in bytes.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES }
    }
}

/// The log of one database. One thread writes it; any may read it ([`Log::reader`]).
#[derive(Debug)]
pub struct Log {
    files: Arc<dyn Files>,
    folder: PathBuf,
    limits: Limits,
    database: DatabaseId,
    shared: Arc<Shared>,
    spares: Spares,
    /// The highest place in the order of uses that was given, perhaps to a segment that was not finished.
    sequence: u64,
    committed: Position,
    /// Of the last group in the newest segment; 0 if it has none.
    checksum: u32,
    /// After a write or a sync has failed, until the log goes on in a fresh segment.
    closed: bool,
    /// Segments that are no longer part of the log, and whose files may still be there.
    void: Vec<Arc<Segment>>,
    /// The bytes of the group that is being written.
    buffer: Vec<u8>,
}

/// The parts of a log that stay, what a fresh segment has to say of them, and the entries that it begins with.
#[derive(Debug)]
struct Onward {
    parts: Vec<Part>,
    previous: Option<Previous>,
    before: Position,
    entries: Entries,
}

impl Log {
    /// Makes an empty log after `base` for this database, and the folder if there is none. A log that was there is void from
    /// the moment when the new one counts. One that is damaged or of a newer format is an error and is left as it is: it is to
    /// be moved aside first.
    pub fn create(
        files: Arc<dyn Files>,
        folder: &Path,
        database: DatabaseId,
        base: Position,
        limits: Limits,
    ) -> Result<Self, LogError> {
        files.make_folder(folder).map_err(LogError::file(folder))?;
        let listing = Listing::read(&*files, folder, false)?;
        let mut log = Self::new(files, folder, database, limits, listing.sequence(), Vec::new(), base);
        log.void.extend(listing.segments.into_iter().map(Arc::new));
        log.take_leftovers(listing.spares, &listing.drafts);
        log.go_on(Onward { parts: Vec::new(), previous: None, before: base, entries: Vec::new() }, 0)?;
        Ok(log)
    }

    /// Opens the log of this database. A torn end is cut off; what else the newest segment holds is durable when this
    /// returns, since its last group is written anew: it may have been read from memory alone.
    ///
    /// Nothing is changed if this ends with [`LogError::Missing`], [`LogError::OtherDatabase`], [`LogError::Damaged`] or
    /// [`LogError::NewerFormat`]. What is older than the newest segment is not looked at: damage there is found by whatever
    /// reads it.
    pub fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        database: DatabaseId,
        limits: Limits,
    ) -> Result<Self, LogError> {
        let mut listing = Listing::read(&*files, folder, false)?;
        let sequence = listing.sequence();
        let (spares, drafts) = (std::mem::take(&mut listing.spares), std::mem::take(&mut listing.drafts));
        if let Some(found) = listing.database().filter(|found| *found != database) {
            return Err(LogError::OtherDatabase { folder: folder.to_owned(), found });
        }
        let survey = listing.survey()?;
        let newest = &survey.parts[survey.parts.len() - 1];
        let (at, before, entries) = match survey.last {
            Some(last) => (last.at, last.before, last.entries),
            None => (FIRST_GROUP, newest.before(), Vec::new()),
        };
        let onward = back_to(survey.parts.clone(), at, before, entries);
        let mut log = Self::new(files, folder, database, limits, sequence, survey.parts, survey.committed);
        log.void.extend(survey.void.into_iter().map(Arc::new));
        log.take_leftovers(spares, &drafts);
        log.go_on(onward, 0)?;
        Ok(log)
    }

    fn new(
        files: Arc<dyn Files>,
        folder: &Path,
        database: DatabaseId,
        limits: Limits,
        sequence: u64,
        parts: Vec<Part>,
        committed: Position,
    ) -> Self {
        Self {
            spares: Spares::new(Arc::clone(&files), folder, limits.segment_bytes),
            files,
            folder: folder.to_owned(),
            limits,
            database,
            shared: Arc::new(Shared::new(parts)),
            sequence,
            committed,
            checksum: 0,
            closed: true,
            void: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// The position after which the log begins.
    pub fn base(&self) -> Position {
        self.shared.base()
    }

    /// The end of what is synced.
    pub fn end(&self) -> Position {
        self.shared.newest().end
    }

    /// The highest commit point that the log was told; after a start, the one in its last sound group.
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// For reading while the log is written.
    pub fn reader(&self) -> LogReader {
        LogReader(Arc::clone(&self.shared))
    }

    /// Whether more than half of the newest segment is written: it is time to prepare the next.
    pub fn is_half_full(&self) -> bool {
        let newest = self.shared.newest();
        newest.end_at > newest.segment.header.length / 2
    }

    /// For preparing segments while the log is written.
    pub fn spares(&self) -> Spares {
        self.spares.clone()
    }

    /// Writes the entries as one group and syncs it. After an error they are not in the log, and it takes no more until it
    /// was repaired or cut, neither these nor what was to follow them; what a start finds of them by then counts.
    ///
    /// # Panics
    /// If the log takes entries and these do not follow its end by op and chain, or `committed` lies behind them.
    pub fn append<R: Record>(&mut self, entries: &[Entry<R>], committed: Position) -> Result<(), LogError> {
        if self.closed {
            return Err(LogError::Closed { folder: self.folder.clone() });
        }
        let end = self.end().extend(entries).expect("entries follow the end of the log");
        assert!(committed.op <= end.op, "what is committed is logged");
        if entries.is_empty() {
            return Ok(());
        }
        let committed = if committed.op > self.committed.op { committed } else { self.committed };
        match self.write(entries, end, committed) {
            Ok(()) => {
                self.committed = committed;
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                Err(error)
            }
        }
    }

    fn write<R: Record>(
        &mut self,
        entries: &[Entry<R>],
        end: Position,
        committed: Position,
    ) -> Result<(), LogError> {
        let records = || entries.iter().map(|entry| (entry.chain, entry.record.encoded()));
        let bytes = group::length(records().map(|(_, record)| record.len()));
        let mut newest = self.shared.newest();
        if newest.end_at + bytes > newest.segment.header.length {
            let (parts, _) = self.shared.parts();
            self.go_on(back_to(parts, newest.end_at, newest.end, Vec::new()), bytes)?;
            newest = self.shared.newest();
        }
        let Part { segment, end_at, .. } = newest;
        let place = Place { at: end_at, first: entries[0].op, after: self.checksum };
        let frame =
            Frame { number: segment.header.number, first: place.first, after: place.after, committed };
        self.buffer.clear();
        let checksum = group::encode(&mut self.buffer, frame, records());
        let written = segment.file.write_at(&self.buffer, end_at).and_then(|()| segment.file.sync());
        written.map_err(LogError::file(&segment.path))?;
        self.checksum = checksum;
        segment.remember(place);
        self.shared.extend(end_at + bytes, end);
        Ok(())
    }

    /// Goes on in a fresh segment after a write has failed. What that one wrote is then not in the log, whatever the disk has
    /// of it. Does nothing if none has failed. After an error it is to be called again.
    pub fn repair(&mut self) -> Result<(), LogError> {
        if self.closed { self.go_back_to(self.end()) } else { Ok(()) }
    }

    /// Cuts the log back to a position that it holds, and goes on in a fresh segment. After an error it ends where
    /// [`Log::end`] says, and a start may find it cut or not.
    ///
    /// # Panics
    /// If `to` lies before `committed`.
    pub fn cut(&mut self, to: Position, committed: Position) -> Result<(), LogError> {
        assert!(to.op >= committed.op, "what is committed is never cut");
        if chain_at(&self.shared.parts().0, to.op)? != Some(to.chain) {
            return Err(LogError::NotHeld { to });
        }
        // After a start less may be known to be committed than the log was told before.
        if self.committed.op > to.op || self.committed.op < committed.op {
            self.committed = committed;
        }
        if to == self.end() && !self.closed { Ok(()) } else { self.go_back_to(to) }
    }

    /// Lets go of the segments whose entries all lie at or below this op. Some are used again, the others removed. Does nothing
    /// while the log waits to be repaired: a power failure might take away the segment that counts now.
    pub fn recycle(&mut self, below: Op) {
        if self.closed {
            return;
        }
        let (mut parts, _) = self.shared.parts();
        let older = &parts[..parts.len() - 1];
        let count = older.iter().take_while(|part| part.end.op <= below).count();
        if count > 0 {
            parts.drain(..count);
            self.void.extend(self.shared.replace(parts));
            self.clear_away();
        }
    }

    /// Goes on in a fresh segment that begins with the group of this position's entry, up to that entry. The group is written
    /// once more because it shares a page with what is void.
    fn go_back_to(&mut self, to: Position) -> Result<(), LogError> {
        let (mut parts, _) = self.shared.parts();
        let Some(index) = parts.iter().position(|part| part.before().op < to.op && to.op <= part.end.op)
        else {
            return self.go_on(back_to(parts, FIRST_GROUP, to, Vec::new()), 0);
        };
        parts.truncate(index + 1);
        let (place, mut entries) = {
            let (mut walk, _) = parts[index].find(to.op)?;
            (walk.place(), walk.next()?.unwrap_or_default())
        };
        entries.retain(|entry| entry.op <= to.op);
        let op = Op(place.first.0 - 1);
        let chain = chain_at(&parts, op)?.expect("the log holds what is before its groups");
        self.go_on(back_to(parts, place.at, Position { op, chain }, entries), 0)
    }

    /// Goes on in a fresh segment, which has room for a group of this length too.
    fn go_on(&mut self, onward: Onward, room: u64) -> Result<(), LogError> {
        self.sequence += 1;
        let begin = Begin {
            sequence: self.sequence,
            database: self.database,
            before: onward.before,
            previous: onward.previous,
            committed: self.committed,
            entries: &onward.entries,
            segment_bytes: self.limits.segment_bytes,
            room,
        };
        let fresh = Fresh::write(&self.spares, &self.folder, &begin)?;
        let mut parts = onward.parts;
        parts.push(fresh.part.clone());
        // From now on the fresh segment may be the newest that a start finds, even if its name can't be made certain.
        self.void.extend(self.shared.replace(parts));
        self.checksum = fresh.checksum;
        self.closed = true;
        fresh.install(&*self.files, &self.spares, &self.folder)?;
        self.closed = false;
        self.clear_away();
        Ok(())
    }

    /// Gives back the room that the log no longer needs. What fails here is done at the next start.
    fn clear_away(&mut self) {
        let (parts, _) = self.shared.parts();
        let void = std::mem::take(&mut self.void).into_iter();
        // A fresh segment may have taken the name.
        let void = void.filter(|void| parts.iter().all(|part| part.segment.path != void.path));
        let is_whole = |segment: &Segment| segment.file.length().ok() == Some(self.limits.segment_bytes);
        self.spares.retire(void.map(|segment| (segment.path.clone(), is_whole(&segment))).collect());
        for part in &parts[..parts.len() - 1] {
            part.give_back_room();
        }
    }

    fn take_leftovers(&self, spares: Vec<PathBuf>, drafts: &[PathBuf]) {
        for draft in drafts {
            self.spares.discard(draft);
        }
        self.spares.take_over(spares);
    }
}

/// What stays of a log whose newest part ends at the byte `at`, and with the position `before`.
fn back_to(mut parts: Vec<Part>, at: u64, before: Position, entries: Entries) -> Onward {
    parts.retain(|part| part.before().op <= before.op);
    let previous = parts.pop().and_then(|mut newest| {
        if at == FIRST_GROUP {
            return newest.segment.header.previous;
        }
        let number = newest.segment.header.number;
        (newest.end_at, newest.end) = (at, before);
        parts.push(newest);
        Some(Previous { number, end: at })
    });
    Onward { parts, previous, before, entries }
}
