//! Passwords: prepared by RFC 8265 §4.2 (`OpaqueString`), so that the same password typed on two keyboards is the same.

use crate::limits::{PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN};
use crate::refusal::Refusal;
use precis_core::profile::PrecisFastInvocation;
use precis_profiles::OpaqueString;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A valid password in the clear. It is never shown, logged or stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl Password {
    /// Checks and prepares a password.
    pub fn parse(password: &str) -> Result<Self, Refusal> {
        let characters = password.chars().count();
        if characters < PASSWORD_CHARACTERS_MIN {
            return Err(Refusal::PasswordTooShort);
        }
        if characters > PASSWORD_CHARACTERS_MAX {
            return Err(Refusal::PasswordTooLong);
        }
        let prepared = OpaqueString::enforce(password).map_err(|_| Refusal::PasswordCharacter)?;
        Ok(Self(prepared.as_ref().into()))
    }

    /// The prepared password, for the hash function alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A password as it is stored: an Argon2id hash with its salt and cost, in PHC form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_may_have_spaces_and_any_script_but_no_controls() {
        let long = "p".repeat(PASSWORD_CHARACTERS_MAX);
        let too_long = "p".repeat(PASSWORD_CHARACTERS_MAX + 1);
        let cases = [
            ("correct horse battery", None),
            ("пароль-пароль", None),
            ("eight888", None),
            (&*long, None),
            ("seven77", Some(Refusal::PasswordTooShort)),
            ("", Some(Refusal::PasswordTooShort)),
            (&*too_long, Some(Refusal::PasswordTooLong)),
            ("line\nbreak", Some(Refusal::PasswordCharacter)),
            ("nul\0nul\0", Some(Refusal::PasswordCharacter)),
        ];
        for (password, refusal) in cases {
            assert_eq!(Password::parse(password).err(), refusal, "{password:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = Password::parse("correct horse").unwrap();
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same_password() {
        assert_eq!(
            Password::parse("cafe\u{301}-café").unwrap(),
            Password::parse("café-cafe\u{301}").unwrap()
        );
    }
}
