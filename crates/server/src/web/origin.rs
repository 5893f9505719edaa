//! Which pages may speak to a replica: its own, those of the other replicas, and nobody else's.
//!
//! A browser lets any site open a socket to any address, but says truthfully whose page does (RFC 6455, section 10.2). A
//! name that was made to point here (DNS rebinding) is no name in this list either.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use chat::Address;
use std::collections::BTreeSet;

/// Names of the loopback interface, each of which is another origin to a browser.
const LOOPBACK_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The origins of a cluster's pages.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Hosts with their ports.
    hosts: BTreeSet<String>,
}

impl Origins {
    /// Those of pages at these addresses.
    pub(crate) fn of<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> Self {
        let mut hosts = BTreeSet::new();
        for address in addresses {
            let text = address.to_string();
            if address.is_loopback()
                && let Some((_, port)) = text.rsplit_once(':')
            {
                hosts.extend(LOOPBACK_NAMES.map(|name| format!("{name}:{port}")));
            }
            hosts.insert(text);
        }
        Self { hosts }
    }

    /// Whether a request comes from such a page, or from no page at all.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.has(origin)),
            (Some(_), Some(_)) => false,
        }
    }

    /// Whether a request comes from such a page.
    pub(crate) fn demand(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(ORIGIN) && self.allow(headers)
    }

    fn has(&self, origin: &str) -> bool {
        let Some(host) = origin.strip_prefix("http://") else { return false };
        // A browser leaves the port out where it is the scheme's own.
        self.hosts.contains(host) || self.hosts.contains(&format!("{host}:80"))
    }

    /// What a page may do (Content-Security-Policy, level 3): its own scripts and styles, sockets to the replicas, and
    /// nothing else; text can't become script even by mistake (Trusted Types).
    pub(crate) fn content_security_policy(&self) -> String {
        // A policy can't name an IPv6 address (CSP level 3, section 2.3.1): such pages reach their own replica alone.
        let named = self.hosts.iter().filter(|host| !host.starts_with('['));
        let sockets: Vec<String> = named.map(|host| format!(" ws://{host}")).collect();
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; manifest-src 'self'; \
             worker-src 'self'; connect-src 'self'{}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types worker",
            sockets.concat()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_pages_of_the_replicas_may_speak_to_them() {
        let address = |text| Address::parse(text).unwrap();
        let origins =
            Origins::of(&[address("127.0.0.1:5100"), address("127.0.0.1:80"), address("10.0.0.9:5101")]);
        let cases = [
            ("http://127.0.0.1:5100", true),
            ("http://localhost:5100", true),
            ("http://[::1]:5100", true),
            ("http://localhost", true),
            ("http://10.0.0.9:5101", true),
            ("http://localhost:5101", false),
            ("http://127.0.0.1:5102", false),
            ("https://127.0.0.1:5100", false),
            ("http://evil.example:5100", false),
            ("http://127.0.0.1:5100.evil.example", false),
            ("null", false),
            ("", false),
        ];
        for (origin, allowed) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            assert_eq!((origins.allow(&headers), origins.demand(&headers)), (allowed, allowed), "{origin}");
            headers.append(ORIGIN, HeaderValue::from_static("http://127.0.0.1:5100"));
            assert!(!origins.allow(&headers), "two origins are none");
        }
        assert!(origins.allow(&HeaderMap::new()), "a program that is no browser");
        assert!(!origins.demand(&HeaderMap::new()));
        let policy = origins.content_security_policy();
        assert!(policy.contains(" ws://localhost:5100") && !policy.contains("unsafe"), "{policy}");
    }
}
