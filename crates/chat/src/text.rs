//! Message texts.

use crate::limits::MESSAGE_BYTES_MAX;
use crate::refusal::Refusal;
use std::sync::Arc;

/// A valid message text: it is kept and delivered byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageText(Arc<str>);

impl MessageText {
    /// Checks a text (`validate_input` of the original design).
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::TextEmpty);
        }
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(Refusal::TextTooLong { bytes: text.len() });
        }
        match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            Some(character) => Err(Refusal::TextCharacter { character }),
            None => Ok(Self(text.into())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_keep_everything_but_control_characters() {
        let full = "x".repeat(MESSAGE_BYTES_MAX);
        let cases = [
            ("hello", None),
            ("two\nlines\tand a tab", None),
            ("👩‍👩‍👧 emoji", None),
            ("'; DROP TABLE messages; --", None),
            (&*full, None),
            ("", Some(Refusal::TextEmpty)),
            ("bell\u{7}", Some(Refusal::TextCharacter { character: '\u{7}' })),
            ("escape\u{1b}[2J", Some(Refusal::TextCharacter { character: '\u{1b}' })),
            ("return\r\n", Some(Refusal::TextCharacter { character: '\r' })),
            ("c1\u{9b}", Some(Refusal::TextCharacter { character: '\u{9b}' })),
        ];
        for (text, refusal) in cases {
            assert_eq!(MessageText::parse(text).err(), refusal, "{text:?}");
        }
        let too_long = "é".repeat(MESSAGE_BYTES_MAX / 2 + 1);
        assert_eq!(MessageText::parse(&too_long), Err(Refusal::TextTooLong { bytes: too_long.len() }));
    }

    proptest! {
        #[test]
        fn a_valid_text_is_kept_byte_for_byte(text in any::<String>()) {
            if let Ok(valid) = MessageText::parse(&text) {
                prop_assert_eq!(valid.as_str(), text);
            }
        }
    }
}
