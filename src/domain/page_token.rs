//! Page tokens: opaque cursors that are bound to the list they were made for. A changed token and a token of another
//! list are refused in the same way.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::keyring::{Keyring, Purpose};
use super::reason::Reason;

const MAC_BYTES: usize = 16;

/// Makes the token of a cursor. `list` identifies the list and its filter.
pub fn seal(keyring: &Keyring, list: &[u8], cursor: &[u8]) -> String {
    let mac = mac(keyring, keyring.active(), list, cursor).unwrap_or_default();
    URL_SAFE_NO_PAD.encode([mac.as_slice(), cursor].concat())
}

/// Returns the cursor of a token that was made for this list, with any key of the keyring.
pub fn open(keyring: &Keyring, list: &[u8], token: &str) -> Result<Vec<u8>, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let parts = bytes.split_at_checked(MAC_BYTES);
    let (claimed, cursor) = parts.ok_or(Reason::PageTokenInvalid)?;
    let key_ids = keyring.key_ids();
    let mut macs = key_ids.filter_map(|kid| mac(keyring, kid, list, cursor));
    let is_genuine = macs.any(|expected| bool::from(expected.as_slice().ct_eq(claimed)));
    let cursor = is_genuine.then(|| cursor.to_vec());
    cursor.ok_or(Reason::PageTokenInvalid)
}

fn mac(keyring: &Keyring, kid: u8, list: &[u8], cursor: &[u8]) -> Option<[u8; MAC_BYTES]> {
    let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
    let message = [&length.to_be_bytes(), list, cursor].concat();
    keyring.truncated_hmac(kid, Purpose::Page, &message)
}

#[cfg(test)]
#[path = "page_token_tests.rs"]
mod tests;
