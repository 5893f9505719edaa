//! What a page and a replica say to each other: one JSON object a WebSocket text frame.
//!
//! This is the schema; `docs/web-socket.schema.json` is generated from it, and docs/web.md explains it with examples. Each
//! call stands for the gRPC call of the same name in `proto/trialogue/v1/chat.proto`, where its rules are.

use crate::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a page asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientFrame {
    /// Chosen by the page; comes back with the answer.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) call: Call,
}

/// The calls. A `request_id` is a `UUIDv7` that the page chooses: repeated with it, a call has one effect and one answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Call {
    /// Makes an account.
    CreateAccount { request_id: Uuid, name: String, password: String },
    /// Opens a session.
    Login { request_id: Uuid, name: String, password: String },
    /// Says whose session the later calls on this socket belong to. Answered with the account.
    Identify { token: String },
    /// Closes the session.
    Logout { request_id: Uuid },
    /// Deletes the session's account.
    DeleteAccount { request_id: Uuid, password: String },
    /// Sets a new password; the account's other sessions end.
    ChangePassword { request_id: Uuid, password: String, new_password: String },
    /// Living accounts whose names match a regular expression.
    ListAccounts {
        pattern: String,
        #[serde(default)]
        page_token: String,
    },
    /// Sends a message to an account.
    SendMessage { request_id: Uuid, to_id: u64, text: String },
    /// Everything up to this message has arrived.
    AcknowledgeMessages { request_id: Uuid, up_to: u64, history: Option<Uuid> },
    /// A page of the conversation with an account, newest first: the messages before `before`, or the newest.
    ListMessages {
        with_id: u64,
        #[serde(default)]
        before: u64,
        #[serde(default)]
        page_size: u32,
    },
    /// A page of the conversations, the one with the newest message first: those whose newest message is before `before`.
    ListConversations {
        #[serde(default)]
        before: u64,
        #[serde(default)]
        page_size: u32,
    },
    /// Everything of one conversation up to this message was seen.
    MarkRead { request_id: Uuid, with_id: u64, up_to: u64 },
    /// Whether others learn what this account has seen.
    SetReadMarks { request_id: Uuid, shown: bool },
    /// From now on messages (the account's own too) and receipts come by themselves, from the cursor on; without one, from
    /// the last message that the account has acknowledged. Never answered as such: `listening` comes first, and a refusal
    /// or `try_again` with this call's id says that it is over.
    Listen { cursor: Option<Cursor> },
}

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Which history.
    pub(crate) history: Option<Uuid>,
    /// The last message seen.
    pub(crate) after: u64,
}

/// What a replica says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerFrame {
    /// How the service stands, as this replica knows it: the first frame, and again whenever it changes.
    State(State),
    /// The answer to a call.
    Answer {
        /// Of which call.
        id: u64,
        /// What it came to.
        answer: Answer,
    },
    /// A call was refused, and had no effect.
    Refused {
        /// Which.
        id: u64,
        /// One of the reasons in `chat.proto`, such as `NAME_TAKEN`.
        reason: String,
        /// One sentence for people.
        message: String,
    },
    /// A call took effect, and fewer replicas hold that than the operator demands: made again with the same `request_id`, it
    /// is answered once enough do.
    KeptOnFewer {
        /// Which.
        id: u64,
        /// How many replicas hold it.
        copies: u32,
        /// How many replicas there are.
        replicas: u32,
        /// One sentence for people.
        message: String,
    },
    /// It is unknown here whether a call had an effect: make it again, with the same `request_id`.
    TryAgain {
        /// Which.
        id: u64,
        /// Where the primary listens, if this replica does not lead and knows who does.
        primary: Option<String>,
    },
    /// Where listening begins.
    Listening {
        /// The place.
        cursor: Cursor,
    },
    /// A message from or to the account.
    Message(Message),
    /// Something has arrived, or was seen.
    Receipt(Receipt),
    /// The page read too slowly, and receipts were passed over: `list_conversations` tells how things stand.
    ReceiptsMissed {},
    /// Nothing else has happened for a while. A replica that does not serve beats every ten seconds.
    Beat {
        /// The replica's wall clock, as in `state`.
        clock: u64,
    },
}

impl ServerFrame {
    pub(crate) fn beat() -> Self {
        Self::Beat { clock: clock::wall().0 }
    }
}

/// How the service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct State {
    /// The index of this replica.
    pub(crate) replica: u32,
    /// Whether it answers calls. If not, go to the primary.
    pub(crate) serving: bool,
    /// A replica that serves says something at least so often, in milliseconds; silence means that it is lost.
    pub(crate) beat_every: u32,
    /// Where the primary listens, if it is known.
    pub(crate) primary: Option<String>,
    /// Where every replica listens, by index.
    pub(crate) addresses: Vec<String>,
    /// How many replicas are in sync.
    pub(crate) in_sync: usize,
    /// The replica's wall clock when it said this, in milliseconds since 1970: request ids are dated by the clock of the one
    /// that serves.
    pub(crate) clock: u64,
    /// All of this in one sentence for people, if this replica serves.
    pub(crate) sentence: Option<String>,
}

