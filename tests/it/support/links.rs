//! Tokens in links.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The token of the link to an invitation.
pub(crate) fn token_of_link(link: &str) -> String {
    let (_, token) = link.split_once("#token=").unwrap();
    token.to_owned()
}

/// The bytes that a token encodes.
pub(crate) fn token_payload(token: &str) -> Vec<u8> {
    let encoded = token.strip_prefix("inv1_").unwrap();
    URL_SAFE_NO_PAD.decode(encoded).unwrap()
}

/// The token with some bytes of its payload changed.
pub(crate) fn forge_token(token: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut payload = token_payload(token);
    change(&mut payload);
    format!("inv1_{}", URL_SAFE_NO_PAD.encode(payload))
}
