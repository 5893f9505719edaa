//! What the clients of the simulated clusters ask for, and the facts that come of it: registers and messages, and how
//! far requests were forgotten. And pages: some requests turn the page, and which page it is, the tables alone say.

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
    /// Turn the page: whatever is decided later is decided on the next one.
    TurnPage,
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
    encoded: [u8; Self::BYTES],
}

const FORGOTTEN: u8 = 2;
const TURNED: u8 = 3;

impl Fact {
    /// How long each is.
    pub const BYTES: usize = 26;

    /// The fact that a request leads to, decided on that page.
    pub fn of(request: Request, at: WallTime, page: u32) -> Self {
        let (kind, place) = match request.action {
            Action::Set { key } => (0, key),
            Action::Send { to } => (1, to),
            Action::TurnPage => (TURNED, 0),
        };
        Self::encode((kind, place), request.id, request.dated, at, page)
    }

    /// Requests dated before this are forgotten, as was decided on that page.
    pub fn forgotten(before: WallTime, at: WallTime, page: u32) -> Self {
        Self::encode((FORGOTTEN, 0), 0, before, at, page)
    }

    fn encode((kind, place): (u8, u8), id: RequestId, date: WallTime, at: WallTime, page: u32) -> Self {
        let mut encoded = [0; Self::BYTES];
        (encoded[0], encoded[1]) = (kind, place);
        encoded[2..6].copy_from_slice(&id.to_be_bytes());
        encoded[6..14].copy_from_slice(&date.0.to_be_bytes());
        encoded[14..22].copy_from_slice(&at.0.to_be_bytes());
        encoded[22..].copy_from_slice(&page.to_be_bytes());
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
            TURNED => Action::TurnPage,
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

    /// The page on which it was decided.
    pub fn page(&self) -> u32 {
        let [.., a, b, c, d] = self.encoded;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The page on which what follows it is decided.
    pub fn next_page(&self) -> u32 {
        self.page() + u32::from(self.encoded[0] == TURNED)
    }

    /// Whether the next batch can be decided only once the tables show it: it takes something away, or changes it, that is looked
    /// for in the tables alone.
    pub fn is_barrier(&self) -> bool {
        matches!(self.encoded[0], FORGOTTEN | TURNED)
    }
}

impl protocol::Record for Fact {
    fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
