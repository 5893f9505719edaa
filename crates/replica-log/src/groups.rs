//! Reads the groups of a segment one after another.

use crate::group::{ALIGNMENT, Entries, GROUP_HEADER_BYTES, GroupHeader};
use files::OpenFile;
use protocol::Op;
use std::io;

/// How much is read at once, in bytes.
const WINDOW_BYTES: usize = 64 << 10;

/// A place at which a group begins, and what the group there has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In bytes from the beginning of the file.
    pub(crate) at: u64,
    pub(crate) first: Op,
    /// The checksum of the group before.
    pub(crate) after: u32,
}

/// Walks through the groups that follow a place, as far as they are what was written in this use of the segment.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    window: Window<'a>,
    number: u64,
    place: Place,
}

impl<'a> Groups<'a> {
    /// `number` is the segment's use; what lies at or behind the byte `end` is not read.
    pub(crate) fn from(file: &'a dyn OpenFile, number: u64, place: Place, end: u64) -> Self {
        Self { window: Window { file, end, at: 0, bytes: Vec::new() }, number, place }
    }

    /// Where the next group begins.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The header of the next group, if there is a sound one that follows the group before.
    pub(crate) fn header(&mut self) -> io::Result<Option<GroupHeader>> {
        let Place { at, first, after } = self.place;
        let Some(bytes) = self.window.get(at, GROUP_HEADER_BYTES)? else { return Ok(None) };
        let header = GroupHeader::decode(bytes, self.number);
        let header = header.filter(|header| header.first == first && header.after == after);
        Ok(header.filter(|header| header.bytes() as u64 <= self.window.end - at))
    }

    /// The entries of the group with this header, if its body is sound too.
    pub(crate) fn entries(&mut self, header: &GroupHeader) -> io::Result<Option<Entries>> {
        let bytes = self.window.get(self.place.at, header.bytes())?;
        Ok(bytes.and_then(|bytes| header.entries(&bytes[GROUP_HEADER_BYTES..])))
    }

    /// The next group as a whole, and goes on behind it.
    pub(crate) fn next(&mut self) -> io::Result<Option<(GroupHeader, Entries)>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let Some(entries) = self.entries(&header)? else { return Ok(None) };
        self.pass(&header);
        Ok(Some((header, entries)))
    }

    /// Goes on behind the group with this header.
    pub(crate) fn pass(&mut self, header: &GroupHeader) {
        let at = self.place.at + header.step();
        self.place = Place { at, first: header.last().next(), after: header.checksum };
    }

    /// Whether the header of any group of this use lies behind the next place. Since a group is written after the one before
    /// it was synced, such a header proves that everything before it was.
    pub(crate) fn any_later(mut self) -> io::Result<bool> {
        let mut at = self.place.at + ALIGNMENT as u64;
        while let Some(bytes) = self.window.get(at, GROUP_HEADER_BYTES)? {
            let later = GroupHeader::decode(bytes, self.number);
            if later.is_some_and(|header| header.first >= self.place.first) {
                return Ok(true);
            }
            at += ALIGNMENT as u64;
        }
        Ok(false)
    }
}

/// A part of a file in memory, which moves with what is asked for.
#[derive(Debug)]
struct Window<'a> {
    file: &'a dyn OpenFile,
    end: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// This many bytes from `at` on, or `None` if they reach beyond the end.
    fn get(&mut self, at: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if self.end.checked_sub(at).is_none_or(|left| left < count as u64) {
            return Ok(None);
        }
        let have = at >= self.at && at + count as u64 <= self.at + self.bytes.len() as u64;
        if !have {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.bytes.resize(left.min(count.max(WINDOW_BYTES)), 0);
            // Until it is read, the window holds nothing.
            self.at = self.end;
            self.file.read_at(&mut self.bytes, at)?;
            self.at = at;
        }
        let begin = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        Ok(self.bytes.get(begin..begin + count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{Frame, encode};
    use files::{Files, ForgetfulFiles};
    use protocol::{Chain, Position};
    use std::path::Path;
    use std::sync::Arc;

    const FILE_BYTES: u64 = 1 << 20;
    const FRAME: Frame = Frame { number: 7, first: Op(5), after: 3, committed: Position::ORIGIN };
    const PLACE: Place = Place { at: 0, first: Op(5), after: 3 };

    /// A file with this group at its beginning and one of a later op far behind it.
    fn file(frame: Frame, later: u64) -> Arc<dyn OpenFile> {
        let file = ForgetfulFiles::default().create(Path::new("/file"), FILE_BYTES).unwrap();
        for (at, frame) in [(0, frame), (later, Frame { first: Op(9), ..frame })] {
            let mut group = Vec::new();
            encode(&mut group, frame, [(Chain([1; 32]), b"record".as_slice())].into_iter());
            file.write_at(&group, at).unwrap();
        }
        file
    }

    #[test]
    fn a_group_counts_if_it_is_of_this_use_and_follows_the_one_before() {
        for (case, frame, counts) in [
            ("what is expected", FRAME, true),
            ("another use", Frame { number: 8, ..FRAME }, false),
            ("another op", Frame { first: Op(6), ..FRAME }, false),
            ("after another group", Frame { after: 4, ..FRAME }, false),
        ] {
            let file = file(frame, FILE_BYTES / 2);
            let mut groups = Groups::from(&*file, 7, PLACE, FILE_BYTES);
            assert_eq!(groups.next().unwrap().is_some(), counts, "{case}");
        }
    }

    #[test]
    fn a_later_header_is_found_wherever_it_lies_in_what_is_read() {
        let window = WINDOW_BYTES as u64;
        let last = FILE_BYTES - 128;
        for later in [128, window - 80, window - 72, window - 8, window, window + 8, 2 * window, last] {
            let file = file(FRAME, later);
            let groups = |number, first| Groups::from(&*file, number, Place { first, ..PLACE }, FILE_BYTES);
            assert!(groups(7, Op(5)).any_later().unwrap(), "at {later}");
            assert!(!groups(8, Op(5)).any_later().unwrap(), "at {later}, of another use");
            assert!(!groups(7, Op(10)).any_later().unwrap(), "at {later}, of an op that is there already");
            let before = Groups::from(&*file, 7, PLACE, later);
            assert!(!before.any_later().unwrap(), "at {later}, behind the end");
        }
    }
}
