//! The sentences of the screen: what works, what does not, what to do.

use super::commands::{COMMANDS, KEYS};
use super::conversation::Conversation;
use super::vocabulary::Connection;
use chat::ServiceState;

/// How the service is reached, in one sentence.
pub(crate) fn connection(connection: &Connection) -> String {
    match connection {
        Connection::Connecting => ServiceState::Connecting.to_string(),
        Connection::Serving { replica, address, state: ServiceState::Serving { .. } } => {
            format!("replica {replica} serves at {address}")
        }
        Connection::Serving { replica, state, .. } => format!("replica {replica}: {state}"),
        Connection::Reconnecting => ServiceState::Reconnecting.to_string(),
        Connection::NobodyServes => ServiceState::NobodyServes.to_string(),
    }
}

/// What is shown where there are no messages: in an open conversation, or in none, where there are some or none.
pub(crate) fn empty(open: Option<&Conversation>, connection: &Connection, some: bool) -> String {
    match open {
        Some(conversation) if conversation.deleted => {
            format!("The account {} was deleted.", conversation.name)
        }
        Some(conversation) => format!("No messages yet. Say hello to {}.", conversation.name),
        None if *connection == Connection::Connecting => "Connecting…".into(),
        None if some => "Say /to NAME to open a conversation.".into(),
        None => "No conversations yet. Say /to NAME to begin one, or /list to see who is there.".into(),
    }
}

/// The help, with its heading.
pub(crate) fn help() -> (String, Vec<String>) {
    let commands =
        COMMANDS.iter().map(|(name, rest, what)| format!("{:<24}{what}", format!("/{name} {rest}")));
    let keys = KEYS.iter().map(|(keys, what)| format!("{keys:<24}{what}"));
    let marks = [
        ("…", "on its way"),
        ("✓", "every replica in sync has it; with numbers, if those are fewer than there should be"),
        ("✓✓", "the other side has it"),
        ("✓✓ read", "and has seen it"),
    ];
    let marks = marks.iter().map(|(mark, what)| format!("{mark:<24}{what}"));
    let gap = || std::iter::once(String::new());
    ("help".into(), commands.chain(gap()).chain(keys).chain(gap()).chain(marks).collect())
}
