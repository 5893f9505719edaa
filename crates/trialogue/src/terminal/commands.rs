//! What can be typed after a slash.

/// A command, with what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    To(String),
    List(String),
    History,
    Password,
    DeleteAccount,
    Logout,
    Marks(bool),
    Bell(bool),
    Again,
    Drop,
    Status,
    Help,
    Quit,
}

/// Name, what stands behind it, what it does: the order in which they are completed and explained.
pub(crate) const COMMANDS: [(&str, &str, &str); 13] = [
    ("to", "NAME", "open the conversation with a person"),
    ("list", "[REGEX]", "who has an account, by a regular expression over the names"),
    ("history", "", "go back to the beginning of this conversation"),
    ("passwd", "", "change the password; other sessions end"),
    ("delete-account", "", "delete this account (asks for the password, and once more)"),
    ("logout", "", "end this session, and forget what was not sent"),
    ("marks", "on|off", "whether others see what you have read, and you of them"),
    ("bell", "on|off", "a bell for a message in another conversation"),
    ("again", "", "send the first message here that was refused once more"),
    ("drop", "", "let go of the first message here that was refused"),
    ("status", "", "who serves, who is in sync"),
    ("help", "", "these lines, and the keys"),
    ("quit", "", "leave; what is not sent yet is sent next time"),
];

/// The keys, for the help.
pub(crate) const KEYS: [(&str, &str); 8] = [
    ("Enter, Alt-Enter", "send; a new line in the message"),
    ("Tab", "complete a command or a name"),
    ("Up, Down", "what you typed before, in an empty line or at its ends"),
    ("Alt-Up, Alt-Down", "the conversation above, below"),
    ("PageUp, PageDown, wheel", "older and newer messages"),
    ("Ctrl-End", "the newest message"),
    ("Ctrl-A E K U W Y Z", "beginning, end, cut to the end, to the beginning, a word; paste it; undo"),
    ("Ctrl-C", "let go of what was begun; with nothing begun, quit; so does Ctrl-D"),
];

impl Command {
    /// Reads a line that begins with a slash; the error is a sentence for people.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim_end().trim_start_matches('/');
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let on_or_off = |what: &str| match rest {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("say /{what} on, or /{what} off")),
        };
        let command = match name {
            "to" if rest.is_empty() => return Err("to whom? say /to NAME".into()),
            "to" => Self::To(rest.to_owned()),
            "list" => Self::List(rest.to_owned()),
            "history" => Self::History,
            "passwd" => Self::Password,
            "delete-account" => Self::DeleteAccount,
            "logout" => Self::Logout,
            "marks" => Self::Marks(on_or_off(name)?),
            "bell" => Self::Bell(on_or_off(name)?),
            "again" => Self::Again,
            "drop" => Self::Drop,
            "status" => Self::Status,
            "help" => Self::Help,
            "quit" => Self::Quit,
            _ => return Err(format!("there is no command /{name}; /help shows them all")),
        };
        Ok(command)
    }
}

/// Completes what stands before the cursor: a command, or a name behind `/to`. With several possibilities, as far as they
/// agree; `None` if there is nothing to add.
pub(crate) fn complete<'a>(line: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let typed = line.strip_prefix('/')?;
    if let Some(begun) = typed.strip_prefix("to ") {
        let found = common(begun, names)?;
        return Some(format!("/to {found}"));
    }
    let found = common(typed, COMMANDS.iter().map(|(name, _, _)| *name))?;
    let whole = COMMANDS.iter().find(|(name, _, _)| *name == found);
    let more_to_say = whole.is_some_and(|(_, rest, _)| !rest.is_empty());
    Some(format!("/{found}{}", if more_to_say { " " } else { "" }))
}

/// The longest beginning that all candidates share which begin like this.
fn common<'a>(begun: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let begins = |candidate: &&str| candidate.to_lowercase().starts_with(&begun.to_lowercase());
    let shared = candidates.filter(begins).map(str::to_owned).reduce(|one, other| {
        let pairs = one.chars().zip(other.chars()).take_while(|(a, b)| a.to_lowercase().eq(b.to_lowercase()));
        pairs.map(|(a, _)| a).collect()
    })?;
    (shared.chars().count() >= begun.chars().count() && shared != begun).then_some(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_or_refused_with_a_sentence() {
        let cases = [
            ("/to bob", Ok(Command::To("bob".into()))),
            ("/to  Jürgen ", Ok(Command::To("Jürgen".into()))),
            ("/to", Err("to whom? say /to NAME")),
            ("/list", Ok(Command::List(String::new()))),
            ("/list ^b.*", Ok(Command::List("^b.*".into()))),
            ("/marks off", Ok(Command::Marks(false))),
            ("/bell", Err("say /bell on, or /bell off")),
            ("/quit", Ok(Command::Quit)),
            ("/qiut", Err("there is no command /qiut; /help shows them all")),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse(line), expected.map_err(str::to_owned), "{line}");
        }
        for (name, rest, _) in COMMANDS {
            let argument = rest.split('|').next().unwrap();
            Command::parse(&format!("/{name} {argument}")).unwrap();
        }
    }

    #[test]
    fn tab_adds_as_much_as_is_certain() {
        let names = ["Bob", "bobby", "carol"];
        let cases = [
            ("/h", Some("/h")),
            ("/he", Some("/help")),
            ("/pas", Some("/passwd")),
            ("/to c", Some("/to carol")),
            ("/to b", Some("/to Bob")),
            ("/to bobb", Some("/to bobby")),
            ("/to x", None),
            ("/t", Some("/to ")),
            ("hello", None),
        ];
        for (line, expected) in cases {
            let completed = complete(line, names.into_iter());
            assert_eq!(
                completed.or_else(|| (expected == Some(line)).then(|| line.into())).as_deref(),
                expected,
                "{line}"
            );
        }
    }
}
