//! The header of a segment: what it is, which use of it this is, and where in the log it belongs.
//!
//! It fills the first [`HEADER_BYTES`] of the file, so that no group shares a page with it, is written once in a use, and
//! synced before the file gets its name. All numbers are little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `trilog` and two zeros |
//! | 4 | the format number |
//! | 4 | crc32c of the 12 bytes before: these 16 bytes are the same in every format |
//! | 8 | the number of this use, drawn at random, never 0 |
//! | 8 | its place in the order of all uses in this folder: the segment with the highest is the newest |
//! | 8 | the length of the file |
//! | 16 | the identity of the database |
//! | 8 + 32 | op and chain before the first entry |
//! | 8 | the op of the last entry that was synced together with this header; the one before the first if there was none |
//! | 8 + 32 | the commit point (op and chain) as known when this was written |
//! | 8 + 8 | the use that this one continues, and the byte at which its part of the log ends; zeros if there is none |
//! | 4 | crc32c of everything before |

use crate::bytes::{Fields, put_position};
use crc32c::crc32c;
use protocol::{DatabaseId, Op, Position};

/// The room that the header has in the file.
pub(crate) const HEADER_BYTES: usize = 4096;
/// The byte at which the first group begins.
pub(crate) const FIRST_GROUP: u64 = HEADER_BYTES as u64;
/// The format that this program writes.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"trilog\0\0";
const BEGIN_BYTES: usize = 16;
const WRITTEN_BYTES: usize = BEGIN_BYTES + 8 + 8 + 8 + 16 + 40 + 8 + 40 + 16 + 4;

/// Where the part of the log ends that an older segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    /// The use of the older segment.
    pub(crate) number: u64,
    /// The byte behind the last group that counts.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) sequence: u64,
    pub(crate) length: u64,
    pub(crate) database: DatabaseId,
    pub(crate) before: Position,
    pub(crate) synced: Op,
    pub(crate) committed: Position,
    pub(crate) previous: Option<Previous>,
}

/// Why a header can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Its format is this one, and newer than the program.
    Newer(u32),
    Damaged,
}

impl Header {
    /// The op of the first entry.
    pub(crate) fn first(&self) -> Op {
        self.before.op.next()
    }

    /// The bytes of the header, all its room filled.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(crc32c(&bytes).to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.database.0);
        put_position(&mut bytes, self.before);
        bytes.extend(self.synced.0.to_le_bytes());
        put_position(&mut bytes, self.committed);
        let previous = self.previous.map_or([0, 0], |previous| [previous.number, previous.end]);
        bytes.extend(previous.into_iter().flat_map(u64::to_le_bytes));
        bytes.extend(crc32c(&bytes).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let begin = bytes.get(..BEGIN_BYTES).ok_or(BadHeader::Damaged)?;
        let mut fields = Fields(begin);
        let is_log = fields.array() == Some(MAGIC);
        let format = fields.u32().ok_or(BadHeader::Damaged)?;
        if !is_log || fields.u32() != Some(crc32c(&begin[..BEGIN_BYTES - 4])) {
            return Err(BadHeader::Damaged);
        }
        if format > FORMAT {
            return Err(BadHeader::Newer(format));
        }
        let written = bytes.get(..WRITTEN_BYTES).ok_or(BadHeader::Damaged)?;
        let (summed, checksum) = written.split_at(WRITTEN_BYTES - 4);
        if Fields(checksum).u32() != Some(crc32c(summed)) {
            return Err(BadHeader::Damaged);
        }
        Self::fields(&mut Fields(&summed[BEGIN_BYTES..])).ok_or(BadHeader::Damaged)
    }

    fn fields(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            number: fields.u64()?,
            sequence: fields.u64()?,
            length: fields.u64()?,
            database: DatabaseId(fields.array()?),
            before: fields.position()?,
            synced: Op(fields.u64()?),
            committed: fields.position()?,
            previous: Some(Previous { number: fields.u64()?, end: fields.u64()? })
                .filter(|previous| previous.number != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Chain;

    fn header() -> Header {
        Header {
            number: 0x0102_0304_0506_0708,
            sequence: 7,
            length: 1 << 24,
            database: DatabaseId([4; 16]),
            before: Position { op: Op(99), chain: Chain([5; 32]) },
            synced: Op(103),
            committed: Position { op: Op(101), chain: Chain([6; 32]) },
            previous: Some(Previous { number: 9, end: 8192 }),
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let alone = Header { previous: None, ..header() };
        for header in [header(), alone] {
            assert_eq!(Header::decode(&header.encoded()), Ok(header));
        }
    }

    #[test]
    fn every_bit_of_a_header_counts() {
        let whole = header().encoded();
        for bit in 0..WRITTEN_BYTES * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(BadHeader::Damaged), "bit {bit}");
        }
        for length in 0..WRITTEN_BYTES {
            assert_eq!(Header::decode(&whole[..length]), Err(BadHeader::Damaged), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_known_by_its_first_bytes_alone() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((FORMAT + 1).to_le_bytes());
        bytes.extend(crc32c(&bytes).to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Newer(FORMAT + 1)));
    }

    /// What one version writes, the next one reads.
    #[test]
    fn the_bytes_of_a_header_stay_what_they_are() {
        let bytes = header().encoded();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..12], *b"trilog\0\0\x01\0\0\0");
        assert_eq!(bytes[16..24], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[WRITTEN_BYTES - 4..WRITTEN_BYTES], [24, 209, 26, 18], "the checksum");
    }
}
