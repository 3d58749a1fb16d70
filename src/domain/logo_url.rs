//! Logo URLs: where readers' mail programs get the picture at the head of a mail.
//!
//! Whoever serves it can see who opens which mail, as far as mail programs let on: an organization that gives one has
//! decided that. Nothing here fetches it.

use url::{Host, Url};

use super::reason::Reason;

/// Longest URL, in bytes.
pub const LOGO_URL_BYTES_MAX: usize = 2_048;

/// Checks a logo URL: absolute, https, of a dotted host name alone (no user information, port or IP address), without
/// a fragment.
pub fn parse(input: &str) -> Result<String, Reason> {
    // The URL standard drops tabs and line feeds and takes a backslash for a slash: two readers, two meanings.
    let is_plain = input
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\`{}".contains(&byte));
    if input.len() > LOGO_URL_BYTES_MAX || !is_plain {
        return Err(Reason::FieldInvalid);
    }
    let url = Url::parse(input).map_err(|_| Reason::FieldInvalid)?;
    let is_public_host = matches!(url.host(), Some(Host::Domain(name)) if name.contains('.'));
    // Compared as written: the parser forgives `https:host`, an empty user name and a port of no digits.
    let authority = input
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let is_host_alone = authority
        .is_some_and(|authority| Some(authority.to_ascii_lowercase().as_str()) == url.host_str());
    let is_accepted = url.scheme() == "https"
        && is_public_host
        && is_host_alone
        && url.fragment().is_none()
        && url.as_str().len() <= LOGO_URL_BYTES_MAX;
    if is_accepted {
        Ok(url.into())
    } else {
        Err(Reason::FieldInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_on_the_web_passes() {
        for (input, url) in [
            ("https://cdn.example.com/acme/logo.png?v=2&w=1", None),
            ("https://cdn.example.com", Some("https://cdn.example.com/")),
            (
                "HTTPS://CDN.example.com/L.png",
                Some("https://cdn.example.com/L.png"),
            ),
        ] {
            assert_eq!(parse(input).as_deref(), Ok(url.unwrap_or(input)));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("https://cdn.example.com/{}", "x".repeat(2_025));
        for input in [
            "",
            "logo.png",
            "//cdn.example.com/l.png",
            "http://cdn.example.com/l.png",
            "data:image/png;base64,AAAA",
            "cid:logo",
            "javascript:alert(1)",
            "https://user@cdn.example.com/l.png",
            "https://@cdn.example.com/l.png",
            "https://cdn.example.com:8443/l.png",
            "https://cdn.example.com:/l.png",
            "https://localhost/l.png",
            "https://127.0.0.1/l.png",
            "https://2130706433/l.png",
            "https://[::1]/l.png",
            "https:cdn.example.com/l.png",
            "https:\\\\cdn.example.com/l.png",
            "https://cdn.example.com/l.png#x",
            "https://cdn.example.com/\"onload=x",
            "https://cdn.example.com/{{link}}",
            "https://cdn.example.com/l .png",
            "https://例え.jp/l.png",
            &long,
        ] {
            assert_eq!(parse(input), Err(Reason::FieldInvalid), "{input}");
        }
    }
}
