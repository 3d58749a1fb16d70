//! Logo URLs: the picture at the top of an organization's emails.
//!
//! The server of the picture can see who opens which email. This service does not fetch the picture.

use url::{Host, Url};

use super::reason::Reason;

pub const LOGO_URL_BYTES_MAX: usize = 2_048;

/// Checks a logo URL: absolute, https, a host name with a dot, without user information, port, IP address and fragment.
pub fn parse(input: &str) -> Result<String, Reason> {
    // The URL standard drops tabs and line feeds and reads a backslash as a slash, but other parsers do not.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\`{}".contains(&byte);
    if input.len() > LOGO_URL_BYTES_MAX || !input.bytes().all(is_plain) {
        return Err(Reason::FieldInvalid);
    }
    let url = Url::parse(input).map_err(|_| Reason::FieldInvalid)?;
    let is_public_host = matches!(url.host(), Some(Host::Domain(name)) if name.contains('.'));
    // The authority is compared as written, because the parser accepts `https:host`, an empty user name and an empty
    // port.
    let rest = input.split_once("://").unwrap_or_default().1;
    let authority = rest.split(['/', '?', '#']).next();
    let is_host_alone = authority.map(str::to_ascii_lowercase).as_deref() == url.host_str();
    let is_accepted = url.scheme() == "https"
        && is_public_host
        && is_host_alone
        && url.fragment().is_none()
        && url.as_str().len() <= LOGO_URL_BYTES_MAX;
    is_accepted.then(|| url.into()).ok_or(Reason::FieldInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_url_of_a_host_name_is_accepted() {
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
    fn every_other_url_is_refused() {
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
