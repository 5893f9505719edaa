//! A client of Trialogue. Its application sees only: it worked, it was refused (and why), or no replica served in time.
//!
//! Any one address is enough to find the rest. A call that changes something is tried again with the same request id
//! until it is answered, so it has one effect, whatever dies meanwhile. A [`Client`] logs in; the [`Session`] that this opens
//! does what an account does. [`Outbox`] keeps a sender's order over fail-overs with many messages in flight;
//! [`DurableOutbox`] keeps what was written over the end of the program too; [`Listening`] goes on from its cursor.
//!
//! ```text
//!   Client, Session ── call ──▶ Connection ── finds the primary, notices its loss ──▶ replicas
//!   Outbox ── one stream, what has no answer is sent again ──▲
//!   Listening ── one stream, from the last message seen ─────┘
//! ```

mod call;
mod client;
mod clock;
mod comparing;
mod connection;
mod durable;
mod ended;
mod error;
mod listening;
mod operator;
mod outbox;
mod outbox_file;
mod pause;
mod request;
mod session;

pub use api::v1::{Account, Conversation, GetAccountResponse, Message, Receipt};
pub use chat::{AccountId, MessageId, Reason, RequestId};
pub use client::Client;
pub use comparing::DigestError;
pub use connection::{InUse, Options};
pub use durable::{DurableOutbox, Progress};
pub use error::ClientError;
pub use listening::{Heard, Listening, Start};
pub use outbox::{Outbox, Ticket};
pub use outbox_file::{OutboxFile, Waiting};
pub use request::{AccountPage, ConversationPage, MessagePage, ReplicaView, Sent, To};
pub use session::{Opened, Session};
