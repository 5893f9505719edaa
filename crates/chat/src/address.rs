//! Addresses: where a replica listens.

use crate::refusal::Refusal;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A valid address: an IPv4 or IPv6 address or a host name, with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Address {
    /// An address on this machine.
    pub const fn loopback(port: u16) -> Self {
        Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
    }

    /// Checks an address (`validate_ip` of the original design).
    pub fn parse(address: &str) -> Result<Self, Refusal> {
        let refuse = |why| Refusal::Address { address: address.chars().take(80).collect(), why };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| refuse("it has no port"))?;
        let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0);
        let port = port.ok_or_else(|| refuse("its port is not a number from 1 to 65535"))?;
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| refuse("its bracket is not closed"))?;
            let ip = inner
                .parse::<Ipv6Addr>()
                .map_err(|_| refuse("what stands in brackets is not an IPv6 address"))?;
            return Ok(Self { host: Host::Ip(IpAddr::V6(ip)), port });
        }
        if host.contains(':') {
            return Err(refuse("an IPv6 address needs brackets"));
        }
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let ip = host.parse::<Ipv4Addr>().map_err(|_| refuse("it is not an IPv4 address"))?;
            return Ok(Self { host: Host::Ip(IpAddr::V4(ip)), port });
        }
        // RFC 1123 §2.1: labels of letters, digits and inner hyphens.
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(refuse("its host is not a valid name"));
        }
        Ok(Self { host: Host::Name(host.to_ascii_lowercase()), port })
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// Whether it can only mean this machine.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Parses a list such as `127.0.0.1:5100,5101,5102`: a bare port stands on the host before it.
pub fn parse_servers(list: &str) -> Result<Vec<Address>, Refusal> {
    let mut servers: Vec<Address> = Vec::new();
    for item in list.split(',').map(str::trim) {
        let bare = !item.is_empty() && item.bytes().all(|b| b.is_ascii_digit());
        let server = match servers.last() {
            Some(before) if bare => {
                Address::parse(&before.with_port(0).to_string().replace(":0", &format!(":{item}")))?
            }
            _ => Address::parse(item)?,
        };
        servers.push(server);
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_each_kind_are_understood() {
        for address in ["127.0.0.1:5100", "[::1]:5100", "localhost:1", "chat-1.example.org:65535"] {
            assert_eq!(Address::parse(address).unwrap().to_string(), address);
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_an_example_of_a_good_one() {
        let bad = [
            "",
            "127.0.0.1",
            ":5100",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "127.0.0.1:+80",
            "256.0.0.1:80",
            "1.2.3:80",
            "::1:5100",
            "[::1:5100",
            "[::g]:80",
            "-a.org:80",
            "a..b:80",
            "ho st:80",
            "a_b:80",
            "é:80",
        ];
        for address in bad {
            let Err(refusal) = Address::parse(address) else { panic!("{address:?} was accepted") };
            assert!(refusal.to_string().contains("HOST:PORT"), "{refusal}");
        }
    }

    #[test]
    fn a_bare_port_stands_on_the_host_before_it() {
        let servers =
            |list| parse_servers(list).map(|all| all.iter().map(Address::to_string).collect::<Vec<_>>());
        let three = ["127.0.0.1:5100", "127.0.0.1:5101", "127.0.0.1:5102"].map(str::to_owned);
        assert_eq!(servers("127.0.0.1:5100,5101, 5102").unwrap(), three);
        assert_eq!(servers("[::1]:7,8").unwrap(), ["[::1]:7", "[::1]:8"]);
        assert!(servers("5100").is_err());
        assert!(servers("a:1,,b:2").is_err());
        assert!(servers("a:1,99999").is_err());
    }

    proptest! {
        #[test]
        fn no_address_panics(address in any::<String>()) {
            drop(Address::parse(&address));
            drop(parse_servers(&address));
        }
    }
}
