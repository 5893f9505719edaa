//! Patterns over names: regular expressions that cannot hang a server, and the simpler globs.

use crate::limits::PATTERN_CHARACTERS_MAX;
use crate::refusal::Refusal;
use regex::{Regex, RegexBuilder};

/// Compiled program and lazy automaton may take this much memory, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;
const NESTING_MAX: u32 = 32;

/// A valid pattern. Matching takes time linear in the name, whatever the pattern (the `regex` crate has no
/// backtracking).
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// Checks a regular expression (`validate_regex` of the original design). It matches anywhere in a name, ignoring
    /// case, unless it is anchored.
    pub fn parse(pattern: &str) -> Result<Self, Refusal> {
        let characters = pattern.chars().count();
        if characters > PATTERN_CHARACTERS_MAX {
            return Err(Refusal::PatternTooLong { characters });
        }
        let built = RegexBuilder::new(pattern)
            .case_insensitive(true)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Refusal::PatternTooCostly,
            other => {
                let text = other.to_string();
                let why = text
                    .lines()
                    .rev()
                    .find_map(|line| line.strip_prefix("error: "))
                    .unwrap_or("it does not parse");
                Refusal::PatternInvalid { why: why.to_owned() }
            }
        })
    }

    /// The regular expression for a glob: `*` stands for any characters, `?` for one; the whole name must match.
    pub fn from_glob(glob: &str) -> String {
        let mut pattern = String::from("^");
        for character in glob.chars() {
            match character {
                '*' => pattern.push_str(".*"),
                '?' => pattern.push('.'),
                other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
        }
        pattern.push('$');
        pattern
    }

    /// Whether the pattern matches this name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_anywhere_unless_anchored() {
        let cases = [
            ("al", "Alice", true),
            ("^al", "coral", false),
            ("", "anyone", true),
            ("^(bob|eve)$", "eve", true),
        ];
        for (pattern, name, matches) in cases {
            assert_eq!(NamePattern::parse(pattern).unwrap().matches(name), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn globs_match_whole_names() {
        let cases =
            [("al*", "alice", true), ("al*", "coral", false), ("b?b", "bob", true), ("a.c", "abc", false)];
        for (glob, name, matches) in cases {
            let pattern = NamePattern::parse(&NamePattern::from_glob(glob)).unwrap();
            assert_eq!(pattern.matches(name), matches, "{glob} on {name}");
        }
    }

    #[test]
    fn patterns_that_do_not_parse_or_would_explode_are_refused() {
        assert!(matches!(NamePattern::parse("("), Err(Refusal::PatternInvalid { .. })));
        assert!(matches!(NamePattern::parse("[z-a]"), Err(Refusal::PatternInvalid { .. })));
        assert!(matches!(NamePattern::parse("(a)\\1"), Err(Refusal::PatternInvalid { .. })));
        assert_eq!(NamePattern::parse("(\\w{900}){900}").err(), Some(Refusal::PatternTooCostly));
        assert!(NamePattern::parse(&"(".repeat(200)).is_err());
        assert_eq!(
            NamePattern::parse(&"a".repeat(257)).err(),
            Some(Refusal::PatternTooLong { characters: 257 })
        );
        let Err(refusal) = NamePattern::parse("a{2,1}") else { panic!("accepted") };
        assert_eq!(refusal.to_string().lines().count(), 1, "one line: {refusal}");
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in any::<String>(), name in any::<String>()) {
            if let Ok(pattern) = NamePattern::parse(&pattern) {
                pattern.matches(&name);
            }
        }
    }
}
