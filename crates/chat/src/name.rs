//! User names: any script, shown as written, compared case-folded (RFC 8265 §3.3, `UsernameCaseMapped`).

use crate::limits::NAME_CHARACTERS_MAX;
use crate::look::looks;
use crate::refusal::Refusal;
use precis_core::profile::PrecisFastInvocation;
use precis_profiles::UsernameCaseMapped;
use std::fmt;
use std::sync::Arc;

/// Which characters names may not have, beyond those that RFC 8265 excludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Every character of this text is illegal in a name.
    pub illegal: Arc<str>,
}

impl Default for NameRules {
    /// Signs that shells, globs, markup and paths give a meaning to.
    fn default() -> Self {
        Self { illegal: "\"'`\\/<>;|&#*?".into() }
    }
}

/// A valid user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName {
    shown: String,
    key: String,
}

impl UserName {
    /// Checks a name (`validate_user` of the original design).
    pub fn parse(name: &str, rules: &NameRules) -> Result<Self, Refusal> {
        let characters = name.chars().count();
        if characters == 0 {
            return Err(Refusal::NameEmpty);
        }
        if characters > NAME_CHARACTERS_MAX {
            return Err(Refusal::NameTooLong { characters });
        }
        let illegal = |c: &char| c.is_whitespace() || c.is_control() || rules.illegal.contains(*c);
        if let Some(character) = name.chars().find(illegal) {
            return Err(Refusal::NameCharacter { character });
        }
        Ok(Self { shown: name.to_owned(), key: key_of(name)? })
    }

    /// The name as its owner writes it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// What two spellings of one name have in common.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What names that can't be told apart have in common: at least one of these.
    pub fn looks(&self) -> Vec<String> {
        looks(&self.shown, &self.key)
    }
}

/// What all spellings of a name have in common. The name is not empty.
fn key_of(name: &str) -> Result<String, Refusal> {
    // Of ASCII's letters, digits and signs the profile changes capitals alone. Each message names its recipient, and to look up
    // every character in the tables of Unicode takes a noticeable part of the time of a send.
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(name.to_ascii_lowercase());
    }
    key_by_profile(name)
}

/// The key by RFC 8265, for a name of any script.
fn key_by_profile(name: &str) -> Result<String, Refusal> {
    let key = UsernameCaseMapped::enforce(name).map_err(|error| match error {
        precis_core::Error::BadCodepoint(info) => char::from_u32(info.cp)
            .map_or(Refusal::NameMixed, |character| Refusal::NameCharacter { character }),
        precis_core::Error::Invalid | precis_core::Error::Unexpected(_) => Refusal::NameMixed,
    })?;
    Ok(key.into_owned())
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(name: &str) -> Result<UserName, Refusal> {
        UserName::parse(name, &NameRules::default())
    }

    #[test]
    fn names_of_any_script_are_allowed_and_shown_as_written() {
        for name in
            ["alice", "Bob", "zoë", "Ольга", "李雷", "يوسف", "x", "a.b_c-9", &"n".repeat(NAME_CHARACTERS_MAX)]
        {
            assert_eq!(parse(name).map(|name| name.shown().to_owned()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn spellings_that_differ_in_case_or_width_are_one_name() {
        for (one, other) in [("Alice", "aLICE"), ("ＡＬＩＣＥ", "alice"), ("Ольга", "ольга")] {
            assert_eq!(parse(one).unwrap().key(), parse(other).unwrap().key(), "{one} and {other}");
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        let character = |character| Refusal::NameCharacter { character };
        let cases = [
            ("", Refusal::NameEmpty),
            ("two words", character(' ')),
            ("tab\there", character('\t')),
            ("new\nline", character('\n')),
            ("nul\0", character('\0')),
            ("bell\u{7}", character('\u{7}')),
            ("semi;colon", character(';')),
            ("a'b", character('\'')),
            ("<b>", character('<')),
            ("zero\u{200b}width", character('\u{200b}')),
            ("אa", Refusal::NameMixed),
        ];
        for (name, refusal) in cases {
            assert_eq!(parse(name), Err(refusal), "{name:?}");
        }
        assert_eq!(parse(&"n".repeat(33)), Err(Refusal::NameTooLong { characters: 33 }));
    }

    #[test]
    fn an_operator_may_forbid_other_characters() {
        let rules = NameRules { illegal: "xyz".into() };
        assert_eq!(UserName::parse("boxer", &rules), Err(Refusal::NameCharacter { character: 'x' }));
        assert!(UserName::parse("a;b", &rules).is_ok());
    }

    #[test]
    fn the_key_of_an_ascii_name_is_the_one_of_the_profile() {
        let ascii = || (0..=0x7f_u8).map(char::from);
        for first in ascii() {
            assert_eq!(key_of(&first.to_string()), key_by_profile(&first.to_string()), "{first:?}");
            for second in ascii() {
                let name = format!("{first}{second}");
                assert_eq!(key_of(&name), key_by_profile(&name), "{name:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_ascii_name_has_the_key_of_the_profile(name in "[ -~]{1,32}") {
            prop_assert_eq!(key_of(&name), key_by_profile(&name));
        }

        #[test]
        fn no_name_panics_and_a_valid_one_is_its_own_key_again(name in any::<String>()) {
            if let Ok(name) = parse(&name) {
                prop_assert!(!name.key().is_empty());
                let again = parse(name.key());
                prop_assert!(again.is_err() || again.unwrap().key() == name.key());
            }
        }
    }
}
