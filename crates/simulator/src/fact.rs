//! What the clients of the simulated clusters ask for, and the facts that come of it: registers and messages, and how
//! far requests were forgotten.

use protocol::WallTime;

/// A request's number: unique in a run, the same in every retry.
pub type RequestId = u32;

/// How many registers there are.
pub const KEYS: usize = 2;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set a register to the request's own number: so every value is written once.
    Set {
        /// Which register.
        key: u8,
    },
    /// Send a message, whose text is the request's number.
    Send {
        /// To which listener.
        to: u8,
    },
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// When its client made it, by that client's clock; the same in every retry.
    pub dated: WallTime,
    /// What it asks for.
    pub action: Action,
}

/// What happened, as the log carries it, with the time at which the primary wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    encoded: [u8; 22],
}

const FORGOTTEN: u8 = 2;

impl Fact {
    /// The fact that a request leads to.
    pub fn of(request: Request, at: WallTime) -> Self {
        let (kind, place) = match request.action {
            Action::Set { key } => (0, key),
            Action::Send { to } => (1, to),
        };
        Self::encode(kind, place, request.id, request.dated, at)
    }

    /// Requests dated before this are forgotten.
    pub fn forgotten(before: WallTime, at: WallTime) -> Self {
        Self::encode(FORGOTTEN, 0, 0, before, at)
    }

    fn encode(kind: u8, place: u8, id: RequestId, date: WallTime, at: WallTime) -> Self {
        let mut encoded = [0; 22];
        (encoded[0], encoded[1]) = (kind, place);
        encoded[2..6].copy_from_slice(&id.to_be_bytes());
        encoded[6..14].copy_from_slice(&date.0.to_be_bytes());
        encoded[14..].copy_from_slice(&at.0.to_be_bytes());
        Self { encoded }
    }

    fn number(&self, from: usize) -> u64 {
        self.encoded[from..from + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The request that led to it; none if it says what was forgotten.
    pub fn request(&self) -> Option<Request> {
        let [kind, place, a, b, c, d, ..] = self.encoded;
        let action = match kind {
            FORGOTTEN => return None,
            0 => Action::Set { key: place },
            _ => Action::Send { to: place },
        };
        Some(Request { id: u32::from_be_bytes([a, b, c, d]), dated: WallTime(self.number(6)), action })
    }

    /// The date before which requests are forgotten, if that is what happened.
    pub fn forgotten_before(&self) -> Option<WallTime> {
        (self.encoded[0] == FORGOTTEN).then(|| WallTime(self.number(6)))
    }

    /// The time that the primary wrote; it never runs backwards.
    pub fn at(&self) -> WallTime {
        WallTime(self.number(14))
    }
}

impl protocol::Record for Fact {
    fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
