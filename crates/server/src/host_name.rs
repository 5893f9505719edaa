//! Names by which browsers may open a replica's pages, besides its address.

use chat::Address;

/// A name that an operator has added: a host, at any port or at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    host: String,
    port: Option<String>,
}

impl HostName {
    /// Reads `HOST` or `HOST:PORT`, by the rules of [`Address`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let with_port = Address::parse(text).ok();
        let any_port = with_port.is_none();
        let address = with_port.or_else(|| Address::parse(&format!("{text}:1")).ok())?.to_string();
        let (host, port) = address.rsplit_once(':')?;
        Some(Self { host: host.to_owned(), port: (!any_port).then(|| port.to_owned()) })
    }

    /// Whether a host, in lower case, with or without a port, is meant.
    pub(crate) fn matches(&self, host: &str) -> bool {
        let rest = host
            .strip_prefix(&self.host)
            .map(|rest| rest.strip_prefix(':').or(rest.is_empty().then_some("")));
        match (rest.flatten(), &self.port) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(port), Some(wanted)) => port == wanted,
        }
    }
}