/// What a call came to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// `create_account`.
    AccountCreated { account_id: u64 },
    /// `login`.
    LoggedIn { token: String, expires_at: u64, account_id: u64, name: String },
    /// `identify`.
    Account { account_id: u64, name: String, shows_reads: bool, acknowledged: u64 },
    /// `logout`, `delete_account`, `change_password`, `set_read_marks`.
    Done {},
    /// `list_accounts`.
    Accounts { accounts: Vec<Account>, next_page_token: String },
    /// `send_message`: the message's number, when (milliseconds since 1970), and on how many replicas of how many it is.
    Sent { message_id: u64, sent_at: u64, copies: u32, replicas: u32 },
    /// `acknowledge_messages`, `mark_read`: everything up to here counts.
    UpTo { up_to: u64 },
    /// `list_messages`, newest first.
    Messages { messages: Vec<Message>, more: bool },
    /// `list_conversations`, newest first.
    Conversations { conversations: Vec<Conversation>, more: bool },
}

/// An account, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Message {
    /// Grows strictly over the whole chat.
    pub(crate) id: u64,
    pub(crate) from_id: u64,
    /// The sender's name when it was sent.
    pub(crate) from: String,
    pub(crate) to_id: u64,
    pub(crate) to: String,
    /// Plain text; whatever it looks like, it is never markup.
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) sent_at: u64,
    /// The recipient has it. Told by `list_messages` only.
    pub(crate) delivered: bool,
    /// The recipient was deleted before it arrived; the text is gone.
    pub(crate) undeliverable: bool,
}

/// A conversation with one other account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Conversation {
    pub(crate) with_id: u64,
    pub(crate) with: String,
    /// The other side's account is gone: it can't be written to.
    pub(crate) deleted: bool,
    /// The newest message.
    pub(crate) last: Option<Message>,
    /// At most 1000.
    pub(crate) unread: u32,
    /// This account has seen everything up to here.
    pub(crate) read_up_to: u64,
    /// The other side has everything up to here.
    pub(crate) delivered_up_to: u64,
    /// The other side has seen everything up to here, as far as it lets others know.
    pub(crate) seen_up_to: u64,
}

/// Something of a conversation has arrived, or was seen; 0 stands for nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Receipt {
    pub(crate) with_id: u64,
    /// The other side has everything up to here.
    pub(crate) delivered_up_to: u64,
    /// The other side has seen everything up to here.
    pub(crate) seen_up_to: u64,
    /// This account has seen everything up to here, perhaps on another device.
    pub(crate) read_up_to: u64,
}

impl std::fmt::Debug for Call {
    /// Passwords, tokens and texts stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Call(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::cluster::ClusterFrame;
    use serde_json::Value;
    use std::path::{Path, PathBuf};

    fn docs(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
    }

    /// `REWRITE=1 cargo test -p server` writes the schema anew.
    #[test]
    fn the_schema_in_the_docs_is_the_one_of_the_code() {
        #[derive(schemars::JsonSchema)]
        #[expect(dead_code, reason = "only its schema is of use")]
        struct WebSocketFrames {
            /// What a page asks on `/socket`.
            ask: ClientFrame,
            /// What a replica says on `/socket`.
            say: ServerFrame,
            /// What a replica says on `/cluster/socket`.
            cluster: ClusterFrame,
        }
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(WebSocketFrames)).unwrap() + "\n";
        let path = docs("web-socket.schema.json");
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, &schema).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == schema, "{} is out of date: REWRITE=1 cargo test -p server", path.display());
    }

    #[test]
    fn every_example_in_the_docs_is_a_frame() {
        let page = std::fs::read_to_string(docs("web.md")).unwrap();
        let blocks = page.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
        let mut examples = 0;
        for line in blocks.flat_map(str::lines).filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let first = value.as_object().unwrap().keys().next().unwrap().as_str();
            let again = match first {
                "call" | "id" => serde_json::from_value::<ClientFrame>(value.clone())
                    .map(|ask| serde_json::to_value(ask).unwrap()),
                "cluster" | "replica" | "views" => serde_json::from_value::<ClusterFrame>(value.clone())
                    .map(|say| serde_json::to_value(say).unwrap()),
                _ => serde_json::from_value::<ServerFrame>(value.clone())
                    .map(|say| serde_json::to_value(say).unwrap()),
            };
            assert_eq!(again.unwrap_or_else(|error| panic!("{line}: {error}")), value, "{line}");
            examples += 1;
        }
        assert!(examples >= 20, "{examples} examples");
    }
}
