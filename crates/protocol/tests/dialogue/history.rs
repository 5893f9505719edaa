//! Logs that everybody in a dialogue knows: `3` is the main history up to op 3; `3x` another history altogether; `3y` the
//! main one with another third entry.

use protocol::{Chain, DatabaseId, Entry, Op, Position, Record};

/// What an entry of a dialogue carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(Vec<u8>);

impl Record for Word {
    fn encoded(&self) -> &[u8] {
        &self.0
    }
}

const LONGEST: u64 = 20;

/// The database that a replica has at first; others are written `dN`.
pub(crate) fn database(number: u8) -> DatabaseId {
    DatabaseId([number; 16])
}

/// The whole log that ends at the named position.
pub(crate) fn log(name: &str) -> Vec<Entry<Word>> {
    let digits = name.trim_end_matches(|c: char| !c.is_ascii_digit());
    let kind = &name[digits.len()..];
    let last: u64 = digits.parse().unwrap_or_else(|_| panic!("not a position: {name}"));
    let mut end = Position::ORIGIN;
    let entry = |op: u64| {
        let branch = match kind {
            "x" => "other",
            "y" if op == last => "branch",
            "" | "y" => "main",
            _ => panic!("not a position: {name}"),
        };
        let entry = end.follow(Word(format!("{branch} {op}").into_bytes()));
        end = entry.position();
        entry
    };
    (1..=last).map(entry).collect()
}

/// The named position.
pub(crate) fn position(name: &str) -> Position {
    log(name).last().map_or(Position::ORIGIN, Entry::position)
}

/// What a position is called.
pub(crate) fn name(position: Position) -> String {
    let names = ["", "x", "y"].map(|kind| format!("{}{kind}", position.op));
    let known = names.into_iter().find(|name| position.op.0 <= LONGEST && self::position(name) == position);
    known.unwrap_or_else(|| format!("{position}"))
}

/// The entries after an op, of the log that ends at the named position.
pub(crate) fn after(op: Op, name: &str) -> Vec<Entry<Word>> {
    log(name).into_iter().filter(|entry| entry.op > op).collect()
}

/// The chain that the main history has at an op.
pub(crate) fn chain_at(name: &str) -> Chain {
    position(name).chain
}
