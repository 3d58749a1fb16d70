//! Redirect URLs: where the application sends a person after accepting. Their origins are restricted, because a link
//! with a free choice would be an open redirect.

use url::Url;

use super::public_url::is_secure;
use super::reason::Reason;

pub const REDIRECT_URL_BYTES_MAX: usize = 2_048;

/// Checks a redirect URL: absolute, https (or http to the loopback interface), without user information, and with an
/// origin that is equal to one of `origins`.
pub fn parse(input: &str, origins: &[String]) -> Result<String, Reason> {
    let url = parse_web_url(input).ok_or(Reason::RedirectUrlInvalid)?;
    let is_listed = origins.contains(&url.origin().ascii_serialization());
    let url = is_listed.then(|| url.into());
    url.ok_or(Reason::RedirectUrlInvalid)
}

/// Checks an origin of an organization's list and converts it to canonical form, such as `https://app.example.com`.
pub fn parse_origin(input: &str) -> Result<String, Reason> {
    let url = parse_web_url(input).ok_or(Reason::FieldInvalid)?;
    let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let origin = is_origin.then(|| url.origin().ascii_serialization());
    origin.ok_or(Reason::FieldInvalid)
}

fn parse_web_url(input: &str) -> Option<Url> {
    // The URL standard drops tabs and line feeds and reads a backslash as a slash, but other parsers do not.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if input.len() > REDIRECT_URL_BYTES_MAX || !input.bytes().all(is_plain) {
        return None;
    }
    let url = Url::parse(input).ok()?;
    // The parsed URL may be longer than the input: a quotation mark becomes three bytes.
    let is_short = url.as_str().len() <= REDIRECT_URL_BYTES_MAX;
    (is_secure(&url) && is_short && has_plain_authority(input)).then_some(url)
}

/// Whether the authority is written as a host and a port only. The parser accepts `https:host`, `https:///host` and an
/// empty user name, but other parsers do not.
fn has_plain_authority(input: &str) -> bool {
    input
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
}

#[cfg(test)]
#[path = "redirect_url_tests.rs"]
mod tests;
