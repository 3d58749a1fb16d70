//! The public URL of this service, at which readers of emails reach its pages.

use url::{Host, Url};

/// The path of unsubscribe links, in front of the token.
pub const UNSUBSCRIBE_PATH: &str = "/u/";

/// The base of all links to this service: an https URL, or an http URL of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Parses a base such as `https://invitations.example.com`. A path is kept, for a proxy that needs one.
    pub fn parse(input: &str) -> Option<Self> {
        let url = Url::parse(input).ok()?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (is_secure(&url) && is_bare).then(|| Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The unsubscribe link of an address (RFC 8058). It is secret, because it needs no other credential.
    pub fn unsubscribe_link(&self, token: &str) -> String {
        format!("{}{UNSUBSCRIBE_PATH}{token}", self.0)
    }
}

/// Whether nobody on the network can read or change what is sent to a URL: https, or http to the same machine.
pub fn is_secure(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_https_or_on_this_machine() {
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
