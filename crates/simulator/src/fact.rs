//! What the clients of the simulated clusters ask for, and the facts that come of it: registers and messages.

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
    /// What it asks for.
    pub action: Action,
}

/// A request that took effect, as the log carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    encoded: [u8; 6],
}

impl Fact {
    /// The fact that a request leads to.
    pub fn of(request: Request) -> Self {
        let (kind, place) = match request.action {
            Action::Set { key } => (0, key),
            Action::Send { to } => (1, to),
        };
        let [a, b, c, d] = request.id.to_be_bytes();
        Self { encoded: [kind, place, a, b, c, d] }
    }

    /// The request that led to it.
    pub const fn request(self) -> Request {
        let [kind, place, a, b, c, d] = self.encoded;
        let action = if kind == 0 { Action::Set { key: place } } else { Action::Send { to: place } };
        Request { id: u32::from_be_bytes([a, b, c, d]), action }
    }
}

impl protocol::Fact for Fact {
    fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
