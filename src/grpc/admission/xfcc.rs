//! The header `x-forwarded-client-cert`, in which Envoy forwards the certificate of its client.
//!
//! Elements are separated by commas, one for each proxy, and consist of `Key=value` pairs separated by semicolons. Values that
//! contain `,`, `;` or `=` are quoted, with `\"` for a quotation mark. Only the last element counts, which the nearest proxy
//! wrote. The whole header must be well formed, because an open quotation mark in an element that a client forged would
//! otherwise swallow the element that the proxy appended.
//!
//! [`trusted_proxies`](super::trusted_proxies) decides which peers may send it.

use crate::grpc::admission::peer_identities::{PeerIdentities, San};

/// The identities in the certificate that the nearest proxy saw. `None` if the header is malformed anywhere, or has none.
pub(crate) fn identities(header: &str) -> Option<PeerIdentities> {
    let mut rest = header;
    let mut sans = Vec::new();
    let mut keys = Vec::new();
    loop {
        let (key, after) = key(rest)?;
        let (value, after) = value(after)?;
        match key.as_str() {
            "uri" => sans.push(San::Uri(value)),
            "dns" => sans.push(San::Dns(value)),
            // A proxy forwards one certificate chain. `By` may be repeated for several names of the proxy.
            "hash" | "cert" | "chain" | "subject" if keys.contains(&key) => return None,
            _ => {}
        }
        keys.push(key);
        let mut characters = after.chars();
        match characters.next() {
            None => break,
            Some(';') => {}
            Some(',') => {
                sans.clear();
                keys.clear();
            }
            Some(_) => return None,
        }
        rest = characters.as_str();
    }
    PeerIdentities::of_sans(sans)
}

/// A key in lower case, and the rest after the equals sign.
fn key(text: &str) -> Option<(String, &str)> {
    // Spaces may follow the commas of a list (RFC 9110 section 5.6.1).
    let (key, after) = text.trim_start_matches([' ', '\t']).split_once('=')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_key.then(|| (key.to_ascii_lowercase(), after))
}

/// A value without quotation marks, and the rest after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        let is_value = value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"=\"\\".contains(&byte));
        return is_value.then(|| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            // Envoy escapes only quotation marks. Any other backslash is literal.
            '\\' if characters.as_str().starts_with('"') => {
                value.push('"');
                characters.next();
            }
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The element of a proxy. A client chooses its subject.
    fn element(subject: &str) -> String {
        let subject = subject.replace('"', "\\\"");
        format!(
            "By=spiffe://a.example/proxy;Hash=468ed33b;Subject=\"{subject}\";URI=spiffe://a.example/web;DNS=web.a.example"
        )
    }

    fn identified(header: &str) -> Option<String> {
        identities(header).map(|identities| identities.to_string())
    }

    const WEB: &str = "spiffe://a.example/web dns:web.a.example";

    #[test]
    fn the_last_element_counts() {
        let real = element("CN=web,O=\"A; B\"");
        assert_eq!(identified(&real).as_deref(), Some(WEB));
        for forged in [
            "URI=spiffe://a.example/admin,",
            "URI=spiffe://a.example/admin;DNS=admin.a.example, ",
            "By=x;Subject=\"CN=\\\",URI=y\";URI=spiffe://a.example/admin,",
        ] {
            assert_eq!(
                identified(&format!("{forged}{real}")).as_deref(),
                Some(WEB),
                "{forged}"
            );
        }
        let last = format!("{real},Hash=1;uri=spiffe://a.example/other");
        assert_eq!(
            identified(&last).as_deref(),
            Some("spiffe://a.example/other")
        );
        // The nearest proxy saw no name. Elements of other proxies do not count.
        assert_eq!(
            identified(&format!("{real},Hash=1;Subject=\"CN=web\"")),
            None
        );
    }

    #[test]
    fn a_malformed_header_has_no_identity() {
        for header in [
            "",
            ",",
            ";",
            "=",
            "URI",
            "URI=",
            "URI=spiffe://a.example/web;",
            "URI=spiffe://a.example/web,",
            ",URI=spiffe://a.example/web",
            ";URI=spiffe://a.example/web",
            "=x;URI=spiffe://a.example/web",
            "URI =spiffe://a.example/web",
            "URI= spiffe://a.example/web",
            "URI=spiffe://a.example/web ",
            "URI=spiffe://a.example/web;Subject=\"",
            "URI=spiffe://a.example/web;Subject=\"CN=a\"b",
            "Subject=\"CN=a;URI=spiffe://a.example/web",
            "Subject=CN=a;URI=spiffe://a.example/web",
            "Subject=a\"b\";URI=spiffe://a.example/web",
            "Hash=1;Hash=2;URI=spiffe://a.example/web",
            "URI=\"spiffe://a.example/web\"x",
            "URI=spiffe://a.example/web;URI=spiffe://a.example/web",
            "URI=spiffe://a.example/web;URI=https://a.example",
            "URI=spiffe://a.example/é",
            "URI=spiffe://a.example",
            "Hash=\"1;URI=spiffe://a.example/admin,URI=spiffe://a.example/web",
        ] {
            assert_eq!(identified(header), None, "{header:?}");
        }
    }

    #[test]
    fn quoted_values_are_read_as_envoy_writes_them() {
        let header = "Subject=\"/C=US/O=a, b; c=\\\"d\\\" \\e\";URI=\"spiffe://a.example/web\"";
        assert_eq!(
            identified(header).as_deref(),
            Some("spiffe://a.example/web")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_client_cannot_impersonate_another_by_a_forged_prefix(
            forged in prop_oneof![
                "[\",;=\\\\a ]{0,12}",
                "(By|URI|DNS|Subject|Hash|=|\"|\\\\|;|,| |spiffe://a.example/admin|x){0,12}",
                any::<String>(),
            ],
        ) {
            // The proxy appends its element to what the client sent.
            let header = format!("{forged},{}", element("CN=web"));
            if let Some(identified) = identified(&header) {
                prop_assert_eq!(identified, WEB);
            }
        }

        #[test]
        fn a_client_cannot_impersonate_another_by_its_subject(subject in "CN=[\",;=\\\\A-Z/:. é]{0,30}") {
            if let Some(identified) = identified(&element(&subject)) {
                prop_assert_eq!(identified, WEB);
            }
        }

        #[test]
        fn no_header_causes_a_panic(header in any::<String>()) {
            let _ = identified(&header);
        }
    }
}
