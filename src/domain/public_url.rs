//! Where the service's own pages are reached from outside, and what leads there.

use std::net::IpAddr;

use url::{Host, Url};

/// The path under which unsubscribe tokens stand.
pub const UNSUBSCRIBE_PATH: &str = "/u/";

/// The base of every link to the service's own pages: https, unless it leads to the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads a base such as `https://invitations.example.com`; a path is kept, for a proxy that needs one.
    #[must_use]
    pub fn parse(input: &str) -> Option<Self> {
        let url = Url::parse(input).ok()?;
        let is_local = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
            Host::Ipv6(address) => IpAddr::from(address).is_loopback(),
        };
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_local);
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (is_safe && is_bare).then(|| Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The link that stops mails to an address (RFC 8058), a secret of that address.
    #[must_use]
    pub fn unsubscribe_link(&self, token: &str) -> String {
        format!("{}{UNSUBSCRIBE_PATH}{token}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_https_or_on_this_machine() {
        for (input, link) in [
            ("https://i.example.com", "https://i.example.com/u/x"),
            ("https://i.example.com/a/", "https://i.example.com/a/u/x"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/u/x"),
            ("http://[::1]:8080/", "http://[::1]:8080/u/x"),
            ("http://localhost", "http://localhost/u/x"),
        ] {
            let url = PublicUrl::parse(input).unwrap();
            assert_eq!(url.unsubscribe_link("x"), link);
        }
        for input in [
            "",
            "i.example.com",
            "http://i.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "https://u@i.example.com",
            "https://i.example.com/?a",
            "https://i.example.com/#a",
            "data:x",
        ] {
            assert_eq!(PublicUrl::parse(input), None, "{input:?}");
        }
    }
}
