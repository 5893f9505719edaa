//! Where passwords come from: never from an argument, which every process on the machine could read.

use crate::arguments::PasswordSource;
use crate::failure::Failure;
use std::io::{self, BufRead};

const PASSWORD: &str = "TRIALOGUE_PASSWORD";
const NEW_PASSWORD: &str = "TRIALOGUE_NEW_PASSWORD";

/// The variables that may hold a password. They are for this process, and are taken out of what its children inherit.
pub(crate) const VARIABLES: [&str; 2] = [PASSWORD, NEW_PASSWORD];

/// The password, from standard input, else from `TRIALOGUE_PASSWORD`, else from a prompt.
pub(crate) fn read(source: &PasswordSource, prompt: &str) -> Result<String, Failure> {
    one(source, PASSWORD, prompt)
}

/// A second password, from the second line, else from `TRIALOGUE_NEW_PASSWORD`, else from a prompt.
pub(crate) fn read_new(source: &PasswordSource, prompt: &str) -> Result<String, Failure> {
    one(source, NEW_PASSWORD, prompt)
}

fn one(source: &PasswordSource, variable: &str, prompt: &str) -> Result<String, Failure> {
    if source.password_stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|error| {
            Failure::Failed(format!("the password could not be read from standard input: {error}"))
        })?;
        let password = line.strip_suffix('\n').unwrap_or(&line);
        return Ok(password.strip_suffix('\r').unwrap_or(password).to_owned());
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
