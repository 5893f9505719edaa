//! The words between the state of the chat screen and what is outside: what it is told, and what it asks for.

use chat::{RequestId, ServiceState};

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// How the service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Connecting,
    /// A replica serves, at this address; and how the service is doing.
    Serving {
        replica: u32,
        address: String,
        state: ServiceState,
    },
    Reconnecting,
    /// For a while no replica has served.
    NobodyServes,
}

/// What the network has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Connection(Connection),
    Conversations(Vec<client::Conversation>),
    Page {
        with: u64,
        messages: Vec<client::Message>,
        more: bool,
    },
    /// A page that was asked for did not come.
    NoPage {
        with: u64,
    },
    Message(client::Message),
    Receipt(client::Receipt),
    /// What became of a message in the outbox.
    Outbox(client::Progress),
    /// A message could not be written to the outbox, and was not sent.
    NotKept {
        request_id: RequestId,
        why: String,
    },
    /// An account that was looked for.
    Found {
        id: u64,
        name: String,
    },
    /// Lines that were asked for, under a heading.
    Lines {
        heading: String,
        lines: Vec<String>,
    },
    /// One sentence.
    Notice(String),
    /// This session is over, for this reason.
    Over(String),
    /// It was ended here, and nothing of it is kept.
    Left(String),
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Keep a message on disk, perhaps in the place of one that was refused, and send it, until it is answered.
    Send {
        request_id: RequestId,
        with: u64,
        to: String,
        text: String,
        typed_at: u64,
        instead_of: Option<RequestId>,
    },
    /// Keep a message that was refused no longer.
    Drop {
        request_id: RequestId,
    },
    LoadPage {
        with: u64,
        before: u64,
    },
    MarkSeen {
        with: u64,
        up_to: u64,
    },
    Find(String),
    List(String),
    Status,
    ShowSeen(bool),
    ChangePassword {
        old: String,
        new: String,
    },
    DeleteAccount {
        password: String,
    },
    Logout,
    Bell,
    Quit,
}
