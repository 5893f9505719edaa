//! A group: the entries that are written and synced together.
//!
//! It begins at a multiple of [`ALIGNMENT`] bytes. All numbers are little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | crc32c of the rest of this header |
//! | 4 | crc32c of the body |
//! | 8 | the number of the segment's use: what an earlier use has left has another one |
//! | 8 | the op of the first entry |
//! | 4 | how many entries |
//! | 4 | the length of the body |
//! | 4 | the first field of the group before; 0 in the first group of a segment |
//! | 4 | 0 |
//! | 8 + 32 | the commit point (op and chain) as known when this was written |
//! | body | for each entry: 4 bytes, the length of its record; 32, its chain; its record |

use crate::bytes::{Fields, put_position};
use crc32c::crc32c;
use protocol::{Chain, Entry, Op, Position};

/// What a group begins at a multiple of, in bytes.
pub(crate) const ALIGNMENT: usize = 8;
/// The length of a group's header.
pub(crate) const GROUP_HEADER_BYTES: usize = 80;
/// The length of what an entry has beside its record.
const ENTRY_BYTES: usize = 4 + 32;

/// The entries of a group, as they are read.
pub(crate) type Entries = Vec<Entry<Vec<u8>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Of this header, and by it of the whole group.
    pub(crate) checksum: u32,
    body_checksum: u32,
    pub(crate) first: Op,
    count: u32,
    body_bytes: u32,
    /// The checksum of the group before.
    pub(crate) after: u32,
    pub(crate) committed: Position,
}

impl GroupHeader {
    /// Reads a header that was written in this use of the segment.
    pub(crate) fn decode(bytes: &[u8], number: u64) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let mut fields = Fields(bytes);
        let checksum = fields.u32()?;
        let body_checksum = fields.u32()?;
        if fields.u64()? != number || checksum != crc32c(&bytes[4..]) {
            return None;
        }
        let first = Op(fields.u64()?);
        let (count, body_bytes, after) = (fields.u32()?, fields.u32()?, fields.u32()?);
        fields.u32()?;
        if count == 0 {
            return None;
        }
        Some(Self { checksum, body_checksum, first, count, body_bytes, after, committed: fields.position()? })
    }

    /// The op of the last entry.
    pub(crate) fn last(&self) -> Op {
        Op(self.first.0 + u64::from(self.count) - 1)
    }

    /// The length of the group without what fills it up to the next place.
    pub(crate) fn bytes(&self) -> usize {
        GROUP_HEADER_BYTES + self.body_bytes as usize
    }

    /// How far behind the beginning of this group the next one begins.
    pub(crate) fn step(&self) -> u64 {
        self.bytes().next_multiple_of(ALIGNMENT) as u64
    }

    /// The entries, if the body of this group is what was written.
    pub(crate) fn entries(&self, body: &[u8]) -> Option<Entries> {
        if body.len() != self.body_bytes as usize || crc32c(body) != self.body_checksum {
            return None;
        }
        let mut fields = Fields(body);
        let entries = (0..u64::from(self.count)).map(|number| {
            let length = fields.u32()?;
            let chain = fields.chain()?;
            let record = fields.bytes(length as usize)?.to_vec();
            Some(Entry { op: Op(self.first.0 + number), chain, record })
        });
        let entries = entries.collect::<Option<_>>()?;
        fields.0.is_empty().then_some(entries)
    }
}

/// What the header of a group says beside its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The segment's use.
    pub(crate) number: u64,
    pub(crate) first: Op,
    /// The checksum of the group before.
    pub(crate) after: u32,
    pub(crate) committed: Position,
}

/// How many bytes a group with records of these lengths has, up to the beginning of the next one.
pub(crate) fn length(records: impl Iterator<Item = usize>) -> u64 {
    let body: usize = records.map(|record| ENTRY_BYTES + record).sum();
    (GROUP_HEADER_BYTES + body).next_multiple_of(ALIGNMENT) as u64
}

