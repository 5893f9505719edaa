//! What names look like: two names that a reader can't tell apart have a look in common (Unicode Technical Standard 39,
//! section 4, "skeletons"), such as `alice` and the same with a Cyrillic `а`.
//!
//! A name is shown as it was written and compared without regard to case, so it has two looks: that of what is shown, with
//! the case taken away *after* the look-alikes (`Воb` with a Cyrillic `В` is `bob`), and that of what is compared (`аLICE`
//! is `alice`). A newer Unicode may know other look-alikes, so looks are no part of any fact: each replica derives them for
//! itself, and only the primary asks for them.

use unicode_security::{UNICODE_VERSION, skeleton};

/// Changes with the rule below; the tables behind it have a version of their own.
const RULE: u32 = 1;

/// By which rule and which tables looks are computed: looks of another version can't be compared with these.
pub fn looks_version() -> String {
    let (major, minor, update) = UNICODE_VERSION;
    format!("{RULE}, Unicode {major}.{minor}.{update}")
}

/// The looks of a name that is shown and compared as given. At least one, and no two the same.
pub fn looks(shown: &str, key: &str) -> Vec<String> {
    let of_shown = skeleton(shown).collect::<String>().to_lowercase();
    let of_key = skeleton(key).collect::<String>();
    if of_shown == of_key { vec![of_key] } else { vec![of_shown, of_key] }
}

#[cfg(test)]
mod tests {
    use crate::name::{NameRules, UserName};

    fn alike(one: &str, other: &str) -> bool {
        let looks = |name| UserName::parse(name, &NameRules::default()).unwrap().looks();
        let others = looks(other);
        looks(one).iter().any(|look| others.contains(look))
    }

    #[test]
    fn names_that_no_person_can_tell_apart_look_alike() {
        for (one, other) in [
            ("alice", "\u{430}lice"),
            ("alice", "\u{410}LICE"),
            ("Alice", "al\u{131}ce"),
            ("bob", "\u{412}ob"),
            ("Ivan", "\u{406}v\u{430}n"),
            ("ivan", "IV\u{410}N"),
            ("scope", "\u{455}\u{441}\u{43e}\u{440}\u{435}"),
            ("modern", "modem"),
        ] {
            assert!(alike(one, other), "{one} and {other}");
        }
        for (one, other) in
            [("alice", "alicia"), ("zoe", "zoë"), ("Ольга", "Олег"), ("李雷", "李霞"), ("jose", "josé")]
        {
            assert!(!alike(one, other), "{one} and {other}");
        }
    }
}
