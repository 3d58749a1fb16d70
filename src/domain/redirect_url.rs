//! Redirect URLs: where an application sends people after accepting, and how a careless one becomes an open redirect.

use url::{Host, Url};

use super::reason::Reason;

/// Longest URL, in bytes.
pub const REDIRECT_URL_BYTES_MAX: usize = 2_048;

/// Checks a redirect URL: absolute, https (http for loopback alone), without user information, of an origin that is
/// exactly one of `origins`.
pub fn parse(input: &str, origins: &[String]) -> Result<String, Reason> {
    let url = parse_web_url(input).ok_or(Reason::RedirectUrlInvalid)?;
    let origin = url.origin().ascii_serialization();
    if origins.contains(&origin) {
        Ok(url.into())
    } else {
        Err(Reason::RedirectUrlInvalid)
    }
}

/// Checks an origin of an organization's list and brings it into canonical form, such as `https://app.example.com`.
pub fn parse_origin(input: &str) -> Result<String, Reason> {
    let url = parse_web_url(input).ok_or(Reason::FieldInvalid)?;
    let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if is_origin {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(Reason::FieldInvalid)
    }
}

fn parse_web_url(input: &str) -> Option<Url> {
    // The URL standard drops tabs and line feeds and takes a backslash for a slash: two readers, two meanings.
    let is_plain = input.len() <= REDIRECT_URL_BYTES_MAX
        && input
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !is_plain {
        return None;
    }
    let url = Url::parse(input).ok()?;
    let is_allowed_scheme = match url.scheme() {
        "https" => true,
        "http" => url.host().is_some_and(|host| is_loopback(&host)),
        _ => false,
    };
    // Written out it may be longer: a quotation mark is three bytes then.
    let is_short = url.as_str().len() <= REDIRECT_URL_BYTES_MAX;
    (is_allowed_scheme && is_short && has_plain_authority(input)).then_some(url)
}

/// Whether the authority as written is a host and a port and nothing else: the parser forgives `https:host`,
/// `https:///host` and an empty user name, other readers do not.
fn has_plain_authority(input: &str) -> bool {
    input
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
#[path = "redirect_url_tests.rs"]
mod tests;
