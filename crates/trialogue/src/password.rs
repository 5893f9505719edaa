//! Where passwords come from: never from an argument, which every process on the machine could read.

use crate::arguments::PasswordSource;
use crate::failure::Failure;
use crate::input::{self, Given};
use chat::{PASSWORD_CHARACTERS_MAX, Refusal};
use std::io;

const PASSWORD: &str = "TRIALOGUE_PASSWORD";
const NEW_PASSWORD: &str = "TRIALOGUE_NEW_PASSWORD";

/// Room for every character that a password may have.
const PASSWORD_BYTES_MAX: usize = 4 * PASSWORD_CHARACTERS_MAX;

/// The variables that may hold a password. They are for this process, and are taken out of what its children inherit.
pub(crate) const VARIABLES: [&str; 2] = [PASSWORD, NEW_PASSWORD];

/// The password, from standard input, else from `TRIALOGUE_PASSWORD`, else from a prompt.
pub(crate) fn read(source: &PasswordSource, prompt: &str) -> Result<String, Failure> {
    read_or_ask(source, PASSWORD, prompt)
}

/// A second password, from the second line, else from `TRIALOGUE_NEW_PASSWORD`, else from a prompt.
pub(crate) fn read_new(source: &PasswordSource, prompt: &str) -> Result<String, Failure> {
    read_or_ask(source, NEW_PASSWORD, prompt)
}

fn read_or_ask(source: &PasswordSource, variable: &str, prompt: &str) -> Result<String, Failure> {
    if source.password_stdin {
        let line = input::line(&mut io::stdin().lock(), PASSWORD_BYTES_MAX).map_err(|error| {
            Failure::Failed(format!("the password could not be read from standard input: {error}"))
        })?;
        return match line.unwrap_or(Given::Text(String::new())) {
            Given::Text(password) => Ok(password),
            Given::TooLong(_) => Err(Failure::of(Refusal::PasswordTooLong)),
            Given::NotUtf8 => Err(Failure::Failed("the password is not valid UTF-8".into())),
        };
    }
    if let Ok(password) = std::env::var(variable) {
        return Ok(password);
    }
    rpassword::prompt_password(prompt).map_err(|error| {
        Failure::Usage(format!(
            "no password: use --password-stdin or {variable} where there is no terminal ({error})"
        ))
    })
}