/// Writes a group into an empty buffer, up to the beginning of the next one, and returns its checksum.
///
/// # Panics
/// If there is no entry, or more than 4 GiB of them.
pub(crate) fn encode<'a>(
    group: &mut Vec<u8>,
    frame: Frame,
    entries: impl Iterator<Item = (Chain, &'a [u8])>,
) -> u32 {
    const FITS: &str = "a group has less than 4 GiB";
    group.resize(GROUP_HEADER_BYTES, 0);
    let mut count: u32 = 0;
    for (chain, record) in entries {
        group.extend(u32::try_from(record.len()).expect(FITS).to_le_bytes());
        group.extend(chain.0);
        group.extend(record);
        count += 1;
    }
    assert!(count > 0, "a group has at least one entry");
    let body = &group[GROUP_HEADER_BYTES..];
    let mut header = crc32c(body).to_le_bytes().to_vec();
    header.extend(frame.number.to_le_bytes());
    header.extend(frame.first.0.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(u32::try_from(body.len()).expect(FITS).to_le_bytes());
    header.extend(frame.after.to_le_bytes());
    header.extend([0; 4]);
    put_position(&mut header, frame.committed);
    let checksum = crc32c(&header);
    group[..4].copy_from_slice(&checksum.to_le_bytes());
    group[4..GROUP_HEADER_BYTES].copy_from_slice(&header);
    group.resize(group.len().next_multiple_of(ALIGNMENT), 0);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { number: 77, first: Op(5), after: 3, committed: Position::ORIGIN };

    fn chain_of(record: &[u8]) -> Chain {
        Chain([u8::try_from(record.len()).unwrap(); 32])
    }

    fn group() -> Vec<u8> {
        let mut bytes = Vec::new();
        let records: [&[u8]; 3] = [b"one", b"", b"three"];
        encode(&mut bytes, FRAME, records.into_iter().map(|record| (chain_of(record), record)));
        bytes
    }

    fn decode(bytes: &[u8], number: u64) -> Option<Entries> {
        let header = GroupHeader::decode(bytes, number)?;
        header.entries(bytes.get(GROUP_HEADER_BYTES..header.bytes())?)
    }

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let entry =
            |op, record: &[u8]| Entry { op: Op(op), chain: chain_of(record), record: record.to_vec() };
        let bytes = group();
        assert_eq!(decode(&bytes, 77).unwrap(), [entry(5, b"one"), entry(6, b""), entry(7, b"three")]);
        let header = GroupHeader::decode(&bytes, 77).unwrap();
        assert_eq!((header.last(), header.after, header.committed), (Op(7), 3, Position::ORIGIN));
        assert_eq!((header.bytes(), header.step(), bytes.len()), (196, 200, 200));
        assert_eq!(length([3, 0, 5].into_iter()), 200);
    }

    #[test]
    fn a_group_of_another_use_is_none() {
        assert_eq!(decode(&group(), 78), None);
    }

    #[test]
    fn every_bit_of_a_group_counts() {
        let whole = group();
        for bit in 0..GroupHeader::decode(&whole, 77).unwrap().bytes() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, 77), None, "bit {bit}");
        }
        for length in 0..GroupHeader::decode(&whole, 77).unwrap().bytes() {
            assert_eq!(decode(&whole[..length], 77), None, "{length} bytes");
        }
    }

    /// What one version writes, the next one reads.
    #[test]
    fn the_bytes_of_a_group_stay_what_they_are() {
        let bytes = group();
        let numbers = [0xfa54_1a4e_u32, 0x58e7_25aa, 77, 0, 5, 0, 3, 116, 3, 0, 0, 0];
        assert_eq!(bytes[..48], *numbers.map(u32::to_le_bytes).as_flattened(), "its header");
        assert_eq!(bytes[80..84], 3_u32.to_le_bytes(), "the length of the first record");
        assert_eq!(bytes[116..119], *b"one");
    }
}
