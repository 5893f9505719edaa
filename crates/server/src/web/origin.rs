//! Which pages may speak to a replica: its own and those of the other replicas, no others; and by which names.
//!
//! A browser lets any site open a socket to any address, but says truthfully whose page does (RFC 6455, section 10.2). A
//! site can also make a name of its own point here (DNS rebinding), and then its pages are of one origin with what it
//! loads from here. But that name is in `Host`, and is none of the replica's own: it gets nothing, pages included.
//! gRPC needs no such rule: no browser speaks HTTP/2 without TLS, and gRPC's content type needs a preflight that is never
//! answered; what is no browser can send whatever it likes.

use crate::host_name::HostName;
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Version};
use chat::Address;
use std::collections::BTreeSet;

/// Names of the loopback interface, each of which is another origin to a browser.
const LOOPBACK_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The origins of a cluster's pages.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Hosts with their ports, in lower case.
    hosts: BTreeSet<String>,
    /// What the operator has added.
    names: Vec<HostName>,
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
        Self { hosts, names: Vec::new() }
    }

    /// And those of pages at these names, which may be those of a proxy that speaks TLS.
    pub(crate) fn with_names(self, names: &[HostName]) -> Self {
        Self { names: names.to_vec(), ..self }
    }

    /// With which status a request is refused that was not made to one of these names.
    ///
    /// A host in the first line counts before the header (RFC 9112, section 3.2.2). Without any, a request of HTTP/1.1 is
    /// not valid (section 3.2), and an older one does not come from a browser.
    pub(crate) fn refuse_host(&self, request: &Parts) -> Option<StatusCode> {
        let mut named = request.headers.get_all(HOST).iter();
        let header = match (named.next(), named.next()) {
            (None, _) if request.version < Version::HTTP_11 => return None,
            (Some(host), None) => host.to_str().ok(),
            _ => return Some(StatusCode::BAD_REQUEST),
        };
        let asked = request.uri.authority().map(axum::http::uri::Authority::as_str).or(header);
        let own = asked.is_some_and(|host| self.has_host(&host.to_ascii_lowercase(), "80"));
        (!own).then_some(StatusCode::MISDIRECTED_REQUEST)
    }

    /// Whether a host, in lower case, is one of these. A browser leaves the port out where it is the scheme's own.
    fn has_host(&self, host: &str, port: &str) -> bool {
        self.hosts.contains(host)
            || self.hosts.contains(&format!("{host}:{port}"))
            || self.has_name(host, port)
    }

    fn has_name(&self, host: &str, port: &str) -> bool {
        self.names.iter().any(|name| name.matches(host) || name.matches(&format!("{host}:{port}")))
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
        match origin.split_once("://") {
            Some(("http", host)) => self.has_host(host, "80"),
            Some(("https", host)) => self.has_name(host, "443"),
            _ => false,
        }
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
        let named = origins.clone().with_names(&[HostName::parse("chat.example").unwrap()]);
        for (origin, allowed) in [
            ("https://chat.example", true),
            ("http://chat.example:8080", true),
            ("https://127.0.0.1:5100", false),
            ("https://chat.example.evil", false),
        ] {
            assert_eq!(named.has(origin), allowed, "{origin}");
        }
        let policy = origins.content_security_policy();
        assert!(policy.contains(" ws://localhost:5100") && !policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn a_request_must_be_made_to_one_of_the_replicas_names() {
        let address = |text| Address::parse(text).unwrap();
        let names = ["Chat.example", "other.example:8080", "[2001:db8::1]"]
            .map(|name| HostName::parse(name).unwrap());
        let origins = Origins::of(&[address("127.0.0.1:5100"), address("10.0.0.9:80")]).with_names(&names);
        let ask = |uri: &str, hosts: &[&'static str], version| {
            let mut request = axum::http::Request::builder().uri(uri).version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            origins.refuse_host(&request.body(()).unwrap().into_parts().0).map(|status| status.as_u16())
        };
        let cases = [
            ("127.0.0.1:5100", None),
            ("LOCALHOST:5100", None),
            ("[::1]:5100", None),
            ("10.0.0.9", None),
            ("10.0.0.9:80", None),
            ("chat.example", None),
            ("CHAT.example:5100", None),
            ("other.example:8080", None),
            ("[2001:db8::1]:5100", None),
            ("10.0.0.9:5100", Some(421)),
            ("localhost", Some(421)),
            ("localhost.:5100", Some(421)),
            ("127.0.0.2:5100", Some(421)),
            ("evil.example:5100", Some(421)),
            ("evil-chat.example", Some(421)),
            ("chat.example.evil", Some(421)),
            ("chat.examples", Some(421)),
            ("other.example", Some(421)),
            ("other.example:80801", Some(421)),
            ("", Some(421)),
            ("user@127.0.0.1:5100", Some(421)),
        ];
        for (host, refused) in cases {
            assert_eq!(ask("/", &[host], Version::HTTP_11), refused, "{host:?}");
        }
        assert_eq!(ask("http://evil.example/", &["127.0.0.1:5100"], Version::HTTP_11), Some(421));
        assert_eq!(ask("http://127.0.0.1:5100/", &["127.0.0.1:5100"], Version::HTTP_11), None);
        assert_eq!(ask("/", &[], Version::HTTP_11), Some(400));
        assert_eq!(ask("/", &["127.0.0.1:5100", "127.0.0.1:5100"], Version::HTTP_11), Some(400));
        assert_eq!(ask("/", &[], Version::HTTP_10), None);
        assert_eq!(ask("/", &["evil.example"], Version::HTTP_10), Some(421));
        for bad in ["", "http://chat.example", "a b", "chat.example:0", "*", "*.example"] {
            assert_eq!(HostName::parse(bad), None, "{bad:?}");
        }
    }
}
