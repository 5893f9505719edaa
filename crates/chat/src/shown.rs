//! Showing what others wrote: on a terminal, in a line of a log, in JSON.
//!
//! A text of another process may hold anything: a newline that would begin a second line, an escape sequence that would
//! drive a terminal, a mark that would turn around what follows it (Unicode Standard Annex 9; "Trojan Source",
//! CVE-2021-42574). Which characters those are is said once, here.

use std::fmt::{self, Write};

/// What a text is shown as in the place of a control character.
const REPLACEMENT: char = '\u{fffd}';

/// Whether a character changes the direction of writing (the property `Bidi_Control`).
fn turns(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Whether a character is a control character, or one that ends a line or a paragraph.
fn controls(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text without anything that could drive a terminal or turn its text around. Its newlines stay.
pub fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| !turns(*c))
        .map(|c| if controls(c) && c != '\n' { REPLACEMENT } else { c })
        .collect()
}

/// The same on one line.
pub fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// A text with each such character, newlines too, written as an escape sequence of Rust, so that nothing of it is lost: one
/// line of a log.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if controls(c) || turns(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// JSON in which each such character is an escape sequence too (RFC 8259, section 7, demands that only of those below
/// U+0020). `json` must be JSON without any newline outside of its texts.
pub fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if controls(c) || turns(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a String takes whatever is written to it");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &str = "a\n\u{1b}[2J\r\u{9b}\u{7f}\u{2028}\u{202e}\u{2066}\u{61c}\u{200f}é👩‍👧";

    #[test]
    fn what_could_drive_a_terminal_or_turn_a_text_around_is_not_shown() {
        assert_eq!(harmless(HOSTILE), "a\n\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}é👩‍👧");
        assert_eq!(harmless_line(HOSTILE), "a \u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}é👩‍👧");
        assert_eq!(harmless("plain text, שלום and \"quotes\" \\n"), "plain text, שלום and \"quotes\" \\n");
    }

    #[test]
    fn in_a_log_nothing_of_it_is_lost() {
        assert_eq!(
            Escaped(HOSTILE).to_string(),
            r"a\n\u{1b}[2J\r\u{9b}\u{7f}\u{2028}\u{202e}\u{2066}\u{61c}\u{200f}é👩‍👧"
        );
    }

    proptest! {
        #[test]
        fn whatever_the_text_nothing_harmful_is_left(text in any::<String>()) {
            let harmful = |c: char| (controls(c) && c != '\n') || turns(c);
            prop_assert!(!harmless(&text).contains(harmful));
            prop_assert!(!harmless_line(&text).contains(|c| harmful(c) || c == '\n'));
            let escaped = Escaped(&text).to_string();
            prop_assert!(!escaped.contains(|c| harmful(c) || c == '\n'));
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escaped_json(&json);
            prop_assert!(!escaped.contains(|c| harmful(c) || c == '\n'));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
    }
}
