//! What people type: names, passwords, texts, patterns, addresses, and the tokens they send.
#![no_main]

use chat::{Address, MessageText, NamePattern, NameRules, Password, UserName, parse_servers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = UserName::parse(text, &NameRules::default()) {
        let again = UserName::parse(name.shown(), &NameRules::default()).expect("an accepted name is a name");
        assert_eq!(again.key(), name.key());
    }
    drop(Password::parse(text));
    if let Ok(message) = MessageText::parse(text) {
        assert_eq!(message.as_str(), text, "a text is kept byte for byte");
    }
    if let Ok(pattern) = NamePattern::parse(text) {
        pattern.matches("alice");
    }
    NamePattern::parse(&NamePattern::from_glob(text)).map(|pattern| pattern.matches(text)).ok();
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(&address.to_string()).ok(), Some(address));
    }
    drop(parse_servers(text));
});
