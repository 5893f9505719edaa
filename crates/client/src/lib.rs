//! A client of Trialogue. Its application sees only: it worked, it was refused (and why), or no replica served in time.
//!
//! Any one address is enough to find the rest. A call that changes something is tried again with the same request id
//! until it is answered, so it has one effect, whatever dies meanwhile. [`Outbox`] keeps a sender's order over
//! fail-overs with many messages in flight; [`Listening`] goes on from its cursor.
//!
//! ```text
//!   Client ── call ──▶ Connection ── finds the primary, notices its loss ──▶ replicas
//!   Outbox ── one stream, what has no answer is sent again ──▲
//!   Listening ── one stream, from the last message seen ─────┘
//! ```

mod calls;
mod comparing;
mod connection;
mod error;
mod listening;
mod operator;
mod outbox;
mod request;

pub use api::v1::{Account, Conversation, GetAccountResponse, Message, Receipt};
pub use calls::Client;
pub use comparing::DigestError;
pub use connection::{InUse, Options};
pub use error::ClientError;
pub use listening::{Heard, Listening, Start};
pub use outbox::{Outbox, Ticket};
pub use request::{HistoryPage, Opened, ReplicaView, Sent, To};
