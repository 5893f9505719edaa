//! Numbers and positions as bytes, little-endian.

use protocol::{Chain, Op, Position};

/// Reads values one after another. Reading beyond the end gives `None`.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn chain(&mut self) -> Option<Chain> {
        self.array().map(Chain)
    }

    pub(crate) fn position(&mut self) -> Option<Position> {
        Some(Position { op: Op(self.u64()?), chain: self.chain()? })
    }
}

pub(crate) fn put_position(bytes: &mut Vec<u8>, position: Position) {
    bytes.extend(position.op.0.to_le_bytes());
    bytes.extend(position.chain.0);
}
